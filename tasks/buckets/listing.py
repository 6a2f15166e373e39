"""A listing as Parquet: parts of a bounded number of rows, written in flat memory."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
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
    """Write `out_dir`/part-00001.parquet and so on; `out_dir` appears whole or not at all.

    Parts are written to `<out_dir>.unfinished`, which takes its name when the last one is complete;
    what an interrupted listing left there is removed. A bucket without objects gives one part
    without rows. Text that UTF-8 cannot hold is written with backslash escapes.

    Raises: FileExistsError: `out_dir` holds something already.  What `batches` raises.
    """
    if out_dir.is_dir() and any(out_dir.iterdir()):
        raise FileExistsError(f"{out_dir} holds a listing already")
    unfinished = out_dir.with_name(f"{out_dir.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    parts = _Parts(unfinished, rows_per_part)
    rows = size_bytes = 0
    try:
        for group in _groups(batches, min(ROWS_PER_GROUP, rows_per_part)):
            parts.write(group)
            rows += len(group)
            size_bytes += sum(ref.size_bytes for ref in group)
        if not rows:
            parts.write([])
    finally:
        parts.close()
    unfinished.rename(out_dir)
    return ListingTotals(rows, size_bytes)


def _groups(batches: Iterable[list[ObjectRef]], rows: int) -> Iterator[list[ObjectRef]]:
    """The same objects in lists of exactly `rows`, the last one shorter."""
    group: list[ObjectRef] = []
    for batch in batches:
        group += batch
        while len(group) >= rows:
            yield group[:rows]
            group = group[rows:]
    if group:
        yield group


class _Parts:
    """Numbered Parquet files in one folder, each closed when it is full."""

    def __init__(self, folder: Path, rows_per_part: int) -> None:
        self._folder, self._rows_per_part = folder, rows_per_part
        self._number = self._rows = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, group: list[ObjectRef]) -> None:
        """Append a row group, cut where the part is full."""
        while True:
            if self._writer is None:
                self._number, self._rows = self._number + 1, 0
                path = self._folder / f"part-{self._number:05}.parquet"
                self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
            room = self._rows_per_part - self._rows
            head, group = group[:room], group[room:]
            self._writer.write_table(_table(head))
            self._rows += len(head)
            if self._rows == self._rows_per_part:
                self.close()
            if not group:
                return

    def close(self) -> None:
        """Complete the open part, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _table(group: list[ObjectRef]) -> pa.Table:
    try:
        return _columns(group)
    except UnicodeEncodeError:
        return _columns([_encodable(ref) for ref in group])


def _columns(group: list[ObjectRef]) -> pa.Table:
    return pa.table({name: [getattr(ref, name) for ref in group] for name in SCHEMA.names}, schema=SCHEMA)


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
