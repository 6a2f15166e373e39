"""Tencent faceid `DetectAIFakeFaces`, version 2018-03-01.

Checks in this order (the order is inferred): request line and headers, action and version, signature,
quota, parameters, media. Everything the service itself says comes with HTTP 200, errors included.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pybase64

from emulators import tencent_signature, verdicts
from emulators.accounts import Account
from emulators.calls import Call
from emulators.listening import Reply
from emulators.media_limits import tencent_image, tencent_video
from emulators.service import Outcome, Request, Service, broken_way, spoil
from emulators.tencent_decryption import Decryption, NotDecrypted
from emulators.trouble import Trouble

ACTION, VERSION = "DetectAIFakeFaces", "2018-03-01"
SKEW_S = 300
POST_LIMIT = 10 * 10**6  # bytes of a whole TC3 request; whether "10 MB" is 10^7 or 10*2^20 is unknown
GET_LIMIT = 32 * 1024
PARAMETERS = {"FaceInput", "FaceInputType", "Encryption", "EncryptedBody"}
REQUIRED_HEADERS = ("X-TC-Action", "X-TC-Version", "X-TC-Timestamp")


class Refusal(Exception):
    """The service answers with this error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class Tencent(Service):
    """The emulated service."""

    name = "tencent"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decryption = Decryption()

    def public_keys(self) -> dict[str, str]:
        return self.decryption.public_keys()

    async def answer(self, request: Request, call: Call) -> Outcome:
        call.request_id = str(uuid.uuid4())
        try:
            kind, media = self.admit(request, call)
        except Refusal as refusal:
            return Outcome(refused(call, refusal), examined=False)
        trouble = self.script.meet(call)
        if (broken := broken_way(trouble)) is not None:
            return Outcome(broken, examined=False, trouble=trouble)
        try:
            check_trouble(trouble)
            reply = await self.examine(kind, media, call, trouble)
        except Refusal as refusal:
            return Outcome(refused(call, refusal), examined=True, trouble=trouble)
        return Outcome(spoil(reply, trouble), examined=True, trouble=trouble)

    def admit(self, request: Request, call: Call) -> tuple[str, bytes]:
        """All that comes before the engine: the kind of media and its bytes. Raises Refusal."""
        check_request_line(request)
        check_action(request.headers)
        call.action = ACTION
        account = self.authenticate(request)
        call.key_id = account.key_id
        if not self.quota.admit(account.owner, call.arrived_at):
            raise Refusal("RequestLimitExceeded", "The frequency limit is exceeded.")
        given = check_parameters(read_json(request))
        call.delivery = "base64"
        if "Encryption" in given:
            call.delivery = "encrypted"
            given = self.decrypted(given)
        kind, media = read_media(given)
        call.media_sha256 = hashlib.sha256(media).hexdigest()
        call.media_bytes = len(media)
        call.label = verdicts.label_of(media)
        return kind, media

    def decrypted(self, given: dict[str, Any]) -> dict[str, Any]:
        """The parameters inside an encrypted body. Raises Refusal.

        The documents name this code in the product's list, not for this action (inferred).
        """
        try:
            plain = json.loads(self.decryption.open(given["Encryption"], given["EncryptedBody"]))
        except (NotDecrypted, ValueError):
            raise Refusal("FailedOperation.DecryptSystemError", "Decryption failed.") from None
        if not isinstance(plain, dict) or set(plain) - {"FaceInput", "FaceInputType"}:
            raise Refusal("FailedOperation.DecryptSystemError", "Decryption failed.")
        return plain

    async def examine(self, kind: str, media: bytes, call: Call, trouble: Trouble | None) -> Reply:
        """The engine's reply. Raises Refusal where it has no verdict."""
        check = tencent_image if kind == "image" else tencent_video
        objection = await self.judge(kind, media, call.media_sha256, check)
        if objection is not None:
            raise Refusal(objection.code, objection.message)
        return scored(call, kind, trouble)

    def authenticate(self, request: Request) -> Account:
        """The account whose key signed the request. Raises Refusal."""
        headers = request.headers
        written = tencent_signature.parse_authorization(headers.get("Authorization", ""))
        if written is None:
            raise Refusal("AuthFailure.InvalidAuthorization", "Authorization is missing or wrong.")
        account = self.accounts.find(written.key_id)
        if account is None:
            raise Refusal("AuthFailure.SecretIdNotFound", "The SecretId does not exist.")
        timestamp = headers["X-TC-Timestamp"]
        if abs(request.now - int(timestamp)) > SKEW_S:
            raise Refusal("AuthFailure.SignatureExpire", "The timestamp is off by over 5 minutes.")
        self.check_signature(request, written, account, timestamp)
        token = headers.get("X-TC-Token", "")
        if token != (account.token or "") or account.expires_at <= request.now:
            raise Refusal("AuthFailure.TokenFailure", "The token is missing, wrong or expired.")
        return account

    def check_signature(
        self,
        request: Request,
        written: tencent_signature.Authorization,
        account: Account,
        timestamp: str,
    ) -> None:
        """Raises Refusal unless scope, signed headers and signature are right."""
        day = datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d")
        signed = written.signed_headers
        wrong = ""
        if written.date != day:
            wrong = "the credential date is not the UTC date of the timestamp"
        elif written.service != "faceid":
            wrong = "the credential service is not faceid"
        elif not {"content-type", "host"} <= set(signed):
            wrong = "content-type and host must be signed"
        elif list(signed) != sorted({name.lower() for name in signed}):
            wrong = "signed headers must be lower-case and sorted"
        elif any(name not in request.headers for name in signed):
            wrong = "a signed header was not sent"
        if wrong:
            raise Refusal("AuthFailure.SignatureFailure", f"The signature is wrong: {wrong}.")
        unsigned = request.headers.get("X-TC-Content-SHA256") == "UNSIGNED-PAYLOAD"
        payload = b"UNSIGNED-PAYLOAD" if unsigned else request.body or b""
        canonical = tencent_signature.canonical_request(
            request.method,
            request.raw_query,
            request.headers,
            signed,
            hashlib.sha256(payload).hexdigest(),
        )
        expected = tencent_signature.sign(account.secret, timestamp, written.date, written.service, canonical)
        if expected != written.signature:
            raise Refusal("AuthFailure.SignatureFailure", "The signature does not match.")


