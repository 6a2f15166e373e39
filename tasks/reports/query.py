"""SQL over the verdicts."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from domain.errors import UsageError

MEMORY_LIMIT = "2GB"


def connect(verdict_files: Sequence[Path], run_id: str | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the view `verdicts` over the given parts, columns as the contract names them.

    Of all their rows, or of those that the run settled.

    Raises:
        UsageError: there are no verdicts yet, or a part is damaged; names it.
    """
    if not verdict_files:
        raise UsageError("no verdicts are published here yet")
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")  # it would be drawn into our output
    names = ", ".join(_literal(str(path)) for path in verdict_files)
    # The folder names repeat columns the files hold themselves; older parts lack the newest columns.
    source = f"read_parquet([{names}], hive_partitioning = false, union_by_name = true)"
    of_run = "true" if run_id is None else f"run_id = {_literal(run_id)}"
    view = f"CREATE VIEW verdicts AS SELECT * FROM {source} WHERE {of_run}"  # noqa: S608
    try:
        connection.execute(view)
    except duckdb.Error as error:
        raise UsageError(f"the verdicts cannot be read: {str(error).splitlines()[0]}") from None
    return connection


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


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
