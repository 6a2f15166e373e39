"""Many parts become few: the same rows, sorted, in memory that does not grow with them.

Rows are dealt by month and ranges of the key into slices on disk, each small enough to be sorted in memory;
the sorted slices, one behind the other, are the row groups of the merged parts. DuckDB's own sort of such
wide rows needs twice the memory it is allowed, and gives up below a gigabyte.
"""

import contextlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.errors import UsageError
from tasks.records.checking import months_and_keys
from tasks.records.durable import sync_file
from tasks.records.parts import PartDamaged
from tasks.records.schema import VERDICTS

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large merged parts grow, and how much is sorted at once.

    A million rows with replies of 1.4 KB are 400 MB: few enough files for years of verdicts, small enough
    to be fetched, and to be written again while their month is not over. A slice is a row group: DuckDB
    reads one for each range of keys it looks for, and its own are 122,880 rows.
    """

    file_rows: int = 1_000_000
    file_bytes: int = 512 * MIB
    slice_rows: int = 100_000
    slice_bytes: int = 96 * MIB  # of plain values; sorting takes some five times as much
    slices: int = 128  # of one batch; each is an open file, and macOS allows a process 256

    @property
    def batch_bytes(self) -> int:
        """Plain values merged at once: the disk needs about half as much room meanwhile."""
        return self.slice_bytes * self.slices


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged part, staged and on disk."""

    path: Path
    month: str  # 2026-11
    row_count: int


_ORDER: list[tuple[str, Literal["ascending", "descending"]]] = [
    (name, "ascending") for name in ("key", "question_id", "settled_at", "run_id")
]
# A dictionary would have to be the same in every batch of a file.
_PLAIN = pa.schema(
    [
        pa.field(each.name, pa.string(), each.nullable) if each.name == "provider" else each
        for each in VERDICTS
    ]
)