def check_request_line(request: Request) -> None:
    """Method, path, size, content type. Codes but RequestSizeLimitExceeded are inferred."""
    if request.method not in ("POST", "GET"):
        raise Refusal("UnsupportedProtocol", "Only GET and POST are supported.")
    if request.path != "/":
        raise Refusal("InvalidRequest", "The path is always /.")
    limit = POST_LIMIT if request.method == "POST" else GET_LIMIT
    if request.body is None or len(request.body) + request.header_bytes > limit:
        raise Refusal("RequestSizeLimitExceeded", "The request packet exceeds the size limit.")
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if request.method == "POST":
        if request.raw_query:
            raise Refusal("InvalidRequest", "A POST request has no query string.")
        if media_type != "application/json":
            raise Refusal("InvalidRequest", "The content type must be application/json.")
    elif media_type != "application/x-www-form-urlencoded":
        raise Refusal("InvalidRequest", "GET takes application/x-www-form-urlencoded.")


def check_action(headers: Mapping[str, str]) -> None:
    """The X-TC headers that say what is asked."""
    for name in REQUIRED_HEADERS:
        if not headers.get(name):
            raise Refusal("MissingParameter", f"The header {name} is missing.")
    if headers["X-TC-Action"] != ACTION:
        raise Refusal("InvalidAction", "The action does not exist.")
    if headers["X-TC-Version"] != VERSION:
        raise Refusal("NoSuchVersion", "The version does not exist.")
    if not re.fullmatch(r"\d{1,12}", headers["X-TC-Timestamp"]):
        raise Refusal("InvalidParameter", "X-TC-Timestamp is unix seconds in decimal digits.")


