"""TC3-HMAC-SHA256: Tencent's signature, as pure functions.

Proven against golden vectors of the official SDK and against its signer on random input.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from functools import lru_cache

from tasks.providers.credentials import Keys

ALGORITHM = "TC3-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


def authorization(
    keys: Keys,
    timestamp: int,
    host: str,
    content_type: str,
    payload_sha256: str,
    method: str = "POST",
    query: str = "",
    service: str = "faceid",
) -> str:
    """The Authorization header for a request to `/` that signs content-type and host.

    `payload_sha256` is the hex digest of the exact bytes sent, or of `UNSIGNED_PAYLOAD`. `host` and
    `content_type` in lower case: Tencent's text lower-cases what it signs and its SDK does not, and
    so both agree. The date is that of `timestamp` (Unix seconds), never the local one.
    """
    date = f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d}"
    scope = f"{date}/{service}/tc3_request"
    canonical = (
        f"{method}\n/\n{query}\ncontent-type:{content_type}\nhost:{host}\n\n"
        f"content-type;host\n{payload_sha256}"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"
    key = _derived_key(keys.secret, date, service)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"{ALGORITHM} Credential={keys.id}/{scope}, SignedHeaders=content-type;host, Signature={signature}"


@lru_cache(maxsize=8)
def _derived_key(secret: str, date: str, service: str) -> bytes:
    """The day's signing key: three HMACs that are the same for every request of a day."""
    key = f"TC3{secret}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
