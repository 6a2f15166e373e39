"""DuckDB within a memory limit: what does not fit goes to disk, beside the plan, and is gone after."""

# ruff: noqa: S608 - what is put into these statements are names of our own, and quoted literals

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from domain.errors import UsageError
from tasks.candidates.vocabulary import ADDED_COLUMNS, literal, macros

MEMORY_LIMIT_BYTES = 1 << 30  # joins and sorts spill beyond it; the process needs some 300 MB more
THREADS = 2


@contextmanager
def workspace(
    out_dir: Path, memory_limit_bytes: int, threads: int
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A DuckDB connection that knows our macros, and the folder where its tables and spills lie.

    Creates `out_dir`, which must not hold anything yet: a plan is written once. The folder is a
    `.plan-…` next to it, removed at the end whatever happens.

    Raises:  FileExistsError: `out_dir` is not empty.  UsageError: its path holds a "?".
             OSError: there is no room, or the disk is broken.
    """
    if "?" in str(out_dir):
        raise UsageError(
            f'the path {out_dir} holds a "?", behind which DuckDB looks for options: choose another home'
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    if any(out_dir.iterdir()):
        raise FileExistsError(f"{out_dir} already holds files; a plan is written into an empty folder")
    with tempfile.TemporaryDirectory(prefix=".plan-", dir=out_dir.parent) as folder:
        try:
            with _connection(Path(folder), memory_limit_bytes, threads) as connection:
                yield connection, Path(folder)
        except duckdb.Error as error:
            raise _as_the_system_says(error) from None


def _connection(folder: Path, memory_limit_bytes: int, threads: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        str(folder / "plan.duckdb"),
        config={
            "memory_limit": f"{memory_limit_bytes}B",
            "threads": threads,
            "temp_directory": str(folder / "spill"),
            # Planning stays within this machine: nothing is fetched for it.
            "autoinstall_known_extensions": False,
            "preserve_insertion_order": False,
        },
    )
    connection.execute("SET enable_progress_bar = false")  # it would be drawn into our output
    for statement in macros():
        connection.execute(statement)
    return connection


def _as_the_system_says(error: duckdb.Error) -> Exception:
    """The operating system's refusal behind an error of DuckDB, which gives its words and not its number."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS):
        if os.strerror(number) in str(error):
            return OSError(number, os.strerror(number))
    return error


def open_parquet(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    files: Sequence[Path],
    columns: Mapping[str, str],
) -> None:
    """A view `name` with these columns over Parquet files; without rows when there is no file.

    Files of earlier versions lack the columns that were added since: these read as NULL.
    """
    if files:
        paths = ", ".join(literal(str(file)) for file in files)
        # The folders' names (run=…, provider=…) must not replace columns of the same name.
        source = f"read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"
        held = {row[0] for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
        missing = columns.keys() & ADDED_COLUMNS - held
        chosen = ", ".join(
            f'NULL::{kind} AS "{column}"' if column in missing else f'"{column}"::{kind} AS "{column}"'
            for column, kind in columns.items()
        )
        rows = f"SELECT {chosen} FROM {source}"
    else:
        nothing = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
        rows = f"SELECT {nothing} WHERE false"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {rows}")


def count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The one number a query yields; 0 for none."""
    row = connection.execute(sql).fetchone()
    return int(row[0] or 0) if row else 0
