"""What the emulated OSS stores, and how it writes it as XML: without a namespace, unlike S3."""

import base64
import hashlib
import secrets
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from urllib.parse import quote
from xml.sax.saxutils import escape

from emulators.oss_signature import Refusal

MAX_KEYS = 1000
# 0.1 s of pure Python for each MB; a client must live without the header anyway.
CRC64_MAX_BYTES = 1_000_000
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_CRC64_ECMA_REFLECTED = 0xC96C5795D7870F42
_ALL_ONES = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object's bytes and what OSS knows of them."""

    content: bytes
    md5: bytes
    content_type: str
    modified_s: float  # seconds since 1970
    crc64: int | None  # None for what is too large for a CRC in pure Python


class Bucket:
    """Objects by key, and the keys in the order of a listing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[str, StoredObject] = {}
        self._keys: list[str] = []  # by code point, which is the order of their UTF-8 bytes

    def put(self, key: str, content: bytes, content_type: str, now_s: float) -> None:
        """Store or replace an object."""
        if key not in self.objects:
            insort(self._keys, key)
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        crc64 = crc64_ecma(content) if len(content) <= CRC64_MAX_BYTES else None
        self.objects[key] = StoredObject(content, md5, content_type, now_s, crc64)

    def remove(self, key: str) -> None:
        """Remove an object; none of that key is as well."""
        if self.objects.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def keys_after(self, marker: str, prefix: str) -> list[str]:
        """Keys that start with `prefix` and come after `marker`, in order."""
        start = max(bisect_right(self._keys, marker), bisect_left(self._keys, prefix))
        end = start
        while end < len(self._keys) and self._keys[end].startswith(prefix):
            end += 1
        return self._keys[start:end]


def listing_xml(bucket: Bucket, query: Mapping[str, str], limit: int) -> bytes:
    """The reply to ListObjectsV2 where `list-type=2` is asked, else to ListObjects.

    Source: www.alibabacloud.com/help/en/oss/developer-reference/listobjectsv2.
    """
    is_v2 = query.get("list-type") == "2"
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    as_url = query.get("encoding-type") == "url"
    token = query.get("continuation-token", "")
    marker = query.get("start-after" if is_v2 else "marker", "")
    if is_v2 and token:
        marker = _marker_of(token)
    contents, prefixes, last, more = _page(bucket, prefix, delimiter, marker, limit)

    def name(text: str) -> str:
        return quote(text, safe="/") if as_url else escape(text)

    lines = [f"<Name>{bucket.name}</Name>", f"<Prefix>{name(prefix)}</Prefix>"]
    lines += [f"<MaxKeys>{limit}</MaxKeys>", f"<Delimiter>{name(delimiter)}</Delimiter>"]
    if as_url:
        lines.append("<EncodingType>url</EncodingType>")
    lines.append(f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>")
    if is_v2:
        lines.append(f"<KeyCount>{len(contents) + len(prefixes)}</KeyCount>")
        if more:
            lines.append(f"<NextContinuationToken>{_token_of(last)}</NextContinuationToken>")
    else:
        lines.append(f"<Marker>{name(marker)}</Marker>")
        if more:
            lines.append(f"<NextMarker>{name(last)}</NextMarker>")
    lines += (_contents_xml(name(key), bucket.objects[key]) for key in contents)
    lines += (f"<CommonPrefixes><Prefix>{name(each)}</Prefix></CommonPrefixes>" for each in prefixes)
    return f"{_HEAD}<ListBucketResult>{''.join(lines)}</ListBucketResult>".encode()


def error_xml(refusal: Refusal) -> bytes:
    """The body of an error reply."""
    return (
        f"{_HEAD}<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
        f"<RequestId>{secrets.token_hex(12).upper()}</RequestId></Error>"
    ).encode()


def crc64_ecma(content: bytes) -> int:
    """CRC-64 of ECMA-182, reflected, as `x-oss-hash-crc64ecma` has it."""
    table, crc = _crc64_table(), _ALL_ONES
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _ALL_ONES


@cache
def _crc64_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CRC64_ECMA_REFLECTED if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def _page(
    bucket: Bucket, prefix: str, delimiter: str, marker: str, limit: int
) -> tuple[list[str], list[str], str, bool]:
    """Keys, common prefixes, the last of both, and whether more follow."""
    contents: list[str] = []
    prefixes: list[str] = []
    last = ""
    for key in bucket.keys_after(marker, prefix):
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        common = f"{prefix}{head}{found}" if found else ""
        if common and (common in prefixes or common == marker):
            continue
        if len(contents) + len(prefixes) == limit:
            return contents, prefixes, last, True
        last = common or key
        (prefixes if common else contents).append(last)
    return contents, prefixes, last, False


def _contents_xml(name: str, stored: StoredObject) -> str:
    modified = datetime.fromtimestamp(stored.modified_s, UTC)
    return (
        f"<Contents><Key>{name}</Key>"
        f"<LastModified>{modified:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>"
        f'<ETag>"{stored.md5.hex().upper()}"</ETag><Type>Normal</Type>'
        f"<Size>{len(stored.content)}</Size><StorageClass>Standard</StorageClass></Contents>"
    )


def _token_of(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().replace("=", "~")


def _marker_of(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.replace("~", "=")).decode()
    except ValueError:
        raise Refusal(400, "InvalidArgument", "The continuation token is invalid.") from None