def check_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters, none of them unknown and none of a pair alone. Raises Refusal."""
    if unknown := sorted(set(given) - PARAMETERS):
        raise Refusal("UnknownParameter", f"The parameter `{unknown[0][:64]}` is not recognized.")
    if "Encryption" in given or "EncryptedBody" in given:
        if not isinstance(given.get("Encryption"), dict):
            raise Refusal("MissingParameter", "Encryption goes with EncryptedBody.")
        if not isinstance(given.get("EncryptedBody"), str):
            raise Refusal("MissingParameter", "EncryptedBody goes with Encryption.")
    return given


def read_media(given: dict[str, Any]) -> tuple[str, bytes]:
    """The kind of media and its bytes. Raises Refusal."""
    for name in ("FaceInput", "FaceInputType"):
        if given.get(name) is None:
            raise Refusal("MissingParameter", f"The request is missing the parameter `{name}`.")
    kind = given["FaceInputType"]
    if isinstance(kind, bool) or not isinstance(kind, int):
        raise Refusal("InvalidParameter", "The value type of `FaceInputType` must be integer.")
    if kind not in (1, 2):
        raise Refusal("InvalidParameter", "`FaceInputType` must be 1 or 2.")
    text = given["FaceInput"]
    if not isinstance(text, str):
        raise Refusal("InvalidParameter", "The value type of `FaceInput` must be string.")
    if text == "":
        raise Refusal("InvalidParameterValue", "`FaceInput` is empty.")
    try:
        media = pybase64.b64decode(text, validate=True)
    except ValueError:
        raise Refusal("InvalidParameterValue", "`FaceInput` is not standard base64.") from None
    return ("image" if kind == 1 else "video"), media


def read_json(request: Request) -> dict[str, Any]:
    """The parameters as they were given. Raises Refusal."""
    if request.method == "GET":
        pairs = dict(parse_qsl(request.raw_query, keep_blank_values=True))
        kind = pairs.get("FaceInputType", "")
        return {**pairs, "FaceInputType": int(kind) if kind.isascii() and kind.isdigit() else kind}
    try:
        given = json.loads(request.body or b"")
    except ValueError:
        raise Refusal("InvalidRequest", "The body is not JSON.") from None
    if not isinstance(given, dict):
        raise Refusal("InvalidRequest", "The body is not a JSON object.")
    return given


def check_trouble(trouble: Trouble | None) -> None:
    """Raises Refusal where the script wants an error code."""
    if trouble is not None and trouble.fault in ("throttled", "code"):
        raise Refusal(trouble.code or "RequestLimitExceeded", trouble.message)


def refused(call: Call, refusal: Refusal) -> Reply:
    """The reply for an error; none is billed."""
    call.code = refusal.code
    # FailedOperation.RequestLimitExceeded and the .UinLimitExceeded kind are refusals for pace, too.
    call.throttled = "RequestLimitExceeded" in refusal.code
    error = {"Code": refusal.code, "Message": refusal.message}
    return _reply({"Error": error, "RequestId": call.request_id})


def scored(call: Call, kind: str, trouble: Trouble | None) -> Reply:
    """The reply with a verdict, billed. Raises Refusal where the engine finds none possible."""
    finding = verdicts.find(call.label, call.media_sha256)
    if isinstance(finding, verdicts.NoVerdict):
        raise Refusal(finding.tencent_code, "No verdict is possible for this media.")
    call.code, call.verdict, call.billed = "Success", finding.tencent, True
    suffix = "Image" if kind == "image" else "Video"
    types = [name + suffix if name == verdicts.SYNTHESIS else name for name in finding.tencent_types]
    answer: dict[str, Any] = {
        "AttackRiskLevel": finding.tencent.capitalize(),
        "AttackRiskDetailList": [{"Type": name} for name in types],
        "ExtraInfo": {"RetrievalLivenessExtraInfo": None},
        "RequestId": call.request_id,
    }
    if finding.template:
        # Below 0.6 is an attack; smaller is closer to the known template.
        distance = round(0.6 * verdicts.share(call.media_sha256, "template"), 4)
        answer["ExtraInfo"]["RetrievalLivenessExtraInfo"] = [
            {
                "HitGroup": "Common",
                "SimilarityScore": distance,
                "HitTemplate": f"template-{call.media_sha256[:8]}",
            }
        ]
    if trouble is not None and trouble.fault == "null_detail_list":
        answer["AttackRiskDetailList"] = None
    if trouble is not None and trouble.fault == "missing_detail_list":
        del answer["AttackRiskDetailList"]
    return _reply(answer)


def _reply(answer: dict[str, Any]) -> Reply:
    return Reply(200, json.dumps({"Response": answer}, separators=(",", ":")).encode())
