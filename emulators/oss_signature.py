"""OSS's signatures, versions 1 and 4, in a header or in a url: what the server side checks.

Written from OSS's public documentation, sharing no code with any client. Below
www.alibabacloud.com/help/en/oss/developer-reference/ these are
version 1   include-signatures-in-the-authorization-header, add-signatures-to-urls
version 4   recommend-to-use-signature-version-4, add-signatures-to-urls (V4)
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

SKEW_S = 15 * 60
MAX_EXPIRES_S = 7 * 24 * 3600  # of a url signed by version 4
ALGORITHM_V4 = "OSS4-HMAC-SHA256"

# Query parameters that version 1 signs; all others may change on the way.
_SUBRESOURCES = """
    acl append bucketInfo cname comp continuation-token cors delete encryption endTime img
    lifecycle link live location logging objectMeta partNumber policy position qos referer
    replication replicationLocation replicationProgress requestPayment
    response-cache-control response-content-disposition response-content-encoding
    response-content-language response-content-type response-expires restore
    security-token startTime stat status style styleName symlink tagging uploadId uploads
    versionId versioning versions vod website worm wormExtend wormId x-oss-ac-forward-allow
    x-oss-ac-source-ip x-oss-ac-subnet-mask x-oss-ac-vpc-id x-oss-process
    x-oss-request-payer x-oss-traffic-limit
"""
SUBRESOURCES = frozenset(_SUBRESOURCES.split())


@dataclass(frozen=True, slots=True)
class Account:
    """A key the server knows; with a token it is a temporary one that ends at `expires_at`."""

    key_id: str
    secret: str
    token: str | None = None
    expires_at: float | None = None  # seconds since 1970


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What of a request a signature covers; names of headers in small letters."""

    method: str
    bucket: str
    key: str
    query: tuple[tuple[str, str], ...]  # decoded, as they came
    headers: Mapping[str, str]


