"""ACS3-HMAC-SHA256, as Aliyun's "V3版本请求体&签名机制" describes it: pure functions of one request."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus

ALGORITHM = "ACS3-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    r"ACS3-HMAC-SHA256 Credential=([^,\s]+),SignedHeaders=([^,\s]+),Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an Authorization header, as the client wrote them."""

    key_id: str
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(header: str) -> Authorization | None:
    """The parts of the header; None if it has the wrong shape."""
    match = _AUTHORIZATION.fullmatch(header)
    if match is None:
        return None
    key_id, signed, signature = match.groups()
    return Authorization(key_id, tuple(signed.split(";")), signature)


def decode_query(raw_query: str) -> list[tuple[str, str]]:
    """The pairs of a query as sent. `+` is a space; a value may hold bare `?`, `/` and `=`."""
    pairs = (part.partition("=") for part in raw_query.split("&") if part)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]


def canonical_query(pairs: Sequence[tuple[str, str]]) -> str:
    """The decoded pairs sorted and escaped anew by RFC 3986, whatever the client escaped."""
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(pairs)
    )


def must_be_signed(headers: Mapping[str, str]) -> set[str]:
    """host, content-type if sent, and every x-acs-* header that was sent."""
    sent = {name.lower() for name in headers}
    return {name for name in sent if name.startswith("x-acs-")} | {"host"} | (sent & {"content-type"})


def canonical_request(
    method: str,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    signed_headers: tuple[str, ...],
    content_sha256: str,
) -> str:
    """The text whose hash is signed. Raises KeyError if a signed header was not sent."""
    block = "".join(f"{name}:{headers[name].strip()}\n" for name in signed_headers)
    signed = ";".join(signed_headers)
    return "\n".join((method, "/", canonical_query(query), block, signed, content_sha256))


def sign(secret: str, canonical: str) -> str:
    """The signature of a canonical request, in hex."""
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    return hmac.digest(secret.encode(), f"{ALGORITHM}\n{hashed}".encode(), "sha256").hex()
