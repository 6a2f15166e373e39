"""From a home to a run that works, and from a run to closed books."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from domain.budgets import Budget
from domain.errors import BudgetSpent, Denied, FacesweepError, Stopped, StoreDenied, Tripped, UsageError
from domain.runs import RunStatus
from tasks.buckets.bucket import parse_location
from tasks.candidates import PlanTotals
from tasks.media.workers import MediaWorkers
from tasks.pacing.lane import Lane
from tasks.pacing.retry import RetryPolicy
from tasks.records import parts, run_record
from tasks.records.balance import Tally, as_planned
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.lock import RunLock
from tasks.records.run_record import RunRecord, books_of
from tasks.settings import decoder_environment, spec_of
from tasks.shard.line import Line
from tasks.shard.memory import HeldBytes
from tasks.units.draft import PLAN_FILE
from tasks.units.opening import limits_of, open_bucket, open_detector, open_session
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

AS_IT_IS = Budget()


@asynccontextmanager
async def open_run(home: Home, run_id: str, given: Budget = AS_IT_IS) -> AsyncIterator[OpenRun]:
    """A planned or unfinished run, ready to go on; its record says how it ended when the block is left.

    `given` are the bounds of its budget that change from now on.

    Raises:
        UsageError: no such run, nothing of it is left to do, a later run has taken its questions over, or
            what is given is no larger budget.
        HomeBusy: another process works on it.
        BudgetSpent: nothing of its budget is left, and nobody was asked.
    """
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.to_thread(home.refresh, "runs")
        record = await asyncio.to_thread(run_record.load, home, run_id)
        if record.status.is_over:
            raise UsageError(f"run {run_id} is {record.status}: nothing of it is left to do")
        if record.status is RunStatus.OUT_OF_BUDGET:
            check_newest(record, await asyncio.to_thread(run_record.list_runs, home))
        stack.enter_context(RunLock(home.lock_path(run_id), run_id))
        spec = spec_of(dict(record.spec), f"the spec of run {run_id}")
        budget = changed_budget(record, spec, given)
        await asyncio.to_thread(home.refresh, f"plans/run={run_id}")
        totals = PlanTotals.from_json(home.read_json(f"plans/run={run_id}/{PLAN_FILE}"))
        journal = await stack.enter_async_context(
            Journal(home.journal_path(run_id), run_id, budget, spec.prices)
        )
        await parts.restore(journal, home)
        await journal.catch_up(spent_before(record), unsaved_calls(record))
        check_given(given, journal.spending, datetime.now(UTC))
        record = with_budget(record, budget)
        run = OpenRun(home, spec, record, totals, journal, await journal.tallies())
        session = await stack.enter_async_context(open_session())
        workers = await stack.enter_async_context(MediaWorkers(environment=decoder_environment()))
        source = spec.source
        bucket = open_bucket(parse_location(source.url), source.endpoint_url, source.region, session)
        held = HeldBytes()
        for provider in totals.providers:
            table = spec.asked[provider]
            run.lines[provider] = Line(
                run_id=run_id,
                audit=spec.audit.name,
                bucket=bucket,
                limits=limits_of(provider, spec),
                workers=workers,
                detector=open_detector(provider, spec, session),
                lane=Lane(table.qps, deadline=run.deadline),
                policy=RetryPolicy(),
                journal=journal,
                home=home,
                price_per_call=table.price_per_call,
                code_version=str(record.versions["facesweep"]),
                recorded=run.count,
                held=held,
            )
        try:
            await run.check_budget()
            await run.save(RunStatus.RUNNING)
            yield run
        except BudgetSpent as end:
            await _close_books(run, end)
            raise how_to_go_on(end, run.record) from None
        except BaseException as error:
            await _close_books(run, error)
            raise


async def abandon_run(home: Home, run_id: str) -> RunRecord:
    """Give up an unfinished run: what it settled is published, its pending questions belong to later runs.

    Raises:
        UsageError: no such run, or it is over.  HomeBusy: a process works on it.
    """
    record = await asyncio.to_thread(run_record.load, home, run_id)
    if record.status.is_over:
        raise UsageError(f"run {run_id} is {record.status} already")
    with RunLock(home.lock_path(run_id), run_id):
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


async def _close_books(run: OpenRun, error: BaseException) -> None:
    """The run ended early: publish what can be published and say why in its record."""
    match error:
        case Denied() | StoreDenied():
            status, reason = RunStatus.DENIED, str(error)
        case BudgetSpent():
            status, reason = RunStatus.OUT_OF_BUDGET, str(error)
        case Tripped():
            status, reason = RunStatus.TRIPPED, str(error)
        case Stopped() | asyncio.CancelledError() | KeyboardInterrupt():
            status, reason = RunStatus.INTERRUPTED, "the run was asked to stop"
        case _:
            status, reason = RunStatus.BROKEN, f"{type(error).__name__}: {error}"
    # The disk or the journal may be what broke: the first error is the one to report.
    with contextlib.suppress(FacesweepError, OSError):
        await run.publish()
    with contextlib.suppress(FacesweepError, OSError):
        await run.save(status, reason)
