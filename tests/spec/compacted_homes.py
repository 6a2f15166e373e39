"""Homes with published parts of several runs, and what their readers see."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from domain.runs import RunStatus
from domain.signals import Signals
from domain.verdicts import Outcome, Verdict
from tasks.records import run_record
from tasks.records.batches import Sizes
from tasks.records.home import Home
from tasks.records.merging import Slices
from tasks.records.parts_in_force import held_parts
from tasks.records.schema import VERDICTS, table_of
from tests.spec.test_books import a_record
from tests.spec.test_journal import a_verdict
from tests.spec.test_parts import FolderBlobs

SMALL = Sizes(rows=1_000, slices=Slices(rows=4))
"""A merged part has several row groups."""

BATCHES = replace(SMALL, rows=20)
"""A merged part is full with those of two published ones."""

OVER = ("r1", "r2")
UNFINISHED = "r3"
SIGNALS = [field.name for field in fields(Signals)]  # added by schema version 3
ADDED = ["asked_because", "subject_id", "stratum", "weight", *SIGNALS]  # since schema version 1

Row = tuple[Any, ...]


def row(run_id: str, number: int, provider: str = "tencent", **changes: Any) -> Verdict:
    """Runs r1 and r3 settle in October, r2 from the last day of October on."""
    day = datetime(2026, 10, 31, 23, 50, tzinfo=UTC) if run_id == "r2" else datetime(2026, 10, 5, tzinfo=UTC)
    settled_at = datetime.fromtimestamp(day.timestamp() + 30 * number, UTC)
    question_id = hashlib.sha256(f"{provider} {run_id} {number}".encode()).hexdigest()[:32]
    return a_verdict(
        number,
        **{
            "run_id": run_id,
            "question_id": question_id,
            "provider": provider,
            "settled_at": settled_at,
            "outcome": Outcome.FAILED if number % 10 == 9 else Outcome.SCORED,
            **changes,
        },
    )


def put_part(home: Home, rows: Iterable[Verdict], number: int, *, without: Iterable[str] = ()) -> str:
    """A part as a run publishes it; `without` columns, as an earlier version did."""
    rows = sorted(rows, key=lambda each: (each.key, each.question_id))
    relative = f"verdicts/provider={rows[0].provider}/run={rows[0].run_id}/part-{number:05d}.parquet"
    with home.staging() as folder:
        table = table_of(rows).drop_columns(list(without))
        pq.write_table(table, folder / "part.parquet", compression="zstd")
        home.adopt(folder / "part.parquet", relative)
    return relative


def put_record(home: Home, run_id: str, status: RunStatus) -> None:
    run_record.save(home, a_record(run_id, status=status))


def fill(home: Home) -> None:
    """Two runs that are over and one that is not, of three parts with ten rows each."""
    for run_id in (*OVER, UNFINISHED):
        for part in range(3):
            put_part(home, [row(run_id, 10 * part + each) for each in range(10)], part + 1)
        put_record(home, run_id, RunStatus.INTERRUPTED if run_id == UNFINISHED else RunStatus.DONE)


def a_bucket_home(
    folder: Path, machine: str = "one", blobs: Callable[[Path], FolderBlobs] = FolderBlobs
) -> Home:
    return Home.in_bucket(blobs(folder / "bucket"), "audits/kyc", folder / machine)


def rows_in(files: Iterable[Path]) -> Counter[str]:
    """Every row of the files, column for column, as often as it is there."""
    found: Counter[str] = Counter()
    for path in files:
        with pq.ParquetFile(path) as file:
            table = file.read()
        for name in ADDED:
            if name not in table.schema.names:
                table = table.append_column(
                    VERDICTS.field(name), pa.nulls(len(table), VERDICTS.field(name).type)
                )
        found.update(repr(each) for each in table.select(VERDICTS.names).to_pylist())
    return found


def rows_of(home: Home) -> Counter[str]:
    """Every row that a reader of ours sees."""
    with held_parts(home) as files:
        return rows_in(files)


def questions_by_reader(verdicts: Path) -> dict[str, list[tuple[str, str]]]:
    """Run and question of every row, sorted, as the analysts' readers see the folder."""
    frame = pd.read_parquet(verdicts)
    table = pq.read_table(verdicts, columns=["run_id", "question_id"])
    glob = str(verdicts / "provider=*/run=*/*.parquet")
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT run_id, question_id FROM read_parquet(?, hive_partitioning = true)", [glob]
        ).fetchall()
    return {
        "pandas": sorted(zip(frame["run_id"], frame["question_id"], strict=True)),
        "pyarrow": sorted(map(tuple, zip(*table.to_pydict().values(), strict=True))),
        "duckdb": sorted(found),
    }


def as_version_1(verdict: Verdict) -> Verdict:
    """What schema version 1 could say of it."""
    return replace(verdict, schema_version=1, **dict.fromkeys(ADDED))


def as_version_2(verdict: Verdict) -> Verdict:
    """What schema version 2 could say of it."""
    return replace(verdict, schema_version=2, **dict.fromkeys(SIGNALS))
