"""Alibaba: queries out, replies in, what each error code does, and where to go when one place is broken."""

import json
from typing import Any

import pytest

from domain.errors import Denied, ProviderError, Refused, Throttled, Unavailable, Unfit, UsageError
from domain.objects import MediaKind
from domain.verdicts import Answer, Provider, Risk
from tasks.providers.aliyun.wire import probe_shows, query_parameters, read_reply
from tasks.providers.credentials import Keys, fixed_keys
from tasks.providers.endpoints import Endpoint, Endpoints
from tasks.providers.exchange import Reply
from tasks.providers.failures import Failure
from tasks.providers.standing import Standing

KEYS = Keys("LTAIEXAMPLE", "EXAMPLE-access-key-secret-not-real", "EXAMPLE-token/+=")
FACE_URL = "https://oss.example.com/a.jpg?Expires=1&Signature=EXAMPLE+signature="
SHANGHAI = "https://cloudauth.cn-shanghai.aliyuncs.com"
BEIJING = "https://cloudauth.cn-beijing.aliyuncs.com"

REFUSED = "401 405 406 420 421 UnqualifiedPhoto ToolargeImage NoFaceDetected"
THROTTLED = """403 Throttling Throttling.User Throttling.Api Throttling.Unheard
    Forbidden.ExceptionRepeatedInvoke"""
UNAVAILABLE = """402 440 500 404 414 415 416 417 418 424 427 999 ServiceUnavailable InternalError
    SignatureNonceUsed InvalidSecurityToken.Expired InvalidSecurityToken.MismatchWithAccessKey
    InvalidSecurityToken.Malformed MissingSecurityToken DataDuplication DownloadTimeout
    ProcessNotCompleted SuspiciousActivity NobodyHasHeardOfThis"""
DENIED = """400 410 411 412 419 InvalidTimeStamp.Expired InvalidTimeStamp.Format SignatureDoesNotMatch
    IncompleteSignature InvalidSignatureMethod InvalidAccessKeyId.NotFound
    InvalidAccessKeyId.Inactive Forbidden Forbidden.RAM Forbidden.Unheard NoPermission
    Forbidden.RAMUserAccessDenied Forbidden.AccountAccessDenied MissingAction InvalidAction
    MissingParameter InvalidParameter InvalidParameter.Format UnsupportedHTTPMethod
    InvalidApi.NotFound InvalidProduct.NotFound InvalidProtocol.NeedSsl TransactionIdInvalid"""
CODES = [
    (code, error)
    for codes, error in (
        (REFUSED, Refused),
        (THROTTLED, Throttled),
        (UNAVAILABLE, Unavailable),
        (DENIED, Denied),
    )
    for code in codes.split()
]


def scored(result: Any = "1", code: Any = "200", **fields: Any) -> Reply:
    content = {"Code": code, "RequestId": "r-1", "ResultObject": {"Result": result, **fields}}
    return Reply(200, json.dumps(content), {})


def error(
    code: Any, message: str = "what it says", status: int = 200, headers: dict[str, str] | None = None
) -> Reply:
    text = json.dumps({"Code": code, "Message": message, "RequestId": "r-1"})
    return Reply(status, text, headers or {})


def answer(reply: Reply) -> Answer:
    outcome = read_reply(reply, SHANGHAI)
    assert isinstance(outcome, Answer)
    return outcome


def failure(reply: Reply) -> Failure:
    outcome = read_reply(reply, SHANGHAI)
    assert isinstance(outcome, Failure)
    return outcome


def new_standing() -> Standing:
    return Standing(Provider.ALIYUN, fixed_keys(Provider.ALIYUN, KEYS), lambda: 1735787045.0)


async def judged(reply: Reply, standing: Standing | None = None) -> ProviderError:
    standing = standing or new_standing()
    stamp = await standing.stamp()
    return await standing.judge(failure(reply), stamp, SHANGHAI, reply.date_s, (FACE_URL,))


