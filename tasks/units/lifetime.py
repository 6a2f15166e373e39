"""From a home to a run that works, and from a run to closed books."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from domain.budgets import Budget
from domain.errors import BudgetSpent, Denied, FacesweepError, Stopped, StoreDenied, Tripped, UsageError
from domain.runs import Progress, RunStatus
from domain.verdicts import Provider
from tasks.candidates import PlanTotals
from tasks.media.workers import MediaWorkers
from tasks.pacing.lane import Lane
from tasks.pacing.retry import RetryPolicy
from tasks.records import parts, run_record
from tasks.records.balance import Tally, as_planned
from tasks.records.earlier import EarlierAnswers, earlier_parts
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.lock import RunLock
from tasks.records.run_record import ProviderBooks, RunRecord, books_of
from tasks.settings import decoder_environment, spec_of
from tasks.shard.line import Line
from tasks.shard.memory import HeldBytes
from tasks.units.delivery import by_url_of, looking_of, may_go_by_url
from tasks.units.opening import limits_of, open_detector, open_session
from tasks.units.origin import Origin, are_simulated
from tasks.units.run import OpenRun
from tasks.units.sources import open_source
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
from tasks.units.watching import tell

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
        records = await asyncio.to_thread(run_record.list_runs, home)
        record = await asyncio.to_thread(_unfinished, home, run_id)
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
        await journal.catch_up(spent_before(record), unsaved_calls(record))
        check_given(given, journal.spending, datetime.now(UTC))
        record = with_budget(record, budget)
        tallies = await journal.tallies()
        is_simulated = are_simulated([*records, replace(record, books=_books(totals, tallies))])
        record = replace(record, simulated=is_simulated is True)
        session = await stack.enter_async_context(open_session())
        workers = await stack.enter_async_context(MediaWorkers(environment=decoder_environment()))
        source = spec.source
        bucket = open_source(source, session)
        held = HeldBytes()

        async def open_line(run: OpenRun, provider: Provider) -> Line:
            table = spec.asked[provider]
            detector = open_detector(provider, spec, session)
            limits = limits_of(provider, spec)
            looking = looking_of(spec, workers)
            stack.push_async_callback(looking.close)
            return Line(
                run_id=run_id,
                audit=spec.audit.name,
                bucket=bucket,
                limits=limits,
                workers=workers,
                detector=detector,
                lane=Lane(table.qps, deadline=run.deadline),
                policy=RetryPolicy(),
                journal=journal,
                home=home,
                price_per_call=table.price_per_call,
                code_version=str(record.versions["facesweep"]),
                recorded=run.count,
                held=held,
                accept=origin.accept,
                by_url=by_url_of(spec, bucket, limits, detector),
                looking=looking,
                earlier=await _earlier_answers(stack, run, provider),
            )

        run = OpenRun(home, spec, record, totals, journal, tallies, open_line)
        origin = Origin(home, is_simulated, run.mark_simulated)
        for provider in totals.providers:
            await run.open(provider)
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


async def _earlier_answers(
    stack: contextlib.AsyncExitStack, run: OpenRun, provider: Provider
) -> EarlierAnswers | None:
    """What earlier runs were told; None where there were none, nobody is asked, or all are asked again."""
    if run.record.reask is not None or not run.totals.providers[provider].asked:
        return None
    if not await asyncio.to_thread(earlier_parts, run.home, provider, run.run_id):
        return None
    tell(Progress("looking through earlier verdicts"))
    by_etag = may_go_by_url(run.spec, provider)
    return await stack.enter_async_context(EarlierAnswers(run.home, provider, run.run_id, by_etag=by_etag))


def _books(totals: PlanTotals, tallies: Mapping[Provider, Tally]) -> tuple[ProviderBooks, ...]:
    return tuple(
        books_of(each.balance, tallies.get(provider, Tally())) for provider, each in totals.providers.items()
    )


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
        case UsageError():
            status, reason = RunStatus.BROKEN, str(error)
        case _:
            status, reason = RunStatus.BROKEN, f"{type(error).__name__}: {error}"
    # The disk or the journal may be what broke: the first error is the one to report.
    with contextlib.suppress(FacesweepError, OSError):
        await run.publish()
    with contextlib.suppress(FacesweepError, OSError):
        await run.save(status, reason)
