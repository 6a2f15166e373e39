"""The emulated Tencent service takes what the official SDK sends, and nothing less exact."""

import hashlib
import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import pybase64
import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from emulators import accounts, tencent_signature
from tests.contract.emulator_clients import (
    PHOTO,
    ask_tencent,
    tencent_client,
    tencent_code,
    tencent_reply,
)
from tests.contract.emulator_process import ROOT, RunningEmulators, running_emulators


@pytest.fixture(scope="module")
def process() -> Iterator[RunningEmulators]:
    with running_emulators() as running:
        yield running


@pytest.fixture
def emulators(process: RunningEmulators) -> RunningEmulators:
    process.reset()
    return process


# --- signature ---


@pytest.mark.parametrize(
    "name",
    [
        "tencent_1_image_basic",
        "tencent_2_video_sts_region",
        "tencent_3_encrypted_body_aes",
        "tencent_4_unsigned_payload",
        "tencent_6_tc3_get",
    ],
)
def test_the_signature_is_the_one_the_official_sdk_computed(name: str) -> None:
    vector = json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())
    wire = vector["wire"]
    headers = {key.lower(): value for key, value in wire["headers"]}
    written = tencent_signature.parse_authorization(headers["authorization"])
    assert written is not None
    method, target, _ = wire["request_line"].split(" ")
    unsigned = headers.get("x-tc-content-sha256") == "UNSIGNED-PAYLOAD"
    payload = b"UNSIGNED-PAYLOAD" if unsigned else wire["body_utf8"].encode()

    canonical = tencent_signature.canonical_request(
        method,
        urlsplit(target).query,
        headers,
        written.signed_headers,
        hashlib.sha256(payload).hexdigest(),
    )

    expected = tencent_signature.sign(
        vector["inputs"]["secret_key"],
        headers["x-tc-timestamp"],
        written.date,
        written.service,
        canonical,
    )
    assert expected == written.signature


@pytest.mark.parametrize("account", [accounts.TENCENT, accounts.TENCENT_STS])
def test_the_official_sdk_is_answered_with_either_kind_of_key(
    emulators: RunningEmulators, account: accounts.Account
) -> None:
    answer = ask_tencent(emulators, PHOTO, account=account)

    assert answer.AttackRiskLevel == "Low"
    assert answer.AttackRiskDetailList == []
    (call,) = emulators.calls("tencent")
    assert (call["code"], call["billed"], call["delivered"]) == ("Success", True, True)
    assert call["media_sha256"] == hashlib.sha256(PHOTO).hexdigest()
    assert call["request_id"] == answer.RequestId


def test_our_own_signature_is_accepted_when_nothing_is_changed(emulators: RunningEmulators) -> None:
    response, code = tencent_reply(emulators)

    assert (response.status, code) == (200, "Success")
    assert response.headers["X-Emulated"] == "facesweep-emulator"
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"payload": b"another body"}, "AuthFailure.SignatureFailure"),
        ({"secret": "not the secret"}, "AuthFailure.SignatureFailure"),
        ({"key_id": "AKIDNOBODY"}, "AuthFailure.SecretIdNotFound"),
        ({"service": "cvm"}, "AuthFailure.SignatureFailure"),
        ({"day": "2020-01-01"}, "AuthFailure.SignatureFailure"),
        ({"terminator": "aws4_request"}, "AuthFailure.InvalidAuthorization"),
        ({"covered": ["host"]}, "AuthFailure.SignatureFailure"),
        ({"covered": ["host", "content-type"]}, "AuthFailure.SignatureFailure"),
        ({"skew_s": -310}, "AuthFailure.SignatureExpire"),
        ({"skew_s": 900}, "AuthFailure.SignatureExpire"),
        ({"unsent": ["Authorization"]}, "AuthFailure.InvalidAuthorization"),
        ({"unsent": ["X-TC-Action"]}, "MissingParameter"),
        ({"unsent": ["X-TC-Timestamp"]}, "MissingParameter"),
        ({"headers": {"X-TC-Action": "DetectAIGCContent"}}, "InvalidAction"),
        ({"headers": {"X-TC-Version": "2017-03-12"}}, "NoSuchVersion"),
        ({"headers": {"Content-Type": "text/plain"}}, "InvalidRequest"),
        ({"headers": {"X-TC-Token": "not wanted"}}, "AuthFailure.TokenFailure"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_request_that_was_tampered_with_is_refused_with_http_200(
    emulators: RunningEmulators, change: dict[str, Any], expected: str
) -> None:
    response, code = tencent_reply(emulators, **change)

    assert (response.status, code) == (200, expected)
    (call,) = emulators.calls("tencent")
    assert (call["code"], call["billed"]) == (expected, False)


@pytest.mark.parametrize(
    ("account", "token", "expected"),
    [
        (accounts.TENCENT_STS, accounts.STS_TOKEN, "Success"),
        (accounts.TENCENT_STS, None, "AuthFailure.TokenFailure"),
        (accounts.TENCENT_STS, "another token", "AuthFailure.TokenFailure"),
        (accounts.TENCENT_EXPIRED, accounts.STS_TOKEN, "AuthFailure.TokenFailure"),
    ],
)
def test_a_temporary_key_needs_its_own_token_in_time(
    emulators: RunningEmulators, account: accounts.Account, token: str | None, expected: str
) -> None:
    added = {} if token is None else {"X-TC-Token": token}

    _, code = tencent_reply(emulators, key_id=account.key_id, secret=account.secret, added=added)

    assert code == expected


def test_more_headers_may_be_signed_in_lower_case(emulators: RunningEmulators) -> None:
    _, code = tencent_reply(emulators, covered=["content-type", "host", "x-tc-action"])

    assert code == "Success"


def test_an_unsigned_payload_is_accepted_when_it_is_announced(emulators: RunningEmulators) -> None:
    mode = {"X-TC-Content-SHA256": "UNSIGNED-PAYLOAD"}
    _, announced = tencent_reply(emulators, payload=b"UNSIGNED-PAYLOAD", headers=mode)
    _, silent = tencent_reply(emulators, payload=b"UNSIGNED-PAYLOAD")

    assert (announced, silent) == ("Success", "AuthFailure.SignatureFailure")


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("PUT", "/", "UnsupportedProtocol"),
        ("POST", "/v1", "InvalidRequest"),
        ("POST", "/?a=b", "InvalidRequest"),
    ],
)
def test_another_method_or_path_is_refused(
    emulators: RunningEmulators, method: str, target: str, expected: str
) -> None:
    assert tencent_reply(emulators, method, target)[1] == expected