def test_a_url_goes_into_the_query_and_media_of_another_kind_are_unfit() -> None:
    assert query_parameters(MediaKind.VIDEO, "fs1", FACE_URL) == {
        "FaceInputType": "VIDEO",
        "OuterOrderNo": "fs1",
        "FaceUrl": FACE_URL,
    }
    with pytest.raises(Unfit, match="unsupported_media"):
        query_parameters(MediaKind.OTHER, "fs1")


@pytest.mark.parametrize(
    ("result", "risk"),
    [("0", Risk.LOW), ("2", Risk.MID), ("1", Risk.HIGH), (0, Risk.LOW), (2, Risk.MID), (1, Risk.HIGH)],
)
@pytest.mark.parametrize("code", ["200", 200])
def test_results_map_by_meaning_not_by_number(result: Any, risk: Risk, code: Any) -> None:
    """Severity runs 0, 2, 1; both numbers come as text or as number."""
    seen = answer(scored(result, code))
    assert (seen.risk, seen.risk_raw, seen.request_id, seen.endpoint) == (risk, str(result), "r-1", SHANGHAI)


@pytest.mark.parametrize(
    ("raw", "tag"),
    [
        ("SuspectDeepForgery", "synthesis"),
        ("SuspectAIGCFace", "synthesis"),
        ("SuspectAIGC Face", "synthesis"),
        ("SuspectPSFace", "composite"),
        ("SuspectTemple", "template"),
        ("SuspectRemake", "recapture"),
        ("SuspectWarterMark", "watermark"),
        ("SuspectWaterMark", "watermark"),
        ("SuspectNovelty", "other:SuspectNovelty"),
    ],
)
def test_every_documented_tag_has_one_of_ours(raw: str, tag: str) -> None:
    assert answer(scored(RiskTag=raw)).tags == (tag,)


@pytest.mark.parametrize(
    "tags",
    ["SuspectTemple,SuspectRemake", " SuspectTemple , SuspectRemake ,", ["SuspectTemple", "SuspectRemake"]],
)
def test_tags_are_split_at_commas_whatever_the_spaces(tags: Any) -> None:
    seen = answer(scored(RiskTag=tags))
    assert seen.tags_raw == ("SuspectTemple", "SuspectRemake")
    assert seen.tags == ("template", "recapture")


@pytest.mark.parametrize("fields", [{}, {"RiskTag": ""}, {"RiskTag": None}, {"RiskTag": " , "}])
def test_no_tags_whether_empty_null_or_absent(fields: dict[str, Any]) -> None:
    assert answer(scored("0", **fields)).tags == ()


@pytest.mark.parametrize(
    "scores",
    [
        {"SuspectPSFace": "0.9796", "SuspectRemake": 0},
        '{"SuspectPSFace": "0.9796", "SuspectRemake": "0.0000"}',
        {"key": '{"SuspectPSFace": "0.9796", "SuspectRemake": "0.0000"}'},
    ],
)
def test_scores_are_read_from_every_form_they_come_in(scores: Any) -> None:
    assert answer(scored(RiskScore=scores)).scores == {"SuspectPSFace": 0.9796, "SuspectRemake": 0.0}


@pytest.mark.parametrize("scores", [None, "", "n/a", [], {"SuspectPSFace": "high"}, {"SuspectPSFace": "nan"}])
def test_scores_that_are_none_do_not_cost_the_verdict(scores: Any) -> None:
    seen = answer(scored(RiskScore=scores))
    assert (seen.risk, seen.scores) == (Risk.HIGH, {})


@pytest.mark.parametrize("result", ["3", "", None, True, 1.5, "high"])
def test_an_unknown_result_is_in_doubt_with_its_text_kept(result: Any) -> None:
    reply = scored(result)
    seen = failure(reply)
    assert (seen.code, seen.in_doubt, seen.raw) == ("unreadable_reply", True, reply.text)


def test_success_without_a_result_object_is_in_doubt() -> None:
    seen = failure(Reply(200, '{"Code":"200","ResultObject":null}', {}))
    assert (seen.code, seen.in_doubt) == ("unreadable_reply", True)