class Refusal(Exception):
    """The server says no: HTTP status, OSS's code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


def verify(request: SignedRequest, accounts: Mapping[str, Account], region: str, now_s: float) -> None:
    """Return where the request is signed by a known key, in time. Raises: Refusal."""
    query = dict(request.query)
    authorization = request.headers.get("authorization", "")
    if authorization.startswith(ALGORITHM_V4):
        _verify_v4_header(request, authorization, accounts, region, now_s)
    elif authorization.startswith("OSS "):
        _verify_v1_header(request, authorization, accounts, now_s)
    elif authorization:
        raise Refusal(400, "InvalidArgument", "The authorization header is of no known form.")
    elif query.get("x-oss-signature-version") == ALGORITHM_V4:
        _verify_v4_url(request, query, accounts, region, now_s)
    elif "Signature" in query:
        _verify_v1_url(request, query, accounts, now_s)
    else:
        raise Refusal(403, "AccessDenied", "Anonymous access is forbidden for this operation.")


def _verify_v1_header(
    request: SignedRequest, authorization: str, accounts: Mapping[str, Account], now_s: float
) -> None:
    key_id, _, signature = authorization.removeprefix("OSS ").partition(":")
    headers = request.headers
    account = _account(accounts, key_id, headers.get("x-oss-security-token"), now_s)
    date = headers.get("x-oss-date") or headers.get("date", "")
    try:
        signed_at_s = parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise Refusal(403, "AccessDenied", "OSS authentication requires a valid Date.") from None
    _check_skew(signed_at_s, now_s)
    _compare(signature, _sign_v1(request, account.secret, date))


def _verify_v1_url(
    request: SignedRequest, query: dict[str, str], accounts: Mapping[str, Account], now_s: float
) -> None:
    account = _account(accounts, query.get("OSSAccessKeyId", ""), query.get("security-token"), now_s)
    expires = query.get("Expires", "")
    if not expires.isdigit():
        raise Refusal(403, "AccessDenied", "Invalid date (should be seconds since epoch).")
    if int(expires) < now_s:
        raise Refusal(403, "AccessDenied", "Request has expired.")
    _compare(query["Signature"], _sign_v1(request, account.secret, expires))


def _sign_v1(request: SignedRequest, secret: str, date: str) -> str:
    """Base64 of HMAC-SHA1 over method, MD5, type, date, x-oss- headers and the resource."""
    headers = request.headers
    lines = [
        request.method,
        headers.get("content-md5", ""),
        headers.get("content-type", ""),
        date,
        *(f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-oss-")),
    ]
    signed = sorted((name, value) for name, value in request.query if name in SUBRESOURCES)
    asked = "&".join(f"{name}={value}" if value else name for name, value in signed)
    resource = f"/{request.bucket}/{request.key}" if request.bucket else "/"
    lines.append(f"{resource}?{asked}" if asked else resource)
    text = "\n".join(lines).encode()
    return base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha1).digest()).decode()


def _verify_v4_header(
    request: SignedRequest,
    authorization: str,
    accounts: Mapping[str, Account],
    region: str,
    now_s: float,
) -> None:
    headers = request.headers
    fields = {}
    for field in authorization.removeprefix(ALGORITHM_V4).split(","):
        name, _, value = field.strip().partition("=")
        fields[name] = value
    stamp = headers.get("x-oss-date", "")
    signed_at_s = _seconds(stamp)
    _check_skew(signed_at_s, now_s)
    key_id, scope = _scope(fields.get("Credential", ""), stamp, region)
    account = _account(accounts, key_id, headers.get("x-oss-security-token"), now_s)
    if headers.get("x-oss-content-sha256") != "UNSIGNED-PAYLOAD":
        raise Refusal(400, "InvalidArgument", "x-oss-content-sha256 must be UNSIGNED-PAYLOAD.")
    if fields.get("AdditionalHeaders") == "":
        raise Refusal(400, "InvalidArgument", "AdditionalHeaders must not be empty.")
    more = fields.get("AdditionalHeaders", "")
    expected = _sign_v4(request, request.query, more, account.secret, scope, stamp)
    _compare(fields.get("Signature", ""), expected)


def _verify_v4_url(
    request: SignedRequest,
    query: dict[str, str],
    accounts: Mapping[str, Account],
    region: str,
    now_s: float,
) -> None:
    stamp, expires = query.get("x-oss-date", ""), query.get("x-oss-expires", "")
    signed_at_s = _seconds(stamp)
    if not expires.isdigit() or not 1 <= int(expires) <= MAX_EXPIRES_S:
        raise Refusal(400, "InvalidArgument", "x-oss-expires must be from 1 to 604800 seconds.")
    if signed_at_s - now_s > SKEW_S:
        raise Refusal(403, "AccessDenied", "Request is not valid yet.")
    if signed_at_s + int(expires) < now_s:
        raise Refusal(403, "AccessDenied", "Request has expired.")
    key_id, scope = _scope(query.get("x-oss-credential", ""), stamp, region)
    account = _account(accounts, key_id, query.get("x-oss-security-token"), now_s)
    signed = tuple((name, value) for name, value in request.query if name != "x-oss-signature")
    more = query.get("x-oss-additional-headers", "")
    expected = _sign_v4(request, signed, more, account.secret, scope, stamp)
    _compare(query.get("x-oss-signature", ""), expected)


def _sign_v4(
    request: SignedRequest,
    query: tuple[tuple[str, str], ...],
    additional: str,
    secret: str,
    scope: str,
    stamp: str,
) -> str:
    """Hex of HMAC-SHA256 over the canonical request, under a key of date, region and product."""
    headers = request.headers
    more = set(additional.split(";")) if additional else set()
    signed = [
        name
        for name in sorted(headers)
        if name.startswith("x-oss-") or name in ("content-type", "content-md5") or name in more
    ]
    resource = f"/{request.bucket}/{request.key}" if request.bucket else "/"
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in query)
    canonical = "\n".join(
        (
            request.method,
            quote(resource, safe="/~"),
            "&".join(f"{name}={value}" if value else name for name, value in pairs),
            "".join(f"{name}:{headers[name].strip()}\n" for name in signed),
            additional,
            "UNSIGNED-PAYLOAD",
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"aliyun_v4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"{ALGORITHM_V4}\n{stamp}\n{scope}\n{digest}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _encoded(text: str) -> str:
    return quote(text, safe="~")


def _seconds(stamp: str) -> float:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refusal(403, "AccessDenied", "x-oss-date must be like 20261120T180712Z.") from None


def _scope(credential: str, stamp: str, region: str) -> tuple[str, str]:
    """The key id and the scope of `<id>/<date>/<region>/oss/aliyun_v4_request`."""
    key_id, _, scope = credential.partition("/")
    parts = scope.split("/")
    if len(parts) != 4 or parts[2:] != ["oss", "aliyun_v4_request"]:
        raise Refusal(400, "InvalidArgument", "The credential is of no known form.")
    if parts[0] != stamp[:8]:
        raise Refusal(403, "AccessDenied", "The date of the credential is not the request's.")
    if parts[1] != region:
        raise Refusal(403, "AccessDenied", f"Invalid signing region, it must be {region}.")
    return key_id, scope


def _account(accounts: Mapping[str, Account], key_id: str, token: str | None, now_s: float) -> Account:
    account = accounts.get(key_id)
    if account is None or (account.token and not token):
        raise Refusal(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist.")
    if token != account.token:
        raise Refusal(403, "InvalidSecurityToken", "The security token you provided is invalid.")
    if account.expires_at is not None and account.expires_at <= now_s:
        raise Refusal(403, "SecurityTokenExpired", "The security token you provided has expired.")
    return account


def _check_skew(signed_at_s: float, now_s: float) -> None:
    if abs(signed_at_s - now_s) > SKEW_S:
        raise Refusal(
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        )


def _compare(given: str, expected: str) -> None:
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Refusal(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
        )
