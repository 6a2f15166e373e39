"""SQL over the verdicts."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from domain.errors import UsageError

MEMORY_LIMIT = "2GB"


def new_connection() -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory, within our limit, that says nothing and thinks in UTC."""
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")  # it would be drawn into our output
    return connection


def read_parquet_sql(files: Sequence[Path]) -> str:
    """SQL for the rows of these files; columns that the older ones lack are null in them."""
    names = ", ".join(literal(str(path)) for path in files)
    # The folders' names repeat columns the files hold themselves.
    return f"read_parquet([{names}], hive_partitioning = false, union_by_name = true)"


def connect(verdict_files: Sequence[Path], run_id: str | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the view `verdicts` over the given parts, columns as the contract names them.

    Of all their rows, or of those that the run settled.

    Raises:
        UsageError: there are no verdicts yet, or a part is damaged; names it.
    """
    if not verdict_files:
        raise UsageError("no verdicts are published here yet")
    return _connect("verdicts", verdict_files, "true" if run_id is None else f"run_id = {literal(run_id)}")


def skipped(plan_files: Sequence[Path], reason: str | None = None) -> pa.RecordBatchReader:
    """The objects that plans left out, by key, with the reason; `provider` is null where it holds for all.

    Raises:
        UsageError: a file is damaged; names it.
    """
    rows = _connect("skipped", plan_files).sql(
        "SELECT reason, provider, url, version_id, etag, size_bytes, last_modified FROM skipped"
        " WHERE $reason IS NULL OR reason = $reason ORDER BY url, provider",
        params={"reason": reason},
    )
    return rows.to_arrow_reader()


def select(verdict_files: Sequence[Path], sql: str, run_id: str | None = None) -> pa.RecordBatchReader:
    """The rows of one SELECT over `verdicts`, streamed; it may join files of the caller's own.

    With a run id, over what that run settled.

    Raises:
        UsageError: no verdicts, or the SQL is refused; says what DuckDB says.
    """
    connection = connect(verdict_files, run_id)
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UsageError("--sql takes one SELECT statement over the view `verdicts`")
        rows = connection.sql(sql)
        reader = rows.to_arrow_reader() if rows is not None else None
    except duckdb.Error as error:
        raise UsageError(f"--sql: {str(error).splitlines()[0]}") from None
    if reader is None:
        raise UsageError("--sql: the statement gives no rows")
    return reader


def _connect(view: str, files: Sequence[Path], condition: str = "true") -> duckdb.DuckDBPyConnection:
    """A connection with one view over the rows of Parquet files for which the condition, in SQL, holds."""
    rows = f"SELECT * FROM {read_parquet_sql(files)} WHERE {condition}"  # noqa: S608
    connection = new_connection()
    try:
        connection.execute(f"CREATE VIEW {view} AS {rows}")
    except duckdb.Error as error:
        raise UsageError(f"the {view} files cannot be read: {str(error).splitlines()[0]}") from None
    return connection


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
