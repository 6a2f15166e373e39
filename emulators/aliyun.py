"""Aliyun cloudauth `DeepfakeDetect`, version 2019-03-07.

Two layers, as documented: the gateway refuses with HTTP 4xx/5xx and a named Code; the service behind
it answers HTTP 200 with Code "200" or a number that says why there is no verdict. Names of gateway
codes for missing or wrong headers follow the documented pattern `Missing<Param>`, `Invalid<Param>`.
"""

import binascii
import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus, unquote_to_bytes

import pybase64

from emulators import aliyun_signature, verdicts
from emulators.accounts import Account
from emulators.aliyun_replies import BusinessRefusal, GatewayRefusal, Nonces, refused, scored
from emulators.calls import Call
from emulators.face_url import Fetcher, NotFetched
from emulators.listening import Reply
from emulators.media_limits import MB, aliyun_image, aliyun_video
from emulators.service import Outcome, Request, Service, broken_way, spoil
from emulators.trouble import Trouble

ACTION, VERSION = "DeepfakeDetect", "2019-03-07"
FORM = "application/x-www-form-urlencoded"
SKEW_S = 900
REQUIRED_HEADERS = {
    "x-acs-action": "MissingAction",
    "x-acs-version": "MissingVersion",
    "x-acs-date": "MissingTimestamp",
    "x-acs-signature-nonce": "MissingSignatureNonce",
    "x-acs-content-sha256": "MissingContentSha256",
    "authorization": "MissingAuthorization",
}


