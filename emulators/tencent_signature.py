"""TC3-HMAC-SHA256, as Tencent's "签名方法 v3" describes it: pure functions of one request."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256 Credential=([^/,\s]+)/([^,\s]+), ?SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{64})"
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an Authorization header, as the client wrote them."""

    key_id: str
    date: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(header: str) -> Authorization | None:
    """The parts of the header; None if it, or its credential scope, has the wrong shape."""
    match = _AUTHORIZATION.fullmatch(header)
    if match is None:
        return None
    key_id, scope, signed, signature = match.groups()
    parts = scope.split("/")
    if len(parts) != 3 or parts[2] != "tc3_request" or not _DATE.fullmatch(parts[0]):
        return None
    return Authorization(key_id, parts[0], parts[1], tuple(signed.split(";")), signature)


def canonical_request(
    method: str,
    raw_query: str,
    headers: Mapping[str, str],
    signed_headers: tuple[str, ...],
    payload_hash: str,
) -> str:
    """The text whose hash is signed. Values are lower-cased and trimmed, as the document says.

    Raises KeyError if a signed header was not sent.
    """
    block = "".join(f"{name}:{headers[name].strip().lower()}\n" for name in signed_headers)
    return "\n".join((method, "/", raw_query, block, ";".join(signed_headers), payload_hash))


def sign(secret: str, timestamp: str, date: str, service: str, canonical: str) -> str:
    """The signature of a canonical request, in hex."""
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"TC3-HMAC-SHA256\n{timestamp}\n{date}/{service}/tc3_request\n{hashed}"
    key = f"TC3{secret}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