def test_a_clock_that_is_off_shows_in_the_date_header(emulators: RunningEmulators) -> None:
    emulators.settings("tencent", clock_offset_s=86_400)

    response, code = tencent_reply(emulators)

    assert code == "AuthFailure.SignatureExpire"
    there = parsedate_to_datetime(response.headers["Date"]).timestamp()
    assert 86_000 < there - time.time() < 87_000


# --- parameters ---


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"Extra": 1}, "UnknownParameter"),
        ({"FaceUrl": "http://example.com/"}, "UnknownParameter"),
        ({"FaceInputType": "1"}, "InvalidParameter"),
        ({"FaceInputType": True}, "InvalidParameter"),
        ({"FaceInputType": 3}, "InvalidParameter"),
        ({"FaceInputType": "-"}, "MissingParameter"),
        ({"FaceInput": "-"}, "MissingParameter"),
        ({"FaceInput": 1}, "InvalidParameter"),
        ({"FaceInput": ""}, "InvalidParameterValue"),
        ({"FaceInput": "data:image/jpeg;base64,/9j/4AAQ"}, "InvalidParameterValue"),
        ({"FaceInput": "/9j/\n4AAQ"}, "InvalidParameterValue"),
        ({"FaceInput": "/9j/4AAQ\n"}, "InvalidParameterValue"),
        ({"FaceInput": "/9j/4AA"}, "InvalidParameterValue"),
        ({"FaceInput": "_9j_4AAQ"}, "InvalidParameterValue"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_with_their_own_code(
    emulators: RunningEmulators, parameters: dict[str, Any], expected: str
) -> None:
    given = {"FaceInput": pybase64.b64encode(PHOTO).decode(), "FaceInputType": 1, **parameters}
    given = {name: value for name, value in given.items() if value != "-"}

    with pytest.raises(TencentCloudSDKException) as refused:
        tencent_client(emulators).call("DetectAIFakeFaces", given)

    assert refused.value.code == expected


def test_a_get_request_carries_small_media_in_its_query(emulators: RunningEmulators) -> None:
    getter = tencent_client(emulators, method="GET")
    given = {"FaceInput": pybase64.b64encode(PHOTO).decode(), "FaceInputType": 1}

    assert tencent_code(getter.call("DetectAIFakeFaces", given)) == "Success"


@pytest.mark.parametrize("media_bytes", [7_500_000, 10_000_000])
def test_a_request_above_ten_megabytes_is_too_large(emulators: RunningEmulators, media_bytes: int) -> None:
    with pytest.raises(TencentCloudSDKException) as refused:
        ask_tencent(emulators, PHOTO.ljust(media_bytes, b"\0"))

    assert refused.value.code == "RequestSizeLimitExceeded"


def test_an_encrypted_request_for_another_key_is_signed_like_any_other_but_cannot_be_opened(
    emulators: RunningEmulators,
) -> None:
    vector = json.loads((ROOT / "tests/vectors/tencent_3_encrypted_body_aes.json").read_text())
    parameters = vector["inputs"]["params"]

    with pytest.raises(TencentCloudSDKException) as refused:
        tencent_client(emulators).call("DetectAIFakeFaces", parameters)
    with pytest.raises(TencentCloudSDKException) as half:
        tencent_client(emulators).call("DetectAIFakeFaces", {"EncryptedBody": parameters["EncryptedBody"]})

    assert refused.value.code == "FailedOperation.DecryptSystemError"
    assert half.value.code == "MissingParameter"
