"""Tencent: bodies out, replies in, and what each error code does to an object or a run."""

import json
from typing import Any

import pytest

from domain.errors import Denied, ProviderError, Refused, Throttled, Unavailable, Unfit
from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Answer, Provider, Risk
from tasks.providers.credentials import Keys, fixed_keys
from tasks.providers.exchange import Reply
from tasks.providers.failures import Failure
from tasks.providers.standing import Standing
from tasks.providers.tencent.wire import body_of, probe_shows, read_reply

KEYS = Keys("AKIDEXAMPLE", "EXAMPLE-secret-key-not-real", "EXAMPLE-token/+=")
ENDPOINT = "https://faceid.tencentcloudapi.com"

REFUSED = """FailedOperation.CoveredFace FailedOperation.ImageDecodeFailed FailedOperation.IncompleteFace
    FailedOperation.PoorImageQuality FailedOperation.VideoDecodeFailed
    FailedOperation.VideoDurationExceeded RequestSizeLimitExceeded InvalidParameter
    InvalidParameterValue"""
THROTTLED = """RequestLimitExceeded RequestLimitExceeded.UinLimitExceeded
    RequestLimitExceeded.IPLimitExceeded RequestLimitExceeded.GlobalRegionUinLimitExceeded
    FailedOperation.RequestLimitExceeded"""
UNAVAILABLE = """FailedOperation FailedOperation.DetectEngineSystemError FailedOperation.UnKnown
    InternalError InternalError.UnKnown ServiceUnavailable ResourceUnavailable ResourceInsufficient
    ResourceInUse AuthFailure.TokenFailure NobodyHas.HeardOfThis"""
DENIED = """UnauthorizedOperation UnauthorizedOperation.Arrears
    UnauthorizedOperation.ChargeStatusException UnauthorizedOperation.Nonactivated
    UnauthorizedOperation.Activating UnauthorizedOperation.ActivateError
    UnauthorizedOperation.NonAuthorize AuthFailure.InvalidAuthorization AuthFailure.SignatureExpire
    AuthFailure.SignatureFailure AuthFailure.InvalidSecretId AuthFailure.SecretIdNotFound
    AuthFailure.MFAFailure AuthFailure.UnauthorizedOperation AuthFailure.Unheard
    FailedOperation.DecryptSystemError InvalidParameter.UnsupportEncryptField UnsupportedOperation
    ActionOffline InvalidAction NoSuchProduct NoSuchVersion UnsupportedRegion UnsupportedProtocol
    InvalidRequest MissingParameter UnknownParameter DryRunOperation IpInBlacklist IpNotInWhitelist
    LimitExceeded ResourceNotFound ResponseSizeLimitExceeded"""
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


def said(response: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps({"Response": response}), {})


def error(code: str, message: str = "what it says") -> Reply:
    return said({"Error": {"Code": code, "Message": message}, "RequestId": "r-1"})


def answer(**fields: Any) -> Answer:
    outcome = read_reply(said({"AttackRiskLevel": "High", "RequestId": "r-1", **fields}), ENDPOINT)
    assert isinstance(outcome, Answer)
    return outcome


def failure(reply: Reply) -> Failure:
    outcome = read_reply(reply, ENDPOINT)
    assert isinstance(outcome, Failure)
    return outcome


def new_standing() -> Standing:
    return Standing(Provider.TENCENT, fixed_keys(Provider.TENCENT, KEYS), lambda: 1735787045.0)


async def judged(reply: Reply, standing: Standing | None = None) -> ProviderError:
    standing = standing or new_standing()
    return await standing.judge(failure(reply), await standing.stamp(), ENDPOINT, reply.date_s)


def media(content: bytes = b"\xff\xd8", kind: MediaKind = MediaKind.IMAGE) -> PreparedMedia:
    return PreparedMedia(content, kind, "", "", "untouched")


def test_a_request_with_its_headers_stays_under_ten_million_bytes() -> None:
    """10^7 is the stricter reading of "10 MB for the whole request"; headers and token need 5 KB."""
    assert len(body_of(media(bytes(7_490_000)))) <= 10**7 - 10_000
    with pytest.raises(Unfit, match="too_large"):
        body_of(media(bytes(7_493_000)))


def test_media_of_another_kind_are_unfit() -> None:
    with pytest.raises(Unfit, match="unsupported_media"):
        body_of(media(kind=MediaKind.OTHER))