class Aliyun(Service):
    """The emulated service."""

    name = "aliyun"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.nonces = Nonces()
        self.fetcher = Fetcher()

    def reset(self) -> None:
        super().reset()
        self.nonces = Nonces()

    async def stop(self) -> None:
        await super().stop()
        await self.fetcher.close()

    async def answer(self, request: Request, call: Call) -> Outcome:
        call.request_id = str(uuid.uuid4()).upper()
        host = request.headers.get("Host", "")
        try:
            kind, media = await self.admit(request, call)
        except (GatewayRefusal, BusinessRefusal) as refusal:
            return Outcome(refused(call, refusal, host), examined=False)
        trouble = self.script.meet(call)
        if (broken := broken_way(trouble)) is not None:
            return Outcome(broken, examined=False, trouble=trouble)
        try:
            check_trouble(trouble)
            reply = await self.examine(kind, media, call, trouble)
        except GatewayRefusal as refusal:
            return Outcome(refused(call, refusal, host), examined=False, trouble=trouble)
        except BusinessRefusal as refusal:
            return Outcome(refused(call, refusal, host), examined=True, trouble=trouble)
        return Outcome(spoil(reply, trouble), examined=True, trouble=trouble)

    async def admit(self, request: Request, call: Call) -> tuple[str, bytes]:
        """All that comes before the engine: the kind of media and its bytes.

        Raises GatewayRefusal or BusinessRefusal.
        """
        check_request(request)
        call.action = ACTION
        query = aliyun_signature.decode_query(request.raw_query)
        account = self.authenticate(request, query)
        call.key_id = account.key_id
        if not self.quota.admit(account.owner, call.arrived_at):
            raise GatewayRefusal("Throttling.User", "Request was denied due to user flow control.")
        named = dict(query)
        call.order_no = named.get("OuterOrderNo", "")
        kind, media = await self.read_parameters(request, named, call)
        call.media_sha256 = hashlib.sha256(media).hexdigest()
        call.media_bytes = len(media)
        call.label = verdicts.label_of(media)
        return kind, media

    async def fetched(self, url: str) -> bytes:
        """The media behind a FaceUrl. Raises NotFetched."""
        if not self.settings.fetches:
            raise NotFetched("the store answered 403")
        return await self.fetcher.fetch(url)

    async def examine(self, kind: str, media: bytes, call: Call, trouble: Trouble | None) -> Reply:
        """The engine's reply. Raises BusinessRefusal where it has no verdict."""
        check = aliyun_image if kind == "image" else aliyun_video
        objection = await self.judge(kind, media, call.media_sha256, check)
        if objection is not None:
            raise BusinessRefusal(objection.code, objection.message)
        return scored(call, trouble)

    def authenticate(self, request: Request, query: list[tuple[str, str]]) -> Account:
        """The account whose key signed the request. Raises GatewayRefusal."""
        headers = request.headers
        header = headers["Authorization"]
        if not header.startswith(f"{aliyun_signature.ALGORITHM} "):
            raise GatewayRefusal("InvalidSignatureMethod", "Only ACS3-HMAC-SHA256 is emulated.")
        written = aliyun_signature.parse_authorization(header)
        if written is None:
            raise GatewayRefusal("IncompleteSignature", "Authorization has the wrong shape.")
        account = self.accounts.find(written.key_id)
        if account is None:
            raise GatewayRefusal("InvalidAccessKeyId.NotFound", "AccessKeyId is not found.", 404)
        if not account.active:
            raise GatewayRefusal("InvalidAccessKeyId.Inactive", "AccessKeyId is disabled.")
        check_date(headers["x-acs-date"], request.now)
        signed = written.signed_headers
        if list(signed) != sorted({name.lower() for name in signed}):
            raise GatewayRefusal("IncompleteSignature", "SignedHeaders: lower-case and sorted.")
        if missing := sorted(aliyun_signature.must_be_signed(headers) - set(signed)):
            raise GatewayRefusal("IncompleteSignature", f"{missing[0]} was sent but not signed.")
        if any(name not in headers for name in signed):
            raise GatewayRefusal("SignatureDoesNotMatch", "A signed header was not sent.")
        body_sha256 = hashlib.sha256(request.body or b"").hexdigest()
        if headers["x-acs-content-sha256"] != body_sha256:
            raise GatewayRefusal("SignatureDoesNotMatch", "x-acs-content-sha256 is not the body's.")
        canonical = aliyun_signature.canonical_request(request.method, query, headers, signed, body_sha256)
        if aliyun_signature.sign(account.secret, canonical) != written.signature:
            raise GatewayRefusal("SignatureDoesNotMatch", "The signature does not match.")
        self.check_token(request, account)
        if not self.nonces.take(headers["x-acs-signature-nonce"], request.now):
            raise GatewayRefusal("SignatureNonceUsed", "The nonce was used within 15 minutes.")
        return account

    def check_token(self, request: Request, account: Account) -> None:
        """Temporary keys need their own token, in time; other keys take none."""
        token = request.headers.get("x-acs-security-token", "")
        if account.token is not None and not token:
            raise GatewayRefusal("MissingSecurityToken", "x-acs-security-token is mandatory.")
        if token != (account.token or ""):
            raise GatewayRefusal(
                "InvalidSecurityToken.MismatchWithAccessKey", "The token is another key's.", 403
            )
        if account.expires_at <= request.now:
            raise GatewayRefusal("InvalidSecurityToken.Expired", "The token has expired.", 403)
        if request.headers.get("x-acs-accesskey-id", account.key_id) != account.key_id:
            raise GatewayRefusal("IncompleteSignature", "x-acs-accesskey-id is another key's.")

    async def read_parameters(self, request: Request, query: dict[str, str], call: Call) -> tuple[str, bytes]:
        """The kind of media and its bytes. Raises BusinessRefusal.

        Parameters are read where they are documented to stand: FaceBase64 in the form, others in the
        query. 401 (illegal parameter) for a url that cannot be fetched is inferred.
        """
        form = decode_form(request.body or b"")
        kind = query.get("FaceInputType", "IMAGE")
        if kind not in ("IMAGE", "VIDEO"):
            raise BusinessRefusal("401", "FaceInputType is IMAGE or VIDEO")
        order_no = query.get("OuterOrderNo")
        if order_no is not None and not re.fullmatch(r"[A-Za-z0-9]{32}", order_no):
            raise BusinessRefusal("401", "OuterOrderNo is 32 letters and digits")
        url, text = query.get("FaceUrl", ""), form.get("FaceBase64", b"")
        if url and text:
            raise BusinessRefusal("419", "FaceUrl and FaceBase64 exclude each other")
        if not url and not text:
            raise BusinessRefusal("400", "FaceUrl or FaceBase64 is needed")
        if url:
            call.delivery = "url"
            try:
                return kind.lower(), await self.fetched(url)
            except NotFetched as error:
                raise BusinessRefusal("401", f"FaceUrl cannot be fetched: {error}") from None
        call.delivery = "base64"
        # Whether 10 MB is meant before or after base64 is not documented; this is the stricter reading.
        if len(text) > 10 * MB:
            raise BusinessRefusal("421", "FaceBase64 exceeds 10 MB")
        try:
            return kind.lower(), pybase64.b64decode(text, validate=True)
        except ValueError:
            raise BusinessRefusal("401", "FaceBase64 is not standard base64") from None


