"""Clients of the emulated services: the official SDKs, and requests signed here by hand.

The hand-signed ones share no code with the emulators and can be made wrong in one thing at a time.
"""

import hashlib
import hmac
import http.client
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pybase64
from alibabacloud_cloudauth20190307.client import Client
from alibabacloud_cloudauth20190307.models import DeepfakeDetectRequest
from alibabacloud_tea_openapi.utils_models import Config
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.faceid.v20180301.faceid_client import FaceidClient
from tencentcloud.faceid.v20180301.models import DetectAIFakeFacesRequest

from emulators import accounts
from tests.contract.emulated_media import image
from tests.contract.emulator_process import RunningEmulators

PHOTO = image("genuine")


def netloc(emulators: RunningEmulators, provider: str) -> str:
    return urlsplit(emulators.urls[provider]).netloc


def send(
    netloc: str, target: str, headers: dict[str, str], body: bytes, method: str = "POST"
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request as it stands; the response and its body."""
    connection = http.client.HTTPConnection(netloc, timeout=30)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def ask(
    emulators: RunningEmulators, provider: str, media: bytes = PHOTO
) -> tuple[http.client.HTTPResponse, bytes]:
    """One right request, signed by hand; the response and its body."""
    where = netloc(emulators, provider)
    if provider == "tencent":
        body = tencent_body(media)
        return send(where, "/", tencent_headers(where, body), body)
    body = aliyun_form(media)
    target, headers = aliyun_request(where, {"OuterOrderNo": uuid.uuid4().hex}, body)
    return send(where, target, headers, body)


# --- Tencent ---


def tencent_client(
    emulators: RunningEmulators, account: accounts.Account = accounts.TENCENT, method: str = "POST"
) -> Any:
    """The official client, pointed at the emulator."""
    where = HttpProfile(protocol="http", endpoint=netloc(emulators, "tencent"), reqMethod=method)
    who = Credential(account.key_id, account.secret, account.token)
    return FaceidClient(who, "ap-guangzhou", ClientProfile(httpProfile=where))


def ask_tencent(emulators: RunningEmulators, media: bytes, kind: int = 1, **who: Any) -> Any:
    """The official client's answer to one question."""
    request = DetectAIFakeFacesRequest()
    request.FaceInput, request.FaceInputType = pybase64.b64encode(media).decode(), kind
    return tencent_client(emulators, **who).DetectAIFakeFaces(request)


def tencent_body(media: bytes = PHOTO) -> bytes:
    given = {"FaceInput": pybase64.b64encode(media).decode(), "FaceInputType": 1}
    return json.dumps(given).encode()


def tencent_code(reply: bytes) -> str:
    """The error code in a reply; Success where there is none."""
    return str(json.loads(reply)["Response"].get("Error", {}).get("Code", "Success"))


def tencent_headers(netloc: str, body: bytes, **change: Any) -> dict[str, str]:
    """Headers of a right request, signed here; `change` makes one thing of it wrong or different."""
    at = int(time.time()) + change.get("skew_s", 0)
    day = change.get("day", datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d"))
    service = change.get("service", "faceid")
    covered = change.get("covered", ["content-type", "host"])
    headers = {
        "Content-Type": "application/json",
        "Host": netloc,
        "X-TC-Action": "DetectAIFakeFaces",
        "X-TC-Version": "2018-03-01",
        "X-TC-Timestamp": str(at),
        **change.get("headers", {}),
    }
    lower = {name.lower(): value.lower() for name, value in headers.items()}
    canonical = "\n".join(
        [
            change.get("method", "POST"),
            "/",
            change.get("query", ""),
            *(f"{name}:{lower[name]}" for name in covered),
            "",
            ";".join(covered),
            hashlib.sha256(change.get("payload", body)).hexdigest(),
        ]
    )
    scope = f"{day}/{service}/{change.get('terminator', 'tc3_request')}"
    text = f"TC3-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"TC3" + change.get("secret", accounts.TENCENT.secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    key_id = change.get("key_id", accounts.TENCENT.key_id)
    headers["Authorization"] = (
        f"TC3-HMAC-SHA256 Credential={key_id}/{scope}, "
        f"SignedHeaders={';'.join(covered)}, Signature={signature}"
    )
    for name in change.get("unsent", []):
        del headers[name]
    return headers


def tencent_reply(
    emulators: RunningEmulators, method: str = "POST", target: str = "/", **change: Any
) -> tuple[http.client.HTTPResponse, str]:
    """The response and the code for a hand-signed request with one thing changed."""
    where, body = netloc(emulators, "tencent"), tencent_body()
    headers = tencent_headers(where, body, method=method, **change)
    headers |= change.get("added", {})
    response, reply = send(where, target, headers, body, method)
    return response, tencent_code(reply)


# --- Aliyun ---


def aliyun_client(emulators: RunningEmulators, account: accounts.Account = accounts.ALIYUN) -> Client:
    """The official client, pointed at the emulator."""
    return Client(
        Config(
            access_key_id=account.key_id,
            access_key_secret=account.secret,
            security_token=account.token,
            endpoint=netloc(emulators, "aliyun"),
            protocol="http",
        )
    )


def aliyun_question(media: bytes = b"", kind: str = "IMAGE", **given: str) -> DeepfakeDetectRequest:
    parameters: dict[str, str] = {"face_input_type": kind, "outer_order_no": uuid.uuid4().hex}
    if media:
        parameters["face_base_64"] = pybase64.b64encode(media).decode()
    return DeepfakeDetectRequest(**(parameters | given))


def ask_aliyun(emulators: RunningEmulators, media: bytes = b"", kind: str = "IMAGE", **given: str) -> Any:
    """The body of the official client's answer to one question, as JSON."""
    question = aliyun_question(media, kind, **given)
    return aliyun_client(emulators).deepfake_detect(question).body.to_map()


def aliyun_form(media: bytes = PHOTO) -> bytes:
    return f"FaceBase64={quote(pybase64.b64encode(media).decode(), safe='')}".encode()


def aliyun_request(
    netloc: str, query: dict[str, str], body: bytes, **change: Any
) -> tuple[str, dict[str, str]]:
    """Target and headers of a right request, signed here; `change` makes one thing of it wrong."""
    date = datetime.fromtimestamp(time.time() + change.get("skew_s", 0), UTC)
    headers = {
        "host": netloc,
        "content-type": "application/x-www-form-urlencoded",
        "x-acs-action": "DeepfakeDetect",
        "x-acs-version": "2019-03-07",
        "x-acs-date": date.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-content-sha256": hashlib.sha256(change.get("payload", body)).hexdigest(),
        **change.get("headers", {}),
    }
    for name in change.get("unsent", []):
        del headers[name]
    covered = sorted(set(headers) - set(change.get("uncovered", [])))
    escaped = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items())
    )
    canonical = "\n".join(
        [
            change.get("method", "POST"),
            "/",
            escaped,
            *(f"{name}:{headers[name]}" for name in covered),
            "",
            ";".join(covered),
            headers.get("x-acs-content-sha256", ""),
        ]
    )
    text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = change.get("secret", accounts.ALIYUN.secret).encode()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    comma = change.get("comma", ",")
    headers["Authorization"] = (
        f"{change.get('algorithm', 'ACS3-HMAC-SHA256')} "
        f"Credential={change.get('key_id', accounts.ALIYUN.key_id)}{comma}"
        f"SignedHeaders={';'.join(covered)}{comma}Signature={signature}"
    )
    return f"{change.get('path', '/')}?{change.get('wire_query', escaped)}", headers


def aliyun_reply(emulators: RunningEmulators, body: bytes | None = None, **change: Any) -> tuple[int, str]:
    """HTTP status and Code for a hand-signed request with one thing changed."""
    query = change.pop("query", {"FaceInputType": "IMAGE", "OuterOrderNo": uuid.uuid4().hex})
    sent = aliyun_form() if body is None else body
    where = netloc(emulators, "aliyun")
    target, headers = aliyun_request(where, query, sent, **change)
    for name in change.get("dropped", []):
        del headers[name]
    response, answer = send(where, target, headers, sent, change.get("wire_method", "POST"))
    return response.status, str(json.loads(answer)["Code"])
