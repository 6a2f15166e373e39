"""From a home to a run that works, and from a run to closed books."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from domain.budgets import Budget
from domain.errors import BudgetSpent, Denied, FacesweepError, Stopped, StoreDenied, Tripped, UsageError
from domain.runs import RunKind, RunStatus
from domain.verdicts import Provider
from tasks.candidates import PlanTotals
from tasks.records import parts, run_record
from tasks.records.balance import Tally, as_planned
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.lock import RunLock
from tasks.records.run_record import ProviderBooks, RunRecord, books_of
from tasks.settings import spec_of
from tasks.units.bookkeeping import Bookkeeping
from tasks.units.equipment import equipped
from tasks.units.origin import are_simulated
from tasks.units.run import OpenRun
from tasks.units.spending import (
    changed_budget,
    check_given,
    check_newest,
    how_to_go_on,
    spent_before,
    unsaved_calls,
    with_budget,
)
from tasks.units.stages import read_totals

AS_IT_IS = Budget()


@asynccontextmanager
async def open_run(home: Home, run_id: str, given: Budget = AS_IT_IS) -> AsyncIterator[OpenRun]:
    """A planned or unfinished run, ready to go on; its record says how it ended when the block is left.

    `given` are the bounds of its budget that change from now on.

    Raises:
        UsageError: no such run, nothing of it is left to do, a later run has taken its questions over, it
            is a backfill, or what is given is no larger budget.
        HomeBusy: another process works on it.
        BudgetSpent: nothing of its budget is left, and nobody was asked.
    """
    async with contextlib.AsyncExitStack() as stack:
        records = await asyncio.to_thread(run_record.list_runs, home)
        record = await asyncio.to_thread(_unfinished, home, run_id)
        if record.kind is RunKind.BACKFILL:
            raise UsageError(f"run {run_id} is a backfill: its shards are worked on one by one, by flow runs")
        if record.status is RunStatus.OUT_OF_BUDGET:
            check_newest(record, records)
        stack.enter_context(RunLock(home.lock_path(run_id), run_id))
        record = await asyncio.to_thread(_unfinished, home, run_id)
        spec = spec_of(dict(record.spec), f"the spec of run {run_id}")
        budget = changed_budget(record, spec, given)
        await asyncio.to_thread(home.refresh, f"plans/run={run_id}")
        totals = read_totals(home, run_id)
        journal = await stack.enter_async_context(
            Journal(home.journal_path(run_id), run_id, budget, spec.prices)
        )
        await parts.restore(journal, home)
        was_at_work = record.status is RunStatus.RUNNING
        await journal.catch_up(
            spent_before(record.books), unsaved_calls(record.books, was_at_work=was_at_work)
        )
        check_given(given, journal.spending, datetime.now(UTC))
        record = with_budget(record, budget)
        tallies = await journal.tallies()
        is_simulated = are_simulated([*records, replace(record, books=_books(totals, tallies))])
        record = replace(record, simulated=is_simulated is True)
        run = await stack.enter_async_context(
            equipped(home, spec, record, totals, journal, tallies, Bookkeeping(), is_simulated=is_simulated)
        )
        try:
            await run.check_budget()
            await run.save(RunStatus.RUNNING)
            yield run
        except BudgetSpent as end:
            await close_books(run, end)
            raise how_to_go_on(end, run.record) from None
        except BaseException as error:
            await close_books(run, error)
            raise


async def abandon_run(home: Home, run_id: str) -> RunRecord:
    """Give up an unfinished run: what it settled is published, its pending questions belong to later runs.

    Raises:
        UsageError: no such run, or it is over.  HomeBusy: a process works on it.
    """
    await asyncio.to_thread(_unfinished, home, run_id)
    with RunLock(home.lock_path(run_id), run_id):
        record = await asyncio.to_thread(_unfinished, home, run_id)
        async with Journal(home.journal_path(run_id), run_id) as journal:
            for each in record.books:
                await parts.publish(journal, home, each.balance.provider)
            tallies = await journal.tallies()
        now = datetime.now(UTC)
        books = tuple(
            books_of(as_planned(each.balance), tallies.get(each.balance.provider, Tally()))
            for each in record.books
        )
        record = replace(record, status=RunStatus.ABANDONED, updated_at=now, ended_at=now, books=books)
        await asyncio.to_thread(run_record.save, home, record)
    return record


def _unfinished(home: Home, run_id: str) -> RunRecord:
    """The run's record as it is now. To be asked again once the run's lock is held: whoever held it before
    may have ended the run.

    Raises:
        UsageError: no such run, or nothing of it is left to do.
    """
    record = run_record.load(home, run_id)
    if record.status.is_over:
        raise UsageError(f"run {run_id} is {record.status}: nothing of it is left to do")
    return record


def _books(totals: PlanTotals, tallies: Mapping[Provider, Tally]) -> tuple[ProviderBooks, ...]:
    return tuple(
        books_of(each.balance, tallies.get(provider, Tally())) for provider, each in totals.providers.items()
    )


def end_of(error: BaseException) -> tuple[RunStatus, str]:  # noqa: PLR0911 - one for each kind of end
    """What the error that ended a run, or a shard, says of it: its status, and one sentence."""
    match error:
        case Denied() | StoreDenied():
            return RunStatus.DENIED, str(error)
        case BudgetSpent():
            return RunStatus.OUT_OF_BUDGET, str(error)
        case Tripped():
            return RunStatus.TRIPPED, str(error)
        case Stopped():
            return RunStatus.INTERRUPTED, str(error)
        case asyncio.CancelledError() | KeyboardInterrupt():
            return RunStatus.INTERRUPTED, "the run was asked to stop"
        case UsageError():
            return RunStatus.BROKEN, str(error)
        case _:
            return RunStatus.BROKEN, f"{type(error).__name__}: {error}"


async def close_books(run: OpenRun, error: BaseException) -> None:
    """The run ended early: publish what can be published and say why in its record."""
    status, reason = end_of(error)
    # The disk or the journal may be what broke: the first error is the one to report.
    with contextlib.suppress(FacesweepError, OSError):
        await run.publish()
    with contextlib.suppress(FacesweepError, OSError):
        await run.save(status, reason)