def check_request(request: Request) -> None:
    """Method, path, required headers, action, version, content type. Raises GatewayRefusal."""
    headers = request.headers
    if request.method not in ("POST", "GET"):
        raise GatewayRefusal("UnsupportedHTTPMethod", "Only GET and POST are supported.")
    if request.path != "/":
        raise GatewayRefusal("InvalidApi.NotFound", "The API is not found.", 404)
    for name, code in REQUIRED_HEADERS.items():
        if not headers.get(name):
            raise GatewayRefusal(code, f"{name} is mandatory for this action.")
    if headers["x-acs-action"] != ACTION or headers["x-acs-version"] != VERSION:
        raise GatewayRefusal("InvalidApi.NotFound", "The API is not found.", 404)
    if request.body is None:
        raise BusinessRefusal("421", "the request is too large")
    if request.body:
        media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != FORM:
            raise GatewayRefusal("InvalidContentType", f"The content type must be {FORM}.")


def check_date(text: str, now: float) -> None:
    """x-acs-date is UTC as 2025-01-02T03:04:05Z, within 15 minutes. Raises GatewayRefusal."""
    try:
        date = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise GatewayRefusal("InvalidTimeStamp.Format", "x-acs-date is not UTC ISO 8601.") from None
    if abs(now - date.timestamp()) > SKEW_S:
        raise GatewayRefusal("InvalidTimeStamp.Expired", "x-acs-date is off by over 15 minutes.")


def decode_form(body: bytes) -> dict[str, bytes]:
    """The fields of a form body; a bare `+` is a space, as everywhere in forms."""
    fields: dict[str, bytes] = {}
    for part in body.split(b"&"):
        name, _, value = part.partition(b"=")
        if not any(character in value for character in (b"=", b"\n", b"\r", b" ")):
            # Quoted-printable is the same code with another escape, and its decoder is three times
            # faster than urllib's. It treats = and white space of its own, so those go the slow way.
            value = value.replace(b"+", b" ").replace(b"%", b"=")
            fields[unquote_plus(name.decode("latin-1"))] = binascii.a2b_qp(value)
            continue
        fields[unquote_plus(name.decode("latin-1"))] = unquote_to_bytes(value.replace(b"+", b" "))
    return fields


def check_trouble(trouble: Trouble | None) -> None:
    """Raises what the script wants: a gateway code, or a body code where it is all digits."""
    if trouble is None or trouble.fault not in ("throttled", "code"):
        return
    if trouble.fault == "throttled":
        raise GatewayRefusal(
            trouble.code or "Throttling.User",
            trouble.message,
            trouble.http_status or 400,
            trouble.retry_after_ms,
        )
    if trouble.code.isdigit() and trouble.http_status in (0, 200):
        raise BusinessRefusal(trouble.code, trouble.message)
    raise GatewayRefusal(trouble.code, trouble.message, trouble.http_status or 400)
