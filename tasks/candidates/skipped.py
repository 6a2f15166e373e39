"""The list of every object that is not asked about, with the reason."""

# ruff: noqa: S608 - what is put into these statements are names of our own, and quoted literals

from collections.abc import Mapping
from pathlib import Path

import duckdb

from domain.verdicts import Provider
from tasks.candidates.vocabulary import OBJECT, literal


def skipped_path(plan_dir: Path) -> Path:
    """Where a plan keeps its skipped objects; the file is there even when nothing was skipped."""
    return plan_dir / "skipped-00001.parquet"


def skipped_sql(table: str, reasons: Mapping[Provider, str], owner: Provider | None = None) -> str:
    """Skipped rows of a table: one for all providers where they share the reason, else one for each.

    `owner`: the one provider that all these rows count for, where others are decided upon elsewhere.
    """
    shared = " AND ".join(f"{one} = {other}" for one in reasons.values() for other in reasons.values())
    parts = [
        f"SELECT {'NULL::VARCHAR' if owner is None else literal(owner)} AS provider,"
        f" {next(iter(reasons.values()))} AS reason, {OBJECT}"
        f" FROM {table} WHERE {shared}"
    ]
    if len(reasons) > 1:
        parts += [
            f"SELECT '{provider}' AS provider, {reason} AS reason, {OBJECT}"
            f" FROM {table} WHERE {reason} IS NOT NULL AND NOT coalesce({shared}, false)"
            for provider, reason in reasons.items()
        ]
    return " UNION ALL ".join(parts)


def write_skipped(connection: duckdb.DuckDBPyConnection, sql: str, out_dir: Path) -> None:
    """Writes rows of provider (NULL: every provider of the plan), reason and the object's columns."""
    path = literal(str(skipped_path(out_dir)))
    connection.execute(f"COPY ({sql}) TO {path} (FORMAT parquet, COMPRESSION zstd)")
    # The books are read from what was written, so that they vouch for the file.
    connection.execute(f"CREATE TEMP VIEW skipped AS FROM read_parquet({path}, hive_partitioning = false)")


def count_skipped(connection: duckdb.DuckDBPyConnection, provider: Provider) -> dict[str, int]:
    """How many skipped rows count for the provider, by reason."""
    return dict(
        connection.execute(
            f"SELECT reason, count(*) FROM skipped WHERE provider IS NULL OR provider = '{provider}'"
            " GROUP BY reason ORDER BY reason"
        ).fetchall()
    )
