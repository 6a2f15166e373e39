"""What a home knows of its runs, read from any machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from domain.errors import UsageError
from tasks.candidates import PlanTotals
from tasks.records import run_record
from tasks.records.balance import Tally, explain
from tasks.records.home import Home
from tasks.records.parts_in_force import held_parts, may_hold, read_parts
from tasks.records.queries import read_tallies
from tasks.records.run_record import RunRecord, books_of
from tasks.reports.findings import Findings, find
from tasks.reports.query import select
from tasks.units.draft import PLAN_FILE


def runs_of(home: Home) -> list[RunRecord]:
    """Every run of the home, oldest first, with its books as they stand now.

    The journal of an unfinished run is read too where it lies on this machine: its counts are newer than
    the record's.

    Raises:
        UsageError: a record cannot be read; names the file.
    """
    home.refresh("runs")
    return [_current(home, record) for record in run_record.list_runs(home)]


def run_documents(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Run records as they stand in `runs/<id>.json`."""
    return [run_record.to_json(record) for record in records]


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
    candidates = [record for record in runs if not (unfinished and record.status.is_over)]
    if not candidates:
        raise UsageError(
            f"{home.root} has no unfinished run"
            if runs
            else f"{home.root} holds no runs: is it an audit's home?"
        )
    return candidates[-1]


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


def _current(home: Home, record: RunRecord) -> RunRecord:
    journal = home.journal_path(record.run_id)
    if record.status.is_over or not journal.exists():
        return record
    tallies = read_tallies(journal)
    totals = PlanTotals.from_json(home.read_json(f"plans/run={record.run_id}/{PLAN_FILE}"))
    return replace(
        record,
        books=tuple(
            books_of(each.balance, tallies.get(provider, Tally()))
            for provider, each in totals.providers.items()
        ),
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """A run for people: its record, its books line by line, and what was found."""

    record: RunRecord
    balance: list[str]
    findings: Findings


def summary_of(home: Home, run_id: str | None = None) -> Summary:
    """The run of that id, or the newest.

    Raises:
        UsageError: there is none.
    """
    record = run_of(home, run_id)
    return Summary(record, balance_lines(record), findings_of(home, record.run_id))