@pytest.mark.parametrize(("raw", "risk"), [("Low", Risk.LOW), ("Mid", Risk.MID), ("High", Risk.HIGH)])
def test_levels_map_to_ours_and_stay_as_they_were(raw: str, risk: Risk) -> None:
    seen = answer(AttackRiskLevel=raw)
    assert (seen.risk, seen.risk_raw, seen.request_id, seen.endpoint) == (risk, raw, "r-1", ENDPOINT)


def test_tags_are_mapped_once_each_and_an_unknown_one_is_kept() -> None:
    types = ["SuspectedSynthesisImage", "SuspectedSynthesisVideo", "Brand New", None, ""]
    seen = answer(AttackRiskDetailList=[{"Type": name} for name in types])
    assert seen.tags == ("synthesis", "other:Brand New")
    assert seen.tags_raw == ("SuspectedSynthesisImage", "SuspectedSynthesisVideo", "Brand New")


@pytest.mark.parametrize(
    ("raw", "tag"),
    [
        ("SuspectedSpoofingAttack", "recapture"),
        ("SuspectedSynthesisImage", "synthesis"),
        ("SuspectedSynthesisVideo", "synthesis"),
        ("SuspectedAnomalyAttack", "anomaly"),
        ("SuspectedeAnomalyAttack", "anomaly"),
        ("SuspectedAdversarialAttack", "adversarial"),
        ("SuspectedBlackIndustry", "template"),
        ("SuspectedWatermark", "watermark"),
    ],
)
def test_every_documented_type_has_a_tag(raw: str, tag: str) -> None:
    assert answer(AttackRiskDetailList=[{"Type": raw}]).tags == (tag,)


@pytest.mark.parametrize("fields", [{}, {"AttackRiskDetailList": None}, {"AttackRiskDetailList": []}])
def test_no_details_are_no_tags_whether_null_missing_or_empty(fields: dict[str, Any]) -> None:
    assert answer(**fields).tags == ()


@pytest.mark.parametrize("extra", [None, {}, {"RetrievalLivenessExtraInfo": None}])
def test_no_template_hit_is_none_whether_null_missing_or_empty(extra: Any) -> None:
    seen = answer(ExtraInfo=extra)
    assert (seen.template_group, seen.template_similarity) == (None, None)


def test_a_template_hit_keeps_its_group_and_its_distance() -> None:
    hit = {"HitGroup": "Common", "SimilarityScore": 0.31, "HitTemplate": "id"}
    seen = answer(ExtraInfo={"RetrievalLivenessExtraInfo": [hit]})
    assert (seen.template_group, seen.template_similarity) == ("Common", 0.31)


def test_only_a_reply_that_says_so_is_simulated() -> None:
    text = json.dumps({"Response": {"AttackRiskLevel": "Low"}})
    for headers, simulated in (({}, False), ({"X-Emulated": "1"}, True)):
        outcome = read_reply(Reply(200, text, headers), ENDPOINT)
        assert isinstance(outcome, Answer)
        assert outcome.simulated is simulated


@pytest.mark.parametrize("level", ["Extreme", "", None, 2])
def test_an_unknown_level_is_in_doubt_with_its_text_kept(level: Any) -> None:
    reply = said({"AttackRiskLevel": level, "RequestId": "r-1"})
    seen = failure(reply)
    assert (seen.code, seen.in_doubt, seen.raw) == ("unreadable_reply", True, reply.text)


@pytest.mark.parametrize(
    "text", ["", "<html>", "{", "[]", "{}", '{"Response": 1', '{"Response":{"Error":{}}}']
)
def test_a_malformed_reply_at_200_is_in_doubt_with_its_text_kept(text: str) -> None:
    seen = failure(Reply(200, text, {}))
    assert (seen.code, seen.in_doubt, seen.raw) == ("malformed_reply", True, text)


@pytest.mark.parametrize(("status", "in_doubt"), [(302, False), (404, False), (502, False), (504, True)])
def test_a_status_other_than_200_is_infrastructure(status: int, in_doubt: bool) -> None:
    """Only a gateway's time-out says that the request went through."""
    seen = failure(Reply(status, "<html>", {}))
    assert (seen.code, seen.in_doubt, seen.raw) == (f"http_{status}", in_doubt, "<html>")


@pytest.mark.anyio
@pytest.mark.parametrize(("code", "error_class"), CODES)
async def test_every_documented_code_says_what_to_do(code: str, error_class: type[ProviderError]) -> None:
    seen = await judged(error(code))
    assert type(seen) is error_class
    assert (seen.code, seen.request_id, seen.endpoint) == (code, "r-1", ENDPOINT)