@pytest.mark.parametrize(
    "text", ["", "<html>", "{", "[]", "{}", '{"Code": null}', '{"Code": true}', "[" * 100_000]
)
def test_a_malformed_reply_at_200_is_in_doubt_and_at_5xx_is_infrastructure(text: str) -> None:
    seen = failure(Reply(200, text, {}))
    assert (seen.code, seen.in_doubt, seen.raw) == ("malformed_reply", True, text)
    seen = failure(Reply(503, text, {}))
    assert (seen.code, seen.in_doubt, seen.raw) == ("http_503", False, text)


@pytest.mark.anyio
@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 503])
@pytest.mark.parametrize(("code", "error_class"), CODES)
async def test_every_documented_code_says_what_to_do_at_any_status(
    code: str, error_class: type[ProviderError], status: int
) -> None:
    """Published pages disagree about HTTP statuses: the code alone decides."""
    seen = await judged(error(code, status=status))
    assert type(seen) is error_class
    assert (seen.code, seen.request_id, seen.endpoint) == (code, "r-1", SHANGHAI)
    if isinstance(seen, Unavailable):
        assert not seen.in_doubt


@pytest.mark.anyio
async def test_a_service_code_may_come_as_a_number() -> None:
    assert isinstance(await judged(error(406)), Refused)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 1.0),
        ({"x-acs-retry-after": "2500"}, 2.5),
        ({"x-acs-retry-after": "0"}, 1.0),
        ({"x-acs-retry-after": "soon"}, 1.0),
        ({"x-acs-retry-after": "99999999"}, 300.0),
    ],
)
async def test_the_pause_asked_for_counts_milliseconds(headers: dict[str, str], wait_s: float) -> None:
    """Nonsense counts as a second, and no header can put a run to sleep for more than 5 minutes."""
    seen = await judged(error("Throttling.User", status=400, headers=headers))
    assert isinstance(seen, Throttled)
    assert seen.retry_after_s == wait_s


@pytest.mark.anyio
async def test_too_many_duplicate_calls_slow_us_down_for_long() -> None:
    seen = await judged(error("403"))
    assert isinstance(seen, Throttled)
    assert seen.retry_after_s == 30


@pytest.mark.anyio
async def test_too_many_duplicate_calls_that_persist_end_the_run() -> None:
    """Ten waits of half a minute with nothing else in between; calls under way together are one."""
    standing = new_standing()
    for _ in range(10):
        for stamp in [await standing.stamp() for _ in range(5)]:
            seen = await standing.judge(failure(error("403")), stamp, SHANGHAI)
            assert isinstance(seen, Throttled)
    assert isinstance(await judged(error("403"), standing), Denied)


@pytest.mark.anyio
async def test_402_is_asked_again_twice_and_then_ends_the_run() -> None:
    standing = new_standing()
    seen = [type(await judged(error("402"), standing)) for _ in range(3)]
    assert seen == [Unavailable, Unavailable, Denied]


@pytest.mark.anyio
async def test_402_with_other_replies_in_between_never_ends_the_run() -> None:
    standing = new_standing()
    for _ in range(5):
        assert isinstance(await judged(error("402"), standing), Unavailable)
        standing.answered(await standing.stamp())


@pytest.mark.anyio
async def test_many_402_at_once_are_one_piece_of_evidence() -> None:
    """A hiccup behind the service meets every call under way; none of them was asked again."""
    standing = new_standing()
    for stamp in [await standing.stamp() for _ in range(20)]:
        seen = await standing.judge(failure(error("402")), stamp, SHANGHAI)
        assert isinstance(seen, Unavailable)


