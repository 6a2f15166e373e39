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
class Slices:
    """How much is sorted at once: a slice, which becomes a row group of the merged part.

    With replies of 1.5 KB that are some 32,000 rows. Merging a million of them took 640 MiB, interpreter and
    libraries included; with half the bytes 530, with half more 770, in the same time.
    """

    rows: int = 100_000  # DuckDB's own row groups hold 122,880
    plain_bytes: int = 64 * MIB  # uncompressed


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
    files: Sequence[Path], folder: Path, row_bytes: float, slices: Slices, go_on: Callable[[], None]
) -> list[Merged]:
    """The rows of `files` as one part in `folder` for each month, sorted by key, question, time and run.

    The month is that of `settled_at` in UTC. Columns that an earlier schema lacks are null. `row_bytes` is
    about what a row takes uncompressed. `go_on` is called every few seconds and may raise.

    Raises:
        UsageError: a part has columns this facesweep does not know; names it.
        PartDamaged: a part cannot be read; names it.
        OSError: the folder cannot be written.
    """
    slice_rows = max(1, min(slices.rows, int(slices.plain_bytes // max(row_bytes, 1))))
    bounds = _bounds(files, slice_rows)
    dealt = _deal(_read(files, slice_rows), bounds, folder, slices.plain_bytes, go_on)
    return [
        _write(paths, folder / f"{month}.parquet", month, go_on) for month, paths in sorted(dealt.items())
    ]


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


def _write(slices: Sequence[Path], path: Path, month: str, go_on: Callable[[], None]) -> Merged:
    """The slices as a Parquet file on disk, each a row group; their own files are removed."""
    row_count = 0
    with pq.ParquetWriter(path, VERDICTS, compression="zstd") as writer:
        for each in slices:
            rows = _sorted(each)
            if rows.num_rows:
                writer.write_table(rows, row_group_size=rows.num_rows)
            row_count += rows.num_rows
            each.unlink()
            go_on()
    sync_file(path)
    return Merged(path, month, row_count)


def _sorted(slice_: Path) -> pa.Table:
    with pa.OSFile(str(slice_), "rb") as file, pa.ipc.open_stream(file) as reader:
        rows = reader.read_all().sort_by(_ORDER)
    place = VERDICTS.get_field_index("provider")
    return rows.set_column(place, VERDICTS.field(place), rows.column(place).dictionary_encode()).cast(
        VERDICTS
    )
