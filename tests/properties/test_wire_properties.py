"""Whatever goes in: signatures equal the official SDKs', bodies decode to the media, readers never raise."""

import base64
import hashlib
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from alibabacloud_tea_openapi.utils import Utils
from hypothesis import given
from hypothesis import strategies as st
from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.http.request import RequestInternal

from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Answer
from tasks.providers.aliyun import signing as acs3
from tasks.providers.aliyun import wire as aliyun
from tasks.providers.credentials import Keys
from tasks.providers.detector import new_order_no
from tasks.providers.exchange import Reply
from tasks.providers.failures import Failure
from tasks.providers.tencent import signing as tc3
from tasks.providers.tencent import wire as tencent

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
NAMES = st.from_regex(r"[A-Za-z]{1,9}", fullmatch=True)  # the SDK does not escape names
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
LEVELS = st.sampled_from(["Low", "Mid", "High", "0", "1", "2", 0, 1, 2, 3, None, "", "LOW", "none"])


def media(content: bytes, kind: MediaKind = MediaKind.IMAGE) -> PreparedMedia:
    return PreparedMedia(content, kind, "", "", "untouched")


@given(
    secret=PRINTABLE,
    at=st.integers(0, 2**32),
    host=st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True),
    body=st.binary(max_size=200),
)
def test_tc3_equals_the_sdk_signer(secret: str, at: int, host: str, body: bytes) -> None:
    request = RequestInternal(host, "POST", "/")
    request.data = body
    request.header = {"Content-Type": "application/json", "Host": host, "X-TC-Timestamp": str(at)}
    keys = Keys("AKIDEXAMPLE", secret)
    ours = tc3.authorization(keys, at, host, "application/json", hashlib.sha256(body).hexdigest())
    date = ours.partition("/")[2].partition("/")[0]
    theirs = AbstractClient._get_tc3_signature(None, {}, request, date, "faceid", secret)
    assert ours.endswith(f"Signature={theirs}")


@given(
    secret=PRINTABLE,
    parameters=st.dictionaries(NAMES, ANY_TEXT, max_size=5),
    token=PRINTABLE,
    body=st.binary(max_size=200),
)
def test_acs3_equals_the_sdk_signer(secret: str, parameters: dict[str, str], token: str, body: bytes) -> None:
    headers = {"host": "cloudauth.aliyuncs.com", "x-acs-security-token": token}
    digest = hashlib.sha256(body).hexdigest()
    request = SimpleNamespace(method="POST", pathname="/", query=parameters, headers=headers)
    theirs = Utils.get_authorization(request, "ACS3-HMAC-SHA256", digest, "LTAIEXAMPLE", secret)
    query = acs3.canonical_query(parameters)
    assert acs3.authorization(Keys("LTAIEXAMPLE", secret), headers, query, digest) == theirs


@given(st.dictionaries(PRINTABLE, ANY_TEXT.filter(bool), max_size=5))
def test_a_query_decodes_to_what_was_put_in(parameters: dict[str, str]) -> None:
    assert dict(parse_qsl(acs3.canonical_query(parameters), strict_parsing=bool(parameters))) == parameters


@given(st.binary(max_size=3000))
def test_a_form_body_decodes_to_the_media(content: bytes) -> None:
    """As a server reads it: form-decoded, then strict base64."""
    body = aliyun.body_of(media(content)).decode("ascii")
    face = parse_qs(body, keep_blank_values=True)["FaceBase64"]
    assert [base64.b64decode(part, validate=True) for part in face] == [content]


@given(st.binary(max_size=3000), st.sampled_from([(MediaKind.IMAGE, 1), (MediaKind.VIDEO, 2)]))
def test_a_json_body_decodes_to_the_media(content: bytes, kind: tuple[MediaKind, int]) -> None:
    body = json.loads(tencent.body_of(media(content, kind[0])))
    assert body.keys() == {"FaceInput", "FaceInputType"}
    assert base64.b64decode(body["FaceInput"], validate=True) == content
    assert body["FaceInputType"] == kind[1]


def outcome(read: Any, text: str, status: int = 200) -> Answer | Failure:
    result: Answer | Failure = read(Reply(status, text, {}), "https://h")
    return result


@given(st.sampled_from([tencent, aliyun]), ANY_TEXT | JSON.map(json.dumps), st.integers(100, 599))
def test_no_reply_makes_a_reader_raise(wire: Any, text: str, status: int) -> None:
    """Any text, any JSON, any status: an answer or a failure, and its text is kept."""
    result = outcome(wire.read_reply, text, status)
    assert result.raw == text or isinstance(result, Failure)


@given(LEVELS | JSON, JSON, JSON, JSON)
def test_a_tencent_level_is_read_or_in_doubt_never_guessed(
    level: Any, details: Any, extra: Any, request_id: Any
) -> None:
    """Served and unreadable is billed perhaps: it must not look like a verdict, nor like nothing."""
    response = {
        "AttackRiskLevel": level,
        "AttackRiskDetailList": details,
        "ExtraInfo": extra,
        "RequestId": request_id,
    }
    text = json.dumps({"Response": response})
    result = outcome(tencent.read_reply, text)
    if isinstance(level, str) and level.strip().lower() in ("low", "mid", "high"):
        assert isinstance(result, Answer)
        assert result.risk.value == level.strip().lower()
    else:
        assert isinstance(result, Failure)
        assert result.in_doubt
    assert result.raw == text


@given(LEVELS | JSON, JSON, JSON, st.booleans())
def test_an_aliyun_result_is_read_or_in_doubt_never_guessed(
    level: Any, tags: Any, scores: Any, as_number: bool
) -> None:
    result_object = {"Result": level, "RiskTag": tags, "RiskScore": scores}
    text = json.dumps({"Code": 200 if as_number else "200", "ResultObject": result_object})
    result = outcome(aliyun.read_reply, text)
    known = {"0": "low", "2": "mid", "1": "high"}
    spelt = "" if isinstance(level, bool) else str(level).strip()
    if isinstance(level, float) and level.is_integer():
        spelt = str(int(level))
    if isinstance(level, str | int | float) and spelt in known:
        assert isinstance(result, Answer)
        assert result.risk.value == known[spelt]
    else:
        assert isinstance(result, Failure)
        assert result.in_doubt
    assert result.raw == text


@given(JSON, JSON)
def test_everything_read_can_be_stored_as_utf_8(tags: Any, scores: Any) -> None:
    """JSON can spell half a surrogate pair; no column can hold it."""
    result_object = {"Result": "1", "RiskTag": tags, "RiskScore": scores}
    text = json.dumps({"Code": "200", "RequestId": "\ud800", "ResultObject": result_object})
    result = outcome(aliyun.read_reply, text)
    assert isinstance(result, Answer)
    for part in (result.request_id, result.raw, *result.tags, *result.tags_raw, *result.scores):
        part.encode("utf-8")


@given(st.floats(0, 4e9), st.randoms(use_true_random=False))
def test_order_numbers_are_32_alphanumeric_characters(now_s: float, random: Any) -> None:
    order_no = new_order_no(now_s, lambda size: random.randbytes(size).hex())
    assert len(order_no) == 32
    assert order_no.isascii()
    assert order_no.isalnum()
    assert order_no.startswith("fs")