@pytest.mark.anyio
async def test_an_error_keeps_the_reply_it_came_with() -> None:
    reply = error("FailedOperation.IncompleteFace", "face incomplete")
    seen = await judged(reply)
    assert seen.raw == reply.text
    assert "face incomplete" in seen.message


@pytest.mark.anyio
async def test_no_error_is_in_doubt_because_none_is_billed() -> None:
    for code in UNAVAILABLE.split():
        seen = await judged(error(code))
        assert isinstance(seen, Unavailable)
        assert not seen.in_doubt


@pytest.mark.anyio
async def test_ten_bad_parameters_in_a_row_blame_the_request_and_not_the_objects() -> None:
    standing = new_standing()
    seen = [type(await judged(error("InvalidParameterValue"), standing)) for _ in range(10)]
    assert seen == [Refused] * 9 + [Denied]


@pytest.mark.anyio
async def test_bad_parameters_among_other_replies_blame_their_objects_only() -> None:
    standing = new_standing()
    for _ in range(3):
        for _ in range(9):
            assert isinstance(await judged(error("InvalidParameter"), standing), Refused)
        assert isinstance(await judged(error("FailedOperation.CoveredFace"), standing), Refused)
    for _ in range(9):
        assert isinstance(await judged(error("InvalidParameter"), standing), Refused)
    standing.answered(await standing.stamp())
    assert isinstance(await judged(error("InvalidParameter"), standing), Refused)


@pytest.mark.anyio
async def test_throttling_and_cut_lines_between_bad_parameters_do_not_make_them_innocent() -> None:
    """Only a reply that comes after the parameters were read says something about our request."""
    standing = new_standing()
    for _ in range(9):
        await judged(error("InvalidParameter"), standing)
        await judged(Reply(502, "", {}), standing)
        await judged(error("RequestLimitExceeded"), standing)
    assert isinstance(await judged(error("InvalidParameter"), standing), Denied)


@pytest.mark.anyio
async def test_a_refused_token_costs_one_try_and_then_ends_the_run() -> None:
    standing = new_standing()
    assert isinstance(await judged(error("AuthFailure.TokenFailure"), standing), Unavailable)
    second = await judged(error("AuthFailure.TokenFailure"), standing)
    assert isinstance(second, Denied)
    assert "temporary keys have expired" in second.message


@pytest.mark.anyio
async def test_a_wrong_clock_is_set_once_by_the_providers_and_then_ends_the_run() -> None:
    standing = new_standing()
    late = error("AuthFailure.SignatureExpire")
    late = Reply(200, late.text, {"Date": "Thu, 02 Jan 2025 04:04:05 GMT"})
    assert isinstance(await judged(late, standing), Unavailable)
    assert (await standing.stamp()).now_s == 1735787045 + 3600
    second = await judged(late, standing)
    assert isinstance(second, Denied)
    assert "clock" in second.message


@pytest.mark.anyio
async def test_attempts_signed_before_the_clock_was_set_are_only_asked_again() -> None:
    """Twenty calls may be under way when the first of them learns of the skew."""
    standing = new_standing()
    text = error("AuthFailure.SignatureExpire").text
    late = Reply(200, text, {"Date": "Thu, 02 Jan 2025 04:04:05 GMT"})
    under_way = [await standing.stamp() for _ in range(20)]
    for stamp in under_way:
        seen = await standing.judge(failure(late), stamp, ENDPOINT, late.date_s)
        assert isinstance(seen, Unavailable)


@pytest.mark.anyio
async def test_no_secret_of_ours_is_in_any_error_even_when_the_provider_echoes_it() -> None:
    echo = f"{KEYS.secret} {KEYS.token} EXAMPLE-token%2F%2B%3D"
    for code in ("AuthFailure.SignatureFailure", "FailedOperation.CoveredFace", "InternalError"):
        seen = await judged(error(code, echo))
        shown = f"{seen} {seen!r} {seen.args} {seen.raw}"
        assert "not-real" not in shown
        assert "EXAMPLE-token" not in shown


@pytest.mark.parametrize(
    ("code", "shows"),
    [
        ("MissingParameter", (True, True)),
        ("InvalidParameter", (True, True)),
        ("UnauthorizedOperation.Nonactivated", (True, False)),
        ("AuthFailure.SecretIdNotFound", (False, False)),
        ("AuthFailure.SignatureExpire", (None, False)),
        ("RequestLimitExceeded", (None, False)),
        ("InternalError", (None, False)),
    ],
)
def test_a_probe_tells_a_good_key_from_a_bad_one(code: str, shows: tuple[bool | None, bool]) -> None:
    assert probe_shows(failure(error(code))) == shows
