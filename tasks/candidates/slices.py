"""Listing and verdicts side by side, a slice of the visiting order at a time.

A join of a hundred million objects with as many verdicts outgrows any memory limit worth naming. Both
sides are therefore dealt into slices by the same hash, each small enough to be joined in memory. The
slices are ranges of the visiting order, so what comes out of them is in that order at no further cost.
"""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

import shutil
from collections.abc import Collection
from pathlib import Path

import duckdb

from domain.verdicts import Provider
from tasks.candidates.vocabulary import FINAL_OUTCOMES, OBJECT, OBJECT_COLUMNS, literal
from tasks.candidates.workspace import count, open_parquet

# A row takes 300 to 500 bytes while it is joined and sorted: a slice of this many rows per limit fills
# a quarter of it at most, which leaves room for both sides, the sort and the table being written.
_LIMIT_BYTES_PER_ROW = 2_048
_MOST_SLICES = 96  # DuckDB keeps 100 partitions open at once; beyond that slices grow, and spill


def find_candidates(
    connection: duckdb.DuckDBPyConnection,
    providers: Collection[Provider],
    memory_limit_bytes: int,
    work_dir: Path,
    judged_by: Provider | None = None,
) -> None:
    """Creates the view `candidate` from the views `judged` and `verdict`, in visiting order.

    It holds the rows that `judged` gives no reason against: the object's columns, `version`, `visiting`,
    `occurrence` (1, and more for each further row of the same url and version) and for each provider
    `answered_<p>`, true where the verdicts hold a final outcome, and `paid_<p>`, where one of these was or
    may have been billed. With `judged_by` it holds `risk` too, the last level that provider gave. Which of
    several rows is the first does not hang on the order of the listing: all its columns decide.
    """
    rows = max(count(connection, f"SELECT count(*) FROM {view}") for view in ("judged", "verdict"))
    slices = min(1 + rows * _LIMIT_BYTES_PER_ROW // memory_limit_bytes, _MOST_SLICES)
    names = ", ".join(literal(provider) for provider in providers)
    objects, answers = work_dir / "objects", work_dir / "answers"
    _deal(connection, f"SELECT {OBJECT} FROM judged WHERE reason IS NULL", OBJECT, slices, objects)
    _deal(
        connection,
        "SELECT *, billed <> 'no' AS is_paid FROM verdict"
        f" WHERE outcome IN ({FINAL_OUTCOMES}) AND provider IN ({names})",
        "provider, is_paid" if judged_by is None else "provider, is_paid, settled_at, risk",
        slices,
        answers,
    )
    candidates = work_dir / "candidates"
    candidates.mkdir()
    for number in range(slices):
        _join_slice(
            connection,
            providers,
            objects / f"slice={number}",
            answers / f"slice={number}",
            candidates / f"slice-{number:02d}.parquet",
            judged_by,
        )
    open_parquet(
        connection,
        "candidate",
        sorted(candidates.iterdir()),
        {
            **OBJECT_COLUMNS,
            "version": "VARCHAR",
            "visiting": "UUID",
            "occurrence": "BIGINT",
            **{f"{flag}_{provider}": "BOOLEAN" for flag in ("answered", "paid") for provider in providers},
            **({} if judged_by is None else {"risk": "VARCHAR"}),
        },
    )


def _deal(connection: duckdb.DuckDBPyConnection, rows: str, columns: str, slices: int, folder: Path) -> None:
    """Writes columns, version and hash of the rows into the slices that the hash names."""
    connection.execute(
        "COPY (WITH versioned AS ("
        " SELECT *, version_of(version_id, etag, size_bytes, last_modified) AS version"
        f" FROM ({rows})), hashed AS ("
        f" SELECT {columns}, version, visiting_of(version, url) AS visiting FROM versioned)"
        # The first 16 bits of the hash, scaled, cut the order into ranges of nearly one size.
        f" SELECT *, (('0x' || left(visiting::VARCHAR, 4))::INTEGER * {slices}) // 65536 AS slice"
        " FROM hashed)"
        f" TO {literal(str(folder))} (FORMAT parquet, PARTITION_BY slice)"
    )


def _join_slice(
    connection: duckdb.DuckDBPyConnection,
    providers: Collection[Provider],
    objects: Path,
    answers: Path,
    path: Path,
    judged_by: Provider | None,
) -> None:
    """Writes one slice's candidates in visiting order, and frees the space its files took."""
    hashed = {"version": "VARCHAR", "visiting": "UUID"}
    open_parquet(
        connection,
        "slice_object",
        sorted(objects.glob("*.parquet")),
        {**OBJECT_COLUMNS, **hashed},
    )
    open_parquet(
        connection,
        "slice_answer",
        sorted(answers.glob("*.parquet")),
        {
            "provider": "VARCHAR",
            "is_paid": "BOOLEAN",
            **hashed,
            **({} if judged_by is None else {"settled_at": "TIMESTAMPTZ", "risk": "VARCHAR"}),
        },
    )
    has_answer = ", ".join(
        f"bool_or(provider = '{provider}') AS answered_{provider},"
        f" bool_or(provider = '{provider}' AND is_paid) AS paid_{provider}"
        for provider in providers
    )
    flags = ", ".join(
        f"coalesce(answered_{provider}, false) AS answered_{provider},"
        f" coalesce(paid_{provider}, false) AS paid_{provider}"
        for provider in providers
    )
    if judged_by is not None:
        has_answer += f", arg_max(risk, settled_at) FILTER (provider = '{judged_by}') AS risk"
        flags += ", risk"
    connection.execute(
        f"COPY (SELECT {OBJECT}, version, visiting, row_number() OVER (PARTITION BY visiting"
        " ORDER BY etag, size_bytes, last_modified, version_id, store, bucket, key) AS occurrence,"
        f" {flags} FROM slice_object"
        f" LEFT JOIN (SELECT visiting, {has_answer} FROM slice_answer GROUP BY visiting)"
        " USING (visiting) ORDER BY visiting, occurrence)"
        f" TO {literal(str(path))} (FORMAT parquet)"
    )
    for folder in (objects, answers):
        shutil.rmtree(folder, ignore_errors=True)  # a slice without rows has no folder
