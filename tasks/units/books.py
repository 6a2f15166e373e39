"""What a home knows of its runs, read from any machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from domain.budgets import Spending
from domain.errors import UsageError
from domain.runs import RunKind
from tasks.records import run_record
from tasks.records.balance import Tally, explain
from tasks.records.home import Home
from tasks.records.lock import worker_of
from tasks.records.parts_in_force import held_parts, may_hold, read_parts
from tasks.records.queries import read_tallies
from tasks.records.run_record import RunRecord, books_of
from tasks.reports.findings import Findings, find
from tasks.reports.query import select, skipped
from tasks.units.backfill.standing import BackfillStanding, counted, standing_of
from tasks.units.estimates import RiskEstimate, estimates_of, estimates_to_json
from tasks.units.spending import spending_of
from tasks.units.stages import read_totals

__all__ = [
    "RunRecord",
    "Summary",
    "balance_lines",
    "findings_of",
    "run_documents",
    "run_of",
    "runs_of",
    "select_verdicts",
    "skipped_of",
    "summarised",
    "summary_of",
]


def runs_of(home: Home) -> list[RunRecord]:
    """Every run of the home, oldest first, with its books as they stand now.

    The journal of an unfinished run is read too where it lies on this machine: its counts are newer than
    the record's. A backfill's are the sums of its shards' records.

    Raises:
        UsageError: a record cannot be read; names the file.
    """
    return [_current(home, record) for record in run_record.list_runs(home)]


def run_documents(home: Home, records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Run records as they stand in `runs/<id>.json`, oldest first; the newest with its estimates.

    And who works on each: null where nobody does here. And where a backfill stands that is not over.
    """
    documents = [
        run_record.to_json(record)
        | {
            "worked_on_by": _worker_of(home, record),
            "backfill": None if (standing := _standing_of(home, record)) is None else standing.to_json(),
            "estimates": None,
        }
        for record in records
    ]
    if records:
        documents[-1]["estimates"] = estimates_to_json(estimates_of(home, records[-1]))
    return documents


def run_of(home: Home, run_id: str | None, *, unfinished: bool = False) -> RunRecord:
    """The run of that id, or else the newest; with `unfinished`, the newest that is not over.

    Raises:
        UsageError: there is none.
    """
    runs = runs_of(home)
    if run_id is not None:
        found = [record for record in runs if record.run_id == run_id]
        if not found:
            known = ", ".join(record.run_id for record in runs[-5:]) or "none"
            raise UsageError(f"{home.root} has no run {run_id}; its newest are: {known}")
        return found[0]
    candidates = [record for record in runs if not unfinished or _can_go_on(record, runs[-1])]
    if not candidates:
        raise UsageError(
            f"{home.root} has no unfinished run"
            if runs
            else f"{home.root} holds no runs: is it an audit's home?"
        )
    return candidates[-1]


def _can_go_on(record: RunRecord, newest: RunRecord) -> bool:
    """Whether `resume` may take the run up: what a run left over its budget belongs to the newest run."""
    return not record.status.is_over and (record is newest or not record.status.gives_way)


def balance_lines(record: RunRecord) -> list[str]:
    """The books of a run as lines for people."""
    return [line for books in record.books for line in explain(books.balance)]


def findings_of(home: Home, run_id: str) -> Findings:
    """What the published verdicts of a run say."""
    return read_parts(home, lambda files: find(files, run_id), may_hold(run_id))


@contextmanager
def select_verdicts(home: Home, sql: str, run_id: str | None = None) -> Iterator[pa.RecordBatchReader]:
    """One SELECT over the view `verdicts`: of all runs, or of one. The rows can be read inside the block.

    Raises:
        UsageError: there is no such run, nothing is published yet, or the SQL is refused.
    """
    if run_id is not None:
        run_of(home, run_id)
    with held_parts(home, may_hold(run_id)) as files:
        yield select(files, sql, run_id)


def skipped_of(home: Home, record: RunRecord, reason: str | None = None) -> pa.RecordBatchReader:
    """Every object that a run did not ask about, with the reason; of one reason where it is given.

    Raises:
        UsageError: the run skipped nothing for that reason; names those it has.
    """
    reasons = sorted({name for books in record.books for name in books.balance.skipped})
    if reason is not None and reason not in reasons:
        known = ", ".join(reasons) or "none"
        raise UsageError(f"run {record.run_id} skipped nothing as {reason!r}; its reasons are: {known}")
    home.refresh(f"plans/run={record.run_id}")
    return skipped(home.paths(f"plans/run={record.run_id}/skipped-*.parquet"), reason)


def _worker_of(home: Home, record: RunRecord) -> str | None:
    """The process of this machine, or of one sharing the home's folder, that works on the run."""
    return None if record.status.is_over else worker_of(home.lock_path(record.run_id))


def _standing_of(home: Home, record: RunRecord) -> BackfillStanding | None:
    return standing_of(home, record, datetime.now(UTC))


def _current(home: Home, record: RunRecord) -> RunRecord:
    if record.kind is RunKind.BACKFILL:
        return counted(home, record, datetime.now(UTC))
    journal = home.journal_path(record.run_id)
    if record.status.gives_way or not journal.exists():
        return record
    tallies = read_tallies(journal)
    totals = read_totals(home, record.run_id)
    return replace(
        record,
        books=tuple(
            books_of(each.balance, tallies.get(provider, Tally()))
            for provider, each in totals.providers.items()
        ),
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """A run for people: its record and books, what was found, what that says of the rest, its budget."""

    record: RunRecord
    balance: list[str]
    findings: Findings
    worked_on_by: str | None  # such as `process 4711 on host`; None where nobody does on this machine
    spending: Spending | None  # None where nothing bounds the run
    estimates: tuple[RiskEstimate, ...] = ()
    backfill: BackfillStanding | None = None  # of one that is not over


def summary_of(home: Home, run_id: str | None = None) -> Summary:
    """The run of that id, or the newest.

    Raises:
        UsageError: there is none.
    """
    return summarised(home, run_of(home, run_id))


def summarised(home: Home, record: RunRecord, *, with_estimates: bool = True) -> Summary:
    """A run of `runs_of`. Estimates read the answers of all runs, not of this one alone."""
    return Summary(
        record,
        balance_lines(record),
        findings_of(home, record.run_id),
        _worker_of(home, record),
        spending_of(record),
        estimates_of(home, record) if with_estimates else (),
        _standing_of(home, record),
    )
