"""Inventories as stores write them, and lists as people do, from rows of plain data."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.errors import UsageError
from tasks.buckets.bucket import Bucket, parse_location
from tasks.buckets.inventory import InventoryTotals, open_inventory
from tasks.buckets.listing import SCHEMA, write_tables
from tasks.buckets.local import LocalBucket
from tasks.buckets.oss import OssBucket
from tasks.buckets.s3 import S3Bucket
from tests.contract.store_servers import oss_credentials, s3_session

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
ETAG = "d41d8cd98f00b204e9800998ecf8427e"


@dataclass(frozen=True)
class Row:
    """One row of a store's inventory."""

    key: str
    bucket: str = "kyc"
    version_id: str = ""
    is_latest: bool = True
    is_delete_marker: bool = False
    size: str = "3"
    last_modified: datetime | None = NOON
    etag: str = ETAG
    storage_class: str = "STANDARD"


S3_COLUMNS = {
    "Bucket": lambda row: row.bucket,
    "Key": lambda row: quote_plus(row.key, safe="/"),  # a space becomes a plus sign
    "VersionId": lambda row: row.version_id,
    "IsLatest": lambda row: str(row.is_latest).lower(),
    "IsDeleteMarker": lambda row: str(row.is_delete_marker).lower(),
    "Size": lambda row: row.size,
    "LastModifiedDate": lambda row: (
        f"{row.last_modified:%Y-%m-%dT%H:%M:%S.000Z}" if row.last_modified else ""
    ),
    "ETag": lambda row: row.etag,
    "StorageClass": lambda row: row.storage_class,
}
OSS_COLUMNS = {
    name: S3_COLUMNS[name]
    for name in ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "StorageClass")
} | {
    "LastModifiedDate": S3_COLUMNS["LastModifiedDate"],
    "ETag": lambda row: row.etag.upper(),
    "ObjectType": lambda row: "Normal",
    "Crc64": lambda row: "0",
    "Key": lambda row: quote(row.key, safe=""),  # a space becomes %20
}
PARQUET_SCHEMA = pa.schema(
    [
        ("bucket", pa.string()),
        ("key", pa.string()),
        ("version_id", pa.string()),
        ("is_latest", pa.bool_()),
        ("is_delete_marker", pa.bool_()),
        ("size", pa.int64()),
        ("last_modified_date", pa.timestamp("ms")),
        ("e_tag", pa.string()),
        ("storage_class", pa.string()),
    ]
)


def csv_part(rows: Sequence[Row], columns: Mapping[str, Any] = S3_COLUMNS) -> bytes:
    """A part as S3 and OSS write it: every cell quoted, no header, gzip."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([column(row) for column in columns.values()] for row in rows)
    return gzip.compress(text.getvalue().encode())


def parquet_part(rows: Sequence[Row]) -> bytes:
    """A part as S3 writes it: keys verbatim."""
    table = pa.table(
        [
            [row.bucket for row in rows],
            [row.key for row in rows],
            [row.version_id or None for row in rows],
            [row.is_latest for row in rows],
            [row.is_delete_marker for row in rows],
            [int(row.size) if row.size else None for row in rows],
            [row.last_modified and row.last_modified.replace(tzinfo=None) for row in rows],
            [row.etag or None for row in rows],
            [row.storage_class for row in rows],
        ],
        schema=PARQUET_SCHEMA,
    )
    file = io.BytesIO()
    pq.write_table(table, file, compression="snappy")
    return file.getvalue()


def manifest_of(parts: Mapping[str, bytes], **changes: Any) -> dict[str, Any]:
    """The manifest of these parts, which lie under their keys in bucket `inv`."""
    is_parquet = any(key.endswith(".parquet") for key in parts)
    return {
        "sourceBucket": "kyc",
        "destinationBucket": "arn:aws:s3:::inv",
        "version": "2016-11-30",
        "creationTimestamp": "1763640000000",
        "fileFormat": "Parquet" if is_parquet else "CSV",
        "fileSchema": "message s3.inventory { }" if is_parquet else ", ".join(S3_COLUMNS),
        "files": [
            {"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()}
            for key, content in parts.items()
        ],
    } | changes


def write_manifest(folder: Path, parts: Mapping[str, bytes], **changes: Any) -> Path:
    """A local copy of an inventory: the manifest in a folder of its date, the parts in `data` beside it."""
    place = folder / "2026-11-20T01-00Z"
    for each in (place, folder / "data"):
        each.mkdir(parents=True, exist_ok=True)
    for key, content in parts.items():
        (folder / "data" / Path(key).name).write_bytes(content)
    (place / "manifest.json").write_text(json.dumps(manifest_of(parts, **changes)))
    return place / "manifest.json"


@dataclass
class Read:
    """What became of an inventory."""

    rows: list[dict[str, Any]]  # of the listing, by key
    totals: InventoryTotals = field(default_factory=InventoryTotals)

    @property
    def keys(self) -> list[str]:
        return [row["key"] for row in self.rows]


def read(
    place: Path | str,
    source: str = "s3://kyc/selfies/",
    bucket: Bucket | None = None,
    own_bucket: Bucket | None = None,
    work_dir: Path | None = None,
    **columns: str,
) -> Read:
    """The listing an inventory becomes. Unless `bucket` is given the source is local, or cannot be asked."""
    where, source_place = parse_location(str(place)), parse_location(source)
    if bucket is None:
        is_local = source_place.store == "local"
        bucket = LocalBucket(source_place) if is_local else unreachable(source)
    folder = work_dir or Path(place).parent
    inventory = open_inventory(where, own_bucket or LocalBucket(where), source_place, columns, folder)
    listing = folder / "listing"
    written = write_tables(inventory.tables(bucket), listing)
    rows = [
        row for part in sorted(listing.iterdir()) for row in pq.read_table(part, schema=SCHEMA).to_pylist()
    ]
    assert written.rows == len(rows) == inventory.totals.listed
    return Read(sorted(rows, key=lambda row: str(row["key"])), inventory.totals)


def unreachable(source: str) -> Bucket:
    """A bucket that cannot be asked: whoever asks it anything gets an error."""
    location, nobody = parse_location(source), "http://127.0.0.1:1"
    if location.store == "oss":
        return OssBucket(location, oss_credentials(), nobody, retry_delays_s=())
    return S3Bucket(location, s3_session(), nobody, "us-east-1")


def refusal(place: Path | str, source: str = "s3://kyc/selfies/", **more: Any) -> str:
    """The sentence an inventory is refused with; nothing of a listing is left."""
    folder = Path(more.get("work_dir") or Path(place).parent)
    with pytest.raises(UsageError) as refused:
        read(place, source, **more)
    assert not (folder / "listing").exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)
