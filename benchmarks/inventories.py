"""How long an inventory takes to become a listing, and what memory: S3's own two formats, full columns.

The inventory is drawn beforehand: keys by day with random names, an ETag for each, parts of 2.5 million rows
(S3 writes larger ones). It is read by a process of its own from a local disk; the store is not asked.
"""

import argparse
import hashlib
import json
import resource
import tempfile
import time
from pathlib import Path

import duckdb

from benchmarks.processes import run
from benchmarks.tables import Page
from tasks.buckets.bucket import parse_location
from tasks.buckets.inventory import open_inventory
from tasks.buckets.listing import write_tables
from tasks.buckets.local import LocalBucket
from tasks.buckets.s3 import S3Bucket, new_session

BUCKET = "kyc-archive"
ROWS_PER_PART = 2_500_000
COLUMNS = {
    "bucket": f"'{BUCKET}'",
    "key": "'selfies/' || strftime(DATE '2024-01-01' + (i // 30000)::INTEGER, '%Y/%m/%d') || '/'"
    " || md5(i::VARCHAR) || '.jpg'",
    "size": "50000 + hash(i) % 400000",
    "last_modified_date": "TIMESTAMP '2024-01-01 00:00:00' + to_seconds(3 * i)",
    "e_tag": "md5((i + 7)::VARCHAR)",
    "storage_class": "'STANDARD'",
}
CSV_SCHEMA = "Bucket, Key, Size, LastModifiedDate, ETag, StorageClass"
FORMATS = {
    "CSV": ("csv.gz", "FORMAT csv, HEADER false, FORCE_QUOTE *, COMPRESSION gzip"),
    "Parquet": ("parquet", "FORMAT parquet, COMPRESSION snappy"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inventories")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument(
        "--read", type=Path, help="read this manifest and say what it took, as the child does"
    )
    options = parser.parse_args([]) if __name__ != "__main__" else parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    page = Page("inventories", f"An inventory of {options.rows:,} rows as a listing")
    rows = []
    for file_format in FORMATS:
        with tempfile.TemporaryDirectory() as place:
            manifest = draw(Path(place), file_format, options.rows)
            packed_bytes = sum(path.stat().st_size for path in Path(place).glob("part-*"))
            spent = run("benchmarks.inventories", ["--read", manifest])
            told = json.loads(spent.output)
            rows.append(
                [
                    "CSV, gzip" if file_format == "CSV" else "Parquet, snappy",
                    f"{packed_bytes / 1e6:,.0f}",
                    f"{told['rows']:,}",
                    f"{told['seconds']:.0f}",
                    f"{told['rows'] / told['seconds']:,.0f}",
                    f"{spent.whole_s:.0f}",
                    f"{told['peak_mb']:,.0f}",
                    f"{told['listing_mb']:,.0f}",
                ]
            )
    page.table(
        ("inventory", "MB", "rows", "s", "rows/s", "CPU s", "peak RSS, MB", "MB of the listing"),
        rows,
    )
    page.say(
        "Time from the manifest to the last part of the listing, checksums and unpacking twice included."
    )
    page.keep()


def draw(folder: Path, file_format: str, rows: int) -> Path:
    """An inventory of so many rows; its manifest."""
    suffix, options = FORMATS[file_format]
    time_format = "%Y-%m-%dT%H:%M:%S.000Z"
    columns = ", ".join(
        f"strftime({sql}, '{time_format}') AS {name}"
        if file_format == "CSV" and name == "last_modified_date"
        else f"{sql} AS {name}"
        for name, sql in COLUMNS.items()
    )
    files = []
    for number, start in enumerate(range(0, rows, ROWS_PER_PART)):
        path = folder / f"part-{number}.{suffix}"
        end = min(start + ROWS_PER_PART, rows)
        duckdb.sql(f"COPY (SELECT {columns} FROM range({start}, {end}) drawn(i)) TO '{path}' ({options})")
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        files.append({"key": path.name, "size": path.stat().st_size, "MD5checksum": md5})
    manifest = {
        "sourceBucket": BUCKET,
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": file_format,
        "fileSchema": CSV_SCHEMA if file_format == "CSV" else "message s3.inventory { }",
        "files": files,
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return path


def read(manifest: Path) -> dict[str, float]:
    """Make the listing; seconds, and the most memory this process ever had."""
    place, source = parse_location(str(manifest)), parse_location(f"s3://{BUCKET}/selfies/")
    nobody = S3Bucket(source, new_session(), "http://127.0.0.1:1", "us-east-1")
    began = time.monotonic()
    inventory = open_inventory(place, LocalBucket(place), source, {}, manifest.parent)
    totals = write_tables(inventory.tables(nobody), manifest.parent / "listing")
    return {
        "seconds": time.monotonic() - began,
        "rows": totals.rows,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "listing_mb": sum(path.stat().st_size for path in (manifest.parent / "listing").iterdir()) / 1e6,
    }


if __name__ == "__main__":
    main()