def merge(
    files: Sequence[Path], folder: Path, row_bytes: float, sizes: Sizes, go_on: Callable[[], None]
) -> list[Merged]:
    """The rows of `files` as few parts in `folder`: by month, sorted by key, question, time and run.

    Each part holds rows of one month only, by `settled_at` in UTC. Columns that an earlier schema lacks are
    null. `row_bytes` is about what a row takes uncompressed. `go_on` is called every few seconds and may
    raise.

    Raises:
        UsageError: a part has columns this facesweep does not know; names it.
        PartDamaged: a part cannot be read; names it.
        OSError: the folder cannot be written.
    """
    slice_rows = max(1, min(sizes.slice_rows, int(sizes.slice_bytes // max(row_bytes, 1))))
    bounds = _bounds(files, slice_rows)
    slices = _deal(_read(files, slice_rows), bounds, folder, sizes.slice_bytes, go_on)
    merged = []
    for month, paths in sorted(slices.items()):
        for path, row_count in _write(paths, folder, month, sizes, go_on):
            sync_file(path)
            merged.append(Merged(path, month, row_count))
    return merged


def _bounds(files: Sequence[Path], slice_rows: int) -> dict[str, list[str]]:
    """For each month the keys at which its next slice begins."""
    bounds = {}
    for month, (row_count, keys) in months_and_keys(files, slice_rows).items():
        number = min(-(-row_count // slice_rows), len(keys) or 1)
        bounds[month] = [keys[len(keys) * each // number] for each in range(1, number)]
    return bounds


def _read(files: Sequence[Path], slice_rows: int) -> Iterator[pa.Table]:
    """The rows in the columns of this version, some at a time.

    Raises:
        UsageError, PartDamaged: as `merge`.
    """
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                unknown = set(file.schema_arrow.names) - set(VERDICTS.names)
                if unknown:
                    raise UsageError(
                        f"{path} has columns this facesweep does not know ({', '.join(sorted(unknown))}): "
                        "compact with the newer version that wrote it"
                    )
                for batch in file.iter_batches(batch_size=slice_rows):
                    yield _in_columns(pa.Table.from_batches([batch]))
        except (OSError, pa.ArrowException) as error:
            raise PartDamaged(f"{path} cannot be read: {error}") from None


def _in_columns(rows: pa.Table) -> pa.Table:
    columns = [
        rows.column(each.name).cast(each.type)
        if each.name in rows.schema.names
        else pa.nulls(rows.num_rows, each.type)
        for each in _PLAIN
    ]
    return pa.Table.from_arrays(columns, schema=_PLAIN)


def _deal(
    tables: Iterator[pa.Table],
    bounds: Mapping[str, list[str]],
    folder: Path,
    group_bytes: int,
    go_on: Callable[[], None],
) -> dict[str, list[Path]]:
    """Each month's slices, as files of record batches."""
    slices = {
        month: [folder / f"slice-{month}-{number:05d}.arrow" for number in range(len(keys) + 1)]
        for month, keys in bounds.items()
    }
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with contextlib.ExitStack() as stack:
        writers = {
            path: stack.enter_context(
                pa.ipc.new_stream(stack.enter_context(pa.OSFile(str(path), "wb")), _PLAIN, options=options)
            )
            for paths in slices.values()
            for path in paths
        }
        for group in _grouped(tables, group_bytes):
            for month, rows in _by_month(group):
                keys = rows.column("key").combine_chunks()
                cuts = [bisect_left(keys, each, key=lambda key: key.as_py()) for each in bounds[month]]
                for path, start, end in zip(slices[month], [0, *cuts], [*cuts, len(keys)], strict=True):
                    if end > start:
                        writers[path].write_table(rows.slice(start, end - start))
            go_on()
    return slices


def _grouped(tables: Iterator[pa.Table], group_bytes: int) -> Iterator[pa.Table]:
    """The same rows in larger tables: parts of ten minutes' calls would be cut into crumbs."""
    gathered: list[pa.Table] = []
    for table in tables:
        gathered.append(table)
        if sum(each.nbytes for each in gathered) >= group_bytes:
            yield pa.concat_tables(gathered)
            gathered = []
    if gathered:
        yield pa.concat_tables(gathered)


def _by_month(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each month, sorted by key."""
    # Cast to a time without a zone, which is UTC's: with one, a database of zones would be asked.
    moments = rows.column("settled_at").cast(pa.timestamp("us")).cast(pa.string())
    months = pc.utf8_slice_codeunits(moments, 0, 7)
    order = pc.sort_indices(
        pa.Table.from_arrays([months, rows.column("key")], names=["month", "key"]),
        sort_keys=[("month", "ascending"), ("key", "ascending")],
    )
    rows = rows.take(order)
    start = 0
    for month, row_count in sorted(Counter(map(str, months.to_pylist())).items()):
        yield month, rows.slice(start, row_count)
        start += row_count


def _write(
    slices: Sequence[Path], folder: Path, month: str, sizes: Sizes, go_on: Callable[[], None]
) -> Iterator[tuple[Path, int]]:
    """The slices as Parquet files, each a row group; behind a file of full size comes another."""
    waiting = iter(slices)
    number = 0
    while (rows := _next_sorted(waiting)) is not None:
        number += 1
        path = folder / f"{month}-{number:05d}.parquet"
        row_count = 0
        with (
            pa.OSFile(str(path), "wb") as file,
            pq.ParquetWriter(file, VERDICTS, compression="zstd") as writer,
        ):
            while rows is not None:
                writer.write_table(rows, row_group_size=rows.num_rows)
                row_count += rows.num_rows
                go_on()
                if row_count >= sizes.file_rows or file.tell() >= sizes.file_bytes:
                    break
                rows = _next_sorted(waiting)
        yield path, row_count


def _next_sorted(slices: Iterator[Path]) -> pa.Table | None:
    """The next slice that has rows, sorted; its file is removed. None behind the last one."""
    for path in slices:
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
            rows = reader.read_all()
        path.unlink()
        if rows.num_rows:
            rows = rows.sort_by(_ORDER)
            place = VERDICTS.get_field_index("provider")
            encoded = rows.column(place).dictionary_encode()
            return rows.set_column(place, VERDICTS.field(place), encoded).cast(VERDICTS)
    return None
