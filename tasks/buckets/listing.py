"""A listing as Parquet: parts of a bounded number of rows, written in flat memory."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.objects import ObjectRef

# A part of this many rows is some 10 MB, a row group of that many some 30 MB while it is built.
ROWS_PER_PART = 250_000
ROWS_PER_GROUP = 50_000

_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("url", pa.string()),
    ("store", pa.string()),
    ("bucket", pa.string()),
    ("key", pa.string()),
    ("version_id", pa.string()),
    ("etag", pa.string()),
    ("size_bytes", pa.int64()),
    ("last_modified", pa.timestamp("us", tz="UTC")),
    ("subject_id", pa.string()),
    ("stratum", pa.string()),
    ("absent", pa.string()),  # an Absence: then size, time and ETag are null
]
SCHEMA = pa.schema(_COLUMNS)


@dataclass(frozen=True, slots=True)
class ListingTotals:
    """What a listing holds."""

    rows: int
    bytes: int  # the objects' own, not the listing's


def write_listing(
    batches: Iterable[list[ObjectRef]], out_dir: Path, rows_per_part: int = ROWS_PER_PART
) -> ListingTotals:
    """`write_tables` of objects. Text that UTF-8 cannot hold is written with backslash escapes."""
    return write_tables((_table(batch) for batch in batches), out_dir, rows_per_part)


def write_tables(
    tables: Iterable[pa.Table], out_dir: Path, rows_per_part: int = ROWS_PER_PART
) -> ListingTotals:
    """Write `out_dir`/part-00001.parquet and so on; `out_dir` appears whole or not at all.

    Parts are written to `<out_dir>.unfinished`, which takes its name when the last one is complete;
    what an interrupted listing left there is removed. A bucket without objects gives one part
    without rows.

    Args:   tables: of `SCHEMA`, of any size.
    Raises: FileExistsError: `out_dir` holds something already.  What `tables` raises.
    """
    if out_dir.is_dir() and any(out_dir.iterdir()):
        raise FileExistsError(f"{out_dir} holds a listing already")
    unfinished = out_dir.with_name(f"{out_dir.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    parts = _Parts(unfinished, rows_per_part)
    rows = size_bytes = 0
    try:
        for group in _groups(tables, min(ROWS_PER_GROUP, rows_per_part)):
            parts.write(group)
            rows += group.num_rows
            size_bytes += pc.sum(group["size_bytes"]).as_py() or 0
        if not rows:
            parts.write(SCHEMA.empty_table())
    finally:
        parts.close()
    unfinished.rename(out_dir)
    return ListingTotals(rows, size_bytes)


def _groups(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `rows`, the last one shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        rest = table
        while rest.num_rows:
            head = rest.slice(0, rows - count)
            rest = rest.slice(head.num_rows)
            waiting.append(head)
            count += head.num_rows
            if count == rows:
                yield pa.concat_tables(waiting)
                waiting, count = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


class _Parts:
    """Numbered Parquet files in one folder, each closed when it is full."""

    def __init__(self, folder: Path, rows_per_part: int) -> None:
        self._folder, self._rows_per_part = folder, rows_per_part
        self._number = self._rows = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, group: pa.Table) -> None:
        """Append a row group, cut where the part is full."""
        while True:
            if self._writer is None:
                self._number, self._rows = self._number + 1, 0
                path = self._folder / f"part-{self._number:05}.parquet"
                self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
            room = self._rows_per_part - self._rows
            head, group = group.slice(0, room), group.slice(room)
            self._writer.write_table(head)
            self._rows += head.num_rows
            if self._rows == self._rows_per_part:
                self.close()
            if not group.num_rows:
                return

    def close(self) -> None:
        """Complete the open part, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _table(refs: list[ObjectRef]) -> pa.Table:
    try:
        return _columns(refs)
    except UnicodeEncodeError:
        return _columns([_encodable(ref) for ref in refs])


def _columns(refs: list[ObjectRef]) -> pa.Table:
    columns = {name: [getattr(ref, name, None) for ref in refs] for name in SCHEMA.names}
    return pa.table(columns, schema=SCHEMA)


def _encodable(ref: ObjectRef) -> ObjectRef:
    def shown(text: str) -> str:
        return text.encode("utf-8", "backslashreplace").decode()

    return ObjectRef(
        url=shown(ref.url),
        store=ref.store,
        bucket=shown(ref.bucket),
        key=shown(ref.key),
        version_id=shown(ref.version_id) if ref.version_id else ref.version_id,
        etag=shown(ref.etag) if ref.etag else ref.etag,
        size_bytes=ref.size_bytes,
        last_modified=ref.last_modified,
        subject_id=shown(ref.subject_id) if ref.subject_id else ref.subject_id,
        stratum=shown(ref.stratum) if ref.stratum else ref.stratum,
    )
