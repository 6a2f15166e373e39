"""The manifest of an S3 or OSS inventory.

Sources: docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html,
www.alibabacloud.com/help/en/oss/user-guide/bucket-inventory.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.errors import UsageError
from domain.objects import EPOCH

# Some 200 bytes for each part of up to millions of rows: 300,000 parts.
MOST_BYTES = 64 * 1024 * 1024

_MD5 = re.compile(r"[0-9a-fA-F]{32}")
# S3 counts milliseconds since 1970, OSS seconds: as seconds, this many would be the year 5138.
_LEAST_MILLISECONDS = 100_000_000_000


@dataclass(frozen=True, slots=True)
class ManifestPart:
    """One file of rows."""

    key: str  # in the manifest's own bucket
    size_bytes: int | None
    md5: str | None  # hex, small letters


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says."""

    source_bucket: str
    own_bucket: str  # where it was put, with its parts
    is_parquet: bool  # otherwise CSV
    columns: tuple[str, ...]  # of CSV parts, which have no header
    parts: tuple[ManifestPart, ...]
    made_at: datetime | None


def parse_manifest(content: bytes, name: str) -> Manifest:
    """What the manifest says.

    Raises: UsageError: it is none, its parts are ORC, or it has no schema; says so by `name`.
    """
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is no inventory manifest: it is not JSON") from None
    if not isinstance(told, dict):
        raise UsageError(f"{name} is no inventory manifest: it is not a JSON object")
    file_format = _text(told, "fileFormat", name).upper()
    if file_format == "ORC":
        raise UsageError(
            f"{name} is of an inventory in ORC, which facesweep does not read: set the inventory's format to "
            "Parquet or CSV and use the next one"
        )
    if file_format not in ("CSV", "PARQUET"):
        raise UsageError(
            f"{name} is of an inventory in {file_format[:50]!r}: facesweep reads Parquet and CSV"
        )
    columns: tuple[str, ...] = ()
    if file_format == "CSV":
        columns = tuple(column.strip() for column in _text(told, "fileSchema", name).split(","))
        if "" in columns or len({column.lower() for column in columns}) < len(columns):
            raise UsageError(f"{name} is no inventory manifest: its fileSchema names no or equal columns")
        if "recordtype" in {column.lower() for column in columns}:
            raise UsageError(
                f"{name} is of an incremental inventory, which has changes and not what is there: "
                "give a full one"
            )
    files = told.get("files")
    if not isinstance(files, list):
        raise UsageError(f"{name} is no inventory manifest: it has no list of files")
    return Manifest(
        source_bucket=_bucket(_text(told, "sourceBucket", name)),
        own_bucket=_bucket(_text(told, "destinationBucket", name)),
        is_parquet=file_format == "PARQUET",
        columns=columns,
        parts=tuple(_part(each, name) for each in files),
        made_at=_moment(told.get("creationTimestamp")),
    )


def _text(told: dict[str, Any], key: str, name: str) -> str:
    value = told.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} is no inventory manifest: it has no {key}")
    return value


def _bucket(text: str) -> str:
    """A bucket's name out of `arn:aws:s3:::name`, `acs:oss:::name` or `name`."""
    return text.rpartition(":")[2]


def _part(told: Any, name: str) -> ManifestPart:
    told = told if isinstance(told, dict) else {}
    key, size, md5 = told.get("key"), told.get("size"), told.get("MD5checksum")
    if not isinstance(key, str) or not key:
        raise UsageError(f"{name} is no inventory manifest: one of its files has no key")
    if isinstance(size, bool) or not (size is None or (isinstance(size, int) and size >= 0)):
        raise UsageError(f"{name} is no inventory manifest: the size of {key!r} is no number of bytes")
    if not (md5 is None or (isinstance(md5, str) and _MD5.fullmatch(md5))):
        raise UsageError(f"{name} is no inventory manifest: the MD5checksum of {key!r} is none")
    return ManifestPart(key, size, md5.lower() if md5 else None)


def _moment(told: Any) -> datetime | None:
    """When the bucket was looked at; None where the manifest does not say it in a way we know."""
    text = str(told)
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        return None
    count = int(text)
    seconds = count / 1000 if count >= _LEAST_MILLISECONDS else count
    return (EPOCH + timedelta(seconds=seconds)).astimezone(UTC)
