"""What stores say no with: their error replies, and the sentences people get for them."""

import html
import re
from urllib.parse import urlsplit

from domain.errors import Unreadable, UsageError

# Codes that speak of the account, not of one object: every other object will meet them too.
ACCOUNT_CODES = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurityToken",
        "InvalidToken",
        "NoCredentials",
        "RequestTimeTooSkewed",
        "SecurityTokenExpired",
        "SignatureDoesNotMatch",
        "UserDisable",
    }
)
# Codes that every object of the bucket will meet.
WHOLE_BUCKET_CODES = ACCOUNT_CODES | {"NoSuchBucket"}
# Some are what a client makes of a HEAD's bare status.
_NOT_ALLOWED_CODES = frozenset({"AccessDenied", "AllAccessDisabled", "Forbidden", "403"})

_CODE = re.compile(r"<Code>([A-Za-z0-9._-]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,1000})</Message>")


def parse_store_error(status: int, body: bytes) -> Unreadable:
    """The code and message of a store's XML error, which may be of any dialect or none.

    By pattern and not by an XML parser, for a hostile body; and only these two fields, because a
    signature error's others repeat the key id and what was signed.
    """
    text = body.decode("utf-8", "replace")
    code, message = _CODE.search(text), _MESSAGE.search(text)
    said = " ".join(html.unescape(message[1]).split()) if message else ""
    said = "".join(letter for letter in said if letter.isprintable())
    return Unreadable(
        code[1] if code else f"http_{status}", said[:300] or f"the store answered HTTP {status}"
    )


def refused(code: str, wish: str, bucket: str, endpoint: str, permissions: str) -> UsageError:
    """One sentence for what a store answered to a wish about a whole bucket.

    Args:   wish: what was wanted, before the bucket's name: `list`, `store 'a.parquet' in`.
            permissions: what to allow where access is denied.
    """
    where = f"bucket {bucket} at {endpoint}"
    if code == "NoSuchBucket":
        return UsageError(f"{where} does not exist: check the url and the endpoint")
    if code in ACCOUNT_CODES:
        return UsageError(
            f"the credentials to {wish} {where} are not accepted ({code}): check keys and clock"
        )
    if code in _NOT_ALLOWED_CODES:
        return UsageError(f"these credentials may not {wish} {where} ({code}): allow {permissions}")
    return UsageError(
        f"{endpoint} failed to {wish} bucket {bucket} ({code}): check the spec's url, region and "
        "endpoint_url, then try again"
    )


def unreachable(wish: str, bucket: str, endpoint: str, reason: str) -> UsageError:
    """One sentence for a server that gave no reply."""
    return UsageError(
        f"{endpoint} cannot be reached to {wish} bucket {bucket} ({reason}): "
        "check endpoint_url and the network"
    )


def wrong_dialect(store: str, other: str, bucket: str, endpoint: str) -> UsageError:
    """One sentence for a server whose replies are not this store's."""
    return UsageError(
        f"{endpoint} does not answer as {store} does when bucket {bucket} is asked for: "
        f"check endpoint_url, and whether the url must start with {other}"
    )


def shown_endpoint(endpoint_url: str) -> str:
    """An endpoint for people: without user, password, path and query."""
    split = urlsplit(endpoint_url if "://" in endpoint_url else f"//{endpoint_url}")
    return split.netloc.rpartition("@")[2] or "its endpoint"
