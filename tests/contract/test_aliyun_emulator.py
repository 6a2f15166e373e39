"""The emulated Aliyun service takes what the official SDK sends, and nothing less exact."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import anyio
import pybase64
import pytest

from emulators import accounts, aliyun_signature
from emulators.aliyun import decode_form
from emulators.aliyun_replies import NONCE_KEPT_S, Nonces
from tests.contract.emulated_media import served
from tests.contract.emulator_clients import (
    PHOTO,
    aliyun_client,
    aliyun_form,
    aliyun_question,
    aliyun_reply,
    aliyun_request,
    ask,
    netloc,
    send,
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
        "aliyun_1_v3_image_base64",
        "aliyun_2_v3_video_url_sts",
        "aliyun_3_v3_video_base64_sts_async",
        "aliyun_4_v3_video_url_async",
    ],
)
def test_the_signature_is_the_one_the_official_sdk_computed(name: str) -> None:
    """Though the query on the wire is escaped in four different ways."""
    vector = json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())
    wire = vector["wire"]
    headers = {key.lower(): value for key, value in wire["headers"]}
    method, target, _ = wire["request_line"].split(" ")
    written = aliyun_signature.parse_authorization(headers["authorization"])
    assert written is not None

    query = aliyun_signature.decode_query(target.partition("?")[2])
    canonical = aliyun_signature.canonical_request(
        method,
        query,
        headers,
        written.signed_headers,
        hashlib.sha256(wire["body_utf8"].encode()).hexdigest(),
    )

    secret = vector["inputs"]["access_key_secret"]
    assert aliyun_signature.sign(secret, canonical) == written.signature
    assert aliyun_signature.must_be_signed(headers) <= set(written.signed_headers)
    parameters = {k: v for k, v in vector["inputs"]["params"].items() if k != "FaceBase64"}
    assert dict(query) == parameters


@pytest.mark.parametrize("account", [accounts.ALIYUN, accounts.ALIYUN_STS])
def test_the_official_sdk_is_answered_with_either_kind_of_key(
    emulators: RunningEmulators, account: accounts.Account
) -> None:
    asked = aliyun_question(PHOTO)

    answer = aliyun_client(emulators, account).deepfake_detect(asked).body

    assert (answer.code, answer.result_object.result) == ("200", "0")
    (call,) = emulators.calls("aliyun")
    assert (call["code"], call["billed"], call["delivered"]) == ("200", True, True)
    assert call["order_no"] == asked.outer_order_no
    assert call["media_sha256"] == hashlib.sha256(PHOTO).hexdigest()


@pytest.mark.parametrize("account", [accounts.ALIYUN, accounts.ALIYUN_STS])
def test_the_official_sdk_is_answered_when_it_is_asynchronous(
    emulators: RunningEmulators, account: accounts.Account
) -> None:
    """It escapes the query differently and lets aiohttp escape it again."""

    async def both() -> list[str]:
        asker = aliyun_client(emulators, account)
        by_form = await asker.deepfake_detect_async(aliyun_question(PHOTO))
        hard = "/a%20b/%E4%BA%BA%E8%84%B8~(1)*'!.jpg?Signature=ab%2Bc/d+e==&x=%7E"
        with served({hard: PHOTO}) as url:
            asked = aliyun_question(face_url=f"{url}{hard}")
            by_url = await asker.deepfake_detect_async(asked)
        return [by_form.body.code, by_url.body.code]

    assert anyio.run(both) == ["200", "200"]


def test_our_own_signature_is_accepted_when_nothing_is_changed(emulators: RunningEmulators) -> None:
    response, reply = ask(emulators, "aliyun")

    answer = json.loads(reply)
    assert (response.status, answer["Code"], answer["Message"]) == (200, "200", "success")
    assert response.headers["X-Emulated"] == "facesweep-emulator"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"payload": b"another body"}, (400, "SignatureDoesNotMatch")),
        ({"secret": "not the secret"}, (400, "SignatureDoesNotMatch")),
        ({"wire_query": "FaceInputType=VIDEO"}, (400, "SignatureDoesNotMatch")),
        ({"key_id": "LTAINOBODY"}, (404, "InvalidAccessKeyId.NotFound")),
        ({"key_id": "LTAIEXAMPLEOFF"}, (400, "InvalidAccessKeyId.Inactive")),
        ({"algorithm": "ACS3-HMAC-SM3"}, (400, "InvalidSignatureMethod")),
        ({"comma": ", "}, (400, "IncompleteSignature")),
        ({"uncovered": ["host"]}, (400, "IncompleteSignature")),
        ({"uncovered": ["content-type"]}, (400, "IncompleteSignature")),
        ({"uncovered": ["x-acs-date"]}, (400, "IncompleteSignature")),
        (
            {"headers": {"x-acs-other": "1"}, "uncovered": ["x-acs-other"]},
            (400, "IncompleteSignature"),
        ),
        ({"headers": {"x-extra": "1"}, "dropped": ["x-extra"]}, (400, "SignatureDoesNotMatch")),
        ({"skew_s": -1000}, (400, "InvalidTimeStamp.Expired")),
        ({"skew_s": 1000}, (400, "InvalidTimeStamp.Expired")),
        ({"headers": {"x-acs-date": "20250102T030405Z"}}, (400, "InvalidTimeStamp.Format")),
        ({"unsent": ["x-acs-action"]}, (400, "MissingAction")),
        ({"unsent": ["x-acs-signature-nonce"]}, (400, "MissingSignatureNonce")),
        ({"dropped": ["Authorization"]}, (400, "MissingAuthorization")),
        ({"headers": {"x-acs-action": "DeepfakeDetectIntl"}}, (404, "InvalidApi.NotFound")),
        ({"headers": {"x-acs-version": "2022-08-09"}}, (404, "InvalidApi.NotFound")),
        ({"path": "/v1"}, (404, "InvalidApi.NotFound")),
        ({"method": "PUT", "wire_method": "PUT"}, (400, "UnsupportedHTTPMethod")),
        ({"method": "GET"}, (400, "SignatureDoesNotMatch")),
        ({"headers": {"content-type": "application/json"}}, (400, "InvalidContentType")),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_request_that_was_tampered_with_is_refused_by_the_gateway(
    emulators: RunningEmulators, change: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert aliyun_reply(emulators, **change) == expected
    (call,) = emulators.calls("aliyun")
    assert (call["code"], call["billed"]) == (expected[1], False)


@pytest.mark.parametrize(
    ("account", "token", "expected"),
    [
        (accounts.ALIYUN_STS, accounts.STS_TOKEN, (200, "200")),
        (accounts.ALIYUN_STS, None, (400, "MissingSecurityToken")),
        (accounts.ALIYUN_STS, "another", (403, "InvalidSecurityToken.MismatchWithAccessKey")),
        (accounts.ALIYUN, "unwanted", (403, "InvalidSecurityToken.MismatchWithAccessKey")),
        (accounts.ALIYUN_EXPIRED, accounts.STS_TOKEN, (403, "InvalidSecurityToken.Expired")),
    ],
)
def test_a_temporary_key_needs_its_own_token_in_time(
    emulators: RunningEmulators,
    account: accounts.Account,
    token: str | None,
    expected: tuple[int, str],
) -> None:
    headers = {} if token is None else {"x-acs-security-token": token}

    given = aliyun_reply(emulators, key_id=account.key_id, secret=account.secret, headers=headers)

    assert given == expected


def test_the_query_may_come_in_any_order_and_escaping(emulators: RunningEmulators) -> None:
    order_no = "0" * 32
    query = {"FaceInputType": "IMAGE", "OuterOrderNo": order_no}
    wire = f"OuterOrderNo={order_no}&FaceInput%54ype=IMAGE"

    assert aliyun_reply(emulators, query=query, wire_query=wire) == (200, "200")


def test_a_nonce_serves_once(emulators: RunningEmulators) -> None:
    nonce = {"x-acs-signature-nonce": "0123456789abcdef"}

    assert aliyun_reply(emulators, headers=nonce) == (200, "200")
    assert aliyun_reply(emulators, headers=nonce) == (400, "SignatureNonceUsed")


def test_a_nonce_is_forgotten_after_fifteen_minutes() -> None:
    nonces = Nonces()

    assert nonces.take("a", 0.0)
    assert not nonces.take("a", NONCE_KEPT_S - 1)
    assert nonces.take("a", NONCE_KEPT_S + 1)


def test_a_request_refused_for_its_signature_spends_no_nonce(emulators: RunningEmulators) -> None:
    nonce = {"x-acs-signature-nonce": "0123456789abcdef"}

    assert aliyun_reply(emulators, headers=nonce, secret="wrong") == (400, "SignatureDoesNotMatch")
    assert aliyun_reply(emulators, headers=nonce) == (200, "200")


def test_the_gateway_names_itself_and_a_remedy(emulators: RunningEmulators) -> None:
    target, headers = aliyun_request(netloc(emulators, "aliyun"), {}, aliyun_form(), key_id="LTAINOBODY")

    answer = json.loads(send(netloc(emulators, "aliyun"), target, headers, aliyun_form())[1])

    assert set(answer) == {"RequestId", "HostId", "Code", "Message", "Recommend"}
    assert answer["HostId"] == netloc(emulators, "aliyun")


# --- parameters ---


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ({"FaceInputType": "1"}, aliyun_form(), "401"),
        ({"FaceInputType": "image"}, aliyun_form(), "401"),
        ({"OuterOrderNo": "too-short"}, aliyun_form(), "401"),
        ({"OuterOrderNo": "-" * 32}, aliyun_form(), "401"),
        ({"FaceUrl": "http://127.0.0.1:1/a.jpg"}, aliyun_form(), "419"),
        ({"FaceInputType": "IMAGE"}, b"", "400"),
        ({"FaceInputType": "IMAGE"}, b"FaceBase64=", "400"),
        ({"FaceBase64": pybase64.b64encode(PHOTO).decode()}, b"", "400"),
        ({"FaceUrl": "http://127.0.0.1:1/a.jpg"}, b"", "401"),
        ({"FaceUrl": "http://oss.example.com/a.jpg"}, b"", "401"),
        ({}, b"FaceBase64=data%3Aimage%2Fjpeg%3Bbase64%2C%2F9j%2F4AAQ", "401"),
        ({}, b"FaceBase64=%2F9j%2F%0A4AAQ", "401"),
        ({}, b"FaceBase64=%2F9j%2F4AA", "401"),
        ({}, b"FaceBase64=/9j/4+AQ", "401"),
        ({}, b"FaceBase64=_9j_4AAQ", "401"),
        ({}, b"FaceBase64=" + b"A" * 10_000_004, "421"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_wrong_parameters_get_a_body_code_with_http_200(
    emulators: RunningEmulators, query: dict[str, str], body: bytes, expected: str
) -> None:
    assert aliyun_reply(emulators, body, query=query) == (200, expected)
    assert not emulators.calls("aliyun")[0]["billed"]


def test_a_body_above_every_limit_is_still_answered(emulators: RunningEmulators) -> None:
    assert aliyun_reply(emulators, b"FaceBase64=" + b"A" * 13_000_000) == (200, "421")


@pytest.mark.parametrize(
    "body",
    [
        b"FaceBase64=ab%2Bc%2Fd%3D%3D&x=1",
        b"x=1&FaceBase64=ab%2bc/d%3d=",
        b"x=1&FaceBase64=a+b%20c",
        b"FaceBase64=a%0Ab\nc%25&x=1",
        b"Face%42ase64=%E4%BA%BA&x=1",
    ],
)
def test_a_form_is_decoded_as_the_standard_library_does(body: bytes) -> None:
    expected = dict(parse_qsl(body.decode(), encoding="latin-1"))

    assert {k: v.decode("latin-1") for k, v in decode_form(body).items()} == expected
