"""The rows of parts, counted and summed up by DuckDB: another reader than the one that merges them."""

# ruff: noqa: S608 - what is put into these statements are names of our own columns and numbers

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tasks.records.parts import PartDamaged
from tasks.records.schema import VERDICTS

MEMORY_LIMIT = "512MB"  # nothing is kept but sums and a sample of keys
THREADS = 2
FILES_AT_ONCE = 100  # each costs DuckDB some 200 KB while others are read
SAMPLED = 200  # keys for each slice: slices then differ by some 7 % in size


@dataclass(frozen=True, slots=True)
class RowSum:
    """Equal for the same rows in whatever order and files; different for others, but for a chance in 2^64."""

    row_count: int
    hashes: int  # the sum of one hash over all columns of each row
    values: tuple[int, ...]  # how many values of each column are not null: a hash takes [] for null


def row_sum(files: Sequence[Path]) -> RowSum:
    """The sum of the files' rows, every column of which is read; columns a file lacks count as null.

    Raises:
        PartDamaged: a file cannot be read.
    """
    names = [f'"{name}"' for name in VERDICTS.names]
    counts = ", ".join(f"count({name})" for name in names)
    sums = [0] * (2 + len(names))
    for row in _asked(
        files, f"SELECT count(*), coalesce(sum(hash({', '.join(names)})::HUGEINT), 0), {counts} FROM parts"
    ):
        sums = [total + int(each) for total, each in zip(sums, row, strict=True)]
    return RowSum(sums[0], sums[1], tuple(sums[2:]))


def months_and_keys(files: Sequence[Path], slice_rows: int) -> dict[str, tuple[int, list[str]]]:
    """For each month in which rows were settled (UTC): how many, and a sorted sample of their keys.

    The sample hangs on the rows alone: the same ones give the same sample.

    Raises:
        PartDamaged: a file cannot be read.
    """
    every = max(1, slice_rows // SAMPLED)
    found: dict[str, tuple[int, list[str]]] = {}
    for month, row_count, keys in _asked(
        files,
        "SELECT strftime(make_timestamp(epoch_us(settled_at)), '%Y-%m') AS month, count(*),"
        f" list(key) FILTER (hash(question_id) % {every} = 0) FROM parts GROUP BY month",
    ):
        known_count, known_keys = found.get(month, (0, []))
        found[month] = known_count + row_count, known_keys + (keys or [])
    return {month: (row_count, sorted(keys)) for month, (row_count, keys) in found.items()}


def _asked(files: Sequence[Path], sql: str) -> Iterator[tuple[Any, ...]]:
    """The rows of the query over `parts`, asked of some of the files at a time.

    Raises:
        PartDamaged: DuckDB cannot read a file.
    """
    for start in range(0, len(files), FILES_AT_ONCE):
        with duckdb.connect() as connection:
            try:
                connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
                connection.execute(f"SET threads = {THREADS}")
                # Without a folder named it would spill into whatever folder we were called in.
                connection.execute("SET temp_directory = ''")
                connection.execute("SET enable_progress_bar = false")  # it would be drawn into our output
                _open_parts(connection, files[start : start + FILES_AT_ONCE])
                rows = connection.execute(sql).fetchall()
            except duckdb.Error as error:
                raise PartDamaged(f"the parts cannot be read: {str(error).splitlines()[0]}") from None
        yield from rows


def _open_parts(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    paths = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
    source = f"read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"
    held = {row[0] for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
    missing = "".join(f', NULL AS "{name}"' for name in VERDICTS.names if name not in held)
    connection.execute(f"CREATE TEMP VIEW parts AS SELECT *{missing} FROM {source}")