@pytest.mark.anyio
async def test_what_was_signed_is_never_shown_even_when_the_gateway_echoes_it() -> None:
    """SignatureDoesNotMatch quotes the string to sign, with token and query in it."""
    echo = f"server string to sign is: {KEYS.secret} {KEYS.token} {FACE_URL} EXAMPLE-token%2F%2B%3D"
    for code in ("SignatureDoesNotMatch", "InvalidSecurityToken.Expired", "InvalidParameter", "405"):
        seen = await judged(error(code, echo, status=400))
        shown = f"{seen} {seen!r} {seen.args} {seen.raw}"
        assert code in shown
        for secret in ("not-real", "EXAMPLE-token", "EXAMPLE+signature"):
            assert secret not in shown


@pytest.mark.anyio
async def test_other_errors_keep_the_reply_they_came_with() -> None:
    for reply in (error("406"), error("Throttling", status=429), error("NobodyHasHeardOfThis", status=400)):
        assert (await judged(reply)).raw == reply.text


@pytest.mark.parametrize(
    ("code", "shows"),
    [
        ("400", (True, True)),
        ("401", (True, True)),
        ("410", (True, False)),
        ("500", (True, False)),
        ("InvalidAccessKeyId.NotFound", (False, False)),
        ("SignatureDoesNotMatch", (False, False)),
        ("InvalidSecurityToken.Expired", (False, False)),
        ("InvalidTimeStamp.Expired", (None, False)),
        ("Throttling.User", (None, False)),
    ],
)
def test_a_probe_tells_a_good_key_from_a_bad_one(code: str, shows: tuple[bool | None, bool]) -> None:
    assert probe_shows(failure(error(code))) == shows


class Clock:
    """Seconds that pass when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_broken_endpoint_is_left_and_the_preferred_one_tried_again_after_five_minutes() -> None:
    clock = Clock()
    endpoints = Endpoints([SHANGHAI, BEIJING], clock)
    shanghai = endpoints.current()
    endpoints.leave(shanghai)
    assert endpoints.current().url == BEIJING
    clock.now_s = 299.9
    assert endpoints.current().url == BEIJING
    clock.now_s = 300.0
    assert endpoints.current().url == SHANGHAI


def test_calls_that_fail_together_leave_an_endpoint_once() -> None:
    """Otherwise twenty failures of one host would send the next call back to it."""
    endpoints = Endpoints([SHANGHAI, BEIJING], Clock())
    shanghai = endpoints.current()
    for _ in range(20):
        endpoints.leave(shanghai)
    assert endpoints.current().url == BEIJING


def test_from_the_last_endpoint_the_way_leads_back_to_the_first() -> None:
    endpoints = Endpoints([SHANGHAI, BEIJING], Clock())
    for url in (BEIJING, SHANGHAI, BEIJING):
        endpoints.leave(endpoints.current())
        assert endpoints.current().url == url


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("https://Cloudauth.aliyuncs.com/", "https://cloudauth.aliyuncs.com", "cloudauth.aliyuncs.com"),
        ("https://h.example:443", "https://h.example", "h.example"),
        ("https://h.example:8443", "https://h.example:8443", "h.example:8443"),
        ("http://127.0.0.1:8802", "http://127.0.0.1:8802", "127.0.0.1:8802"),
        ("http://localhost", "http://localhost", "localhost"),
        ("http://[::1]:80", "http://[::1]", "[::1]"),
    ],
)
def test_the_host_that_is_signed_is_the_one_that_is_sent(text: str, url: str, host: str) -> None:
    assert Endpoint.parse(text) == Endpoint(url, host)


@pytest.mark.parametrize(
    "text",
    [
        "http://cloudauth.aliyuncs.com",
        "http://10.0.0.1",
        "cloudauth.aliyuncs.com",
        "ftp://h.example",
        "https://",
        "https://h.example/path",
        "https://h.example?x=1",
        "https://user@h.example",
        "https://h.example:port",
        "",
    ],
)
def test_an_endpoint_must_be_https_and_a_host_unless_it_is_this_machine(text: str) -> None:
    with pytest.raises(UsageError, match="endpoint"):
        Endpoint.parse(text)


def test_a_list_of_endpoints_must_not_be_empty() -> None:
    with pytest.raises(UsageError, match="at least one"):
        Endpoints([], Clock())
