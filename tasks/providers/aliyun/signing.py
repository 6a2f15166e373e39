"""ACS3-HMAC-SHA256: Alibaba's V3 signature, as pure functions.

Proven against golden vectors of the official SDK and against its signer on random input.
"""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote

from tasks.providers.credentials import Keys

ALGORITHM = "ACS3-HMAC-SHA256"


def canonical_query(parameters: Mapping[str, str]) -> str:
    """The query to sign, and to send as it is: sorted, everything but A-Za-z0-9-_.~ escaped."""
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(parameters.items())
    )


def authorization(
    keys: Keys, headers: Mapping[str, str], query: str, payload_sha256: str, method: str = "POST"
) -> str:
    """The Authorization header for a request to `/` that signs every one of `headers`.

    Those must be `host`, `content-type` and every `x-acs-*` header sent, under lower-case names.
    `query` comes from `canonical_query`; `payload_sha256` is the hex digest of the exact bytes sent.
    """
    names = sorted(headers)
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    signed = ";".join(names)
    canonical = f"{method}\n/\n{query}\n{lines}\n{signed}\n{payload_sha256}"
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(keys.secret.encode(), to_sign.encode(), "sha256").hex()
    return f"{ALGORITHM} Credential={keys.id},SignedHeaders={signed},Signature={signature}"
