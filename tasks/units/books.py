"""What a home knows of its runs, read from any machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from domain.budgets import Spending
from domain.errors import UsageError
from domain.runs import RunKind, RunStatus
from tasks.records import run_record
from tasks.records.balance import Tally, explain
from tasks.records.home import Home
from tasks.records.lock import is_of_this_machine, worker_of
from tasks.records.parts_in_force import held_parts, may_hold, read_parts
from tasks.records.queries import read_tallies
from tasks.records.run_record import ProviderBooks, RunRecord, books_of
from tasks.reports.findings import Findings, find
from tasks.reports.query import select, skipped
from tasks.units.backfill.standing import BackfillStanding, counted, standing_of
from tasks.units.estimates import RiskEstimate, estimates_of, estimates_to_json
from tasks.units.spending import spending_of
from tasks.units.stages import read_totals

__all__ = [
    "ProviderBooks",
    "RunRecord",
    "Summary",
    "balance_lines",
    "findings_of",
    "reports_of",
    "run_documents",
    "run_of",
    "runs_of",
    "select_verdicts",
    "skipped_of",
    "summarised",
    "summary_of",
]


STALE_AFTER_S = 60.0
"""A record that was not saved for so long is a dead machine's, or one's whose home is out of reach: it is
saved every 15 s."""


def runs_of(home: Home) -> list[RunRecord]:
    """Every run of the home, oldest first, with its books as they stand now.

    The journal of an unfinished run is read too where the run is worked on here: its counts are newer than
    the record's. A backfill's are the sums of its shards' records.

    Raises:
        UsageError: a record cannot be read; names the file.
    """
    return [_current(home, record) for record in run_record.list_runs(home)]


def run_documents(home: Home, records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Run records as they stand in `runs/<id>.json`, oldest first; the newest with its estimates.

    And who works on each: null where nobody does, or nobody was heard of for long. And where a backfill
    stands that is not over.
    """
    now = datetime.now(UTC)
    documents = [
        run_record.to_json(record)
        | {
            "worked_on_by": _worker_of(home, record, now),
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


def reports_of(home: Home, record: RunRecord) -> tuple[str, ...]:
    """Urls of the run's reports, `reports/<id>/report.*` of the home; none where none was made."""
    folder = f"reports/{record.run_id}"
    found = [name for name in home.names(folder) if name.startswith(f"{folder}/report.")]
    if not home.is_in_bucket:
        return tuple(home.path(name).as_uri() for name in found)
    return tuple(f"{record.spec['audit']['home'].rstrip('/')}/{name}" for name in found)


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


def _worker_of(home: Home, record: RunRecord, now: datetime) -> str | None:
    """The process that works on the run; None where nobody does, or nobody was heard of for long.

    On this machine, or one sharing the home's folder, its lock tells. Of another machine's, its record.
    """
    if record.status.is_over:
        return None
    if here := worker_of(home.lock_path(record.run_id)):
        return here
    is_at_work = record.status is RunStatus.RUNNING and _is_elsewhere(record)
    is_fresh = (now - record.updated_at).total_seconds() < STALE_AFTER_S
    return record.worker if is_at_work and is_fresh else None


def _standing_of(home: Home, record: RunRecord) -> BackfillStanding | None:
    return standing_of(home, record, datetime.now(UTC))


def _current(home: Home, record: RunRecord) -> RunRecord:
    if record.kind is RunKind.BACKFILL:
        return counted(home, record, datetime.now(UTC))
    journal = home.journal_path(record.run_id)
    if record.status.gives_way or _is_elsewhere(record) or not journal.exists():
        return record
    paces = {each.balance.provider: each for each in record.books}
    tallies = read_tallies(journal)
    totals = read_totals(home, record.run_id)
    return replace(
        record,
        books=tuple(
            replace(
                books_of(each.balance, tallies.get(provider, Tally())),
                cap_per_s=paces[provider].cap_per_s if provider in paces else None,
                rate_per_s=paces[provider].rate_per_s if provider in paces else None,
            )
            for provider, each in totals.providers.items()
        ),
    )


def _is_elsewhere(record: RunRecord) -> bool:
    """Whether another machine's process saved the record last."""
    return record.worker is not None and not is_of_this_machine(record.worker)


@dataclass(frozen=True, slots=True)
class Summary:
    """A run for people: its record and books, what was found, what that says of the rest, its budget."""

    record: RunRecord
    balance: list[str]
    findings: Findings
    worked_on_by: str | None  # such as `process 4711 on host`; None where nobody does, as far as is known
    spending: Spending | None  # None where nothing bounds the run
    estimates: tuple[RiskEstimate, ...] = ()
    backfill: BackfillStanding | None = None  # of one that is not over

    @property
    def silent_worker(self) -> str | None:
        """Another machine's process that worked on the run and was not heard of for long; else None."""
        is_silent = self.record.status is RunStatus.RUNNING and self.worked_on_by is None
        return self.record.worker if is_silent and _is_elsewhere(self.record) else None


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
        _worker_of(home, record, datetime.now(UTC)),
        spending_of(record),
        estimates_of(home, record) if with_estimates else (),
        _standing_of(home, record),
    )
