"""From a home to a run that works, and from a run to closed books."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from domain.errors import Denied, FacesweepError, Stopped, StoreDenied, UsageError
from domain.runs import Progress, RunStatus
from domain.verdicts import Provider
from tasks.buckets.bucket import parse_location
from tasks.candidates import PlanTotals
from tasks.media.workers import MediaWorkers
from tasks.pacing.lane import Lane
from tasks.pacing.retry import RetryPolicy
from tasks.records import parts, run_record
from tasks.records.balance import Tally
from tasks.records.earlier import EarlierAnswers, earlier_parts
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.lock import RunLock
from tasks.records.run_record import ProviderBooks, RunRecord, books_of
from tasks.settings import decoder_environment, spec_of
from tasks.shard.line import Line
from tasks.shard.memory import HeldBytes
from tasks.units.draft import PLAN_FILE
from tasks.units.opening import limits_of, open_bucket, open_detector, open_session
from tasks.units.origin import Origin, are_simulated
from tasks.units.run import OpenRun
from tasks.units.watching import tell


@asynccontextmanager
async def open_run(home: Home, run_id: str) -> AsyncIterator[OpenRun]:
    """A planned or unfinished run, ready to go on; its record says how it ended when the block is left.

    Raises:
        UsageError: no such run, or nothing of it is left to do.
        HomeBusy: another process works on it.
    """
    async with contextlib.AsyncExitStack() as stack:
        records = await asyncio.to_thread(run_record.list_runs, home)
        record = await asyncio.to_thread(run_record.load, home, run_id)
        if record.status.is_over:
            raise UsageError(f"run {run_id} is {record.status}: nothing of it is left to do")
        stack.enter_context(RunLock(home.lock_path(run_id), run_id))
        spec = spec_of(dict(record.spec), f"the spec of run {run_id}")
        await asyncio.to_thread(home.refresh, f"plans/run={run_id}")
        totals = PlanTotals.from_json(home.read_json(f"plans/run={run_id}/{PLAN_FILE}"))
        journal = await stack.enter_async_context(Journal(home.journal_path(run_id), run_id))
        await parts.restore(journal, home)
        tallies = await journal.tallies()
        is_simulated = are_simulated([*records, replace(record, books=_books(totals, tallies))])
        record = replace(record, simulated=is_simulated is True)
        run = OpenRun(home, spec, record, totals, journal, tallies)
        origin = Origin(home, is_simulated, run.mark_simulated)
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
                lane=Lane(table.qps),
                policy=RetryPolicy(),
                journal=journal,
                home=home,
                price_per_call=table.price_per_call,
                code_version=str(record.versions["facesweep"]),
                recorded=run.count,
                held=held,
                accept=origin.accept,
                earlier=await _earlier_answers(stack, run, provider),
            )
        await run.save(RunStatus.RUNNING)
        try:
            yield run
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
            books_of(each.balance, tallies.get(each.balance.provider, Tally())) for each in record.books
        )
        record = replace(record, status=RunStatus.ABANDONED, updated_at=now, ended_at=now, books=books)
        await asyncio.to_thread(run_record.save, home, record)
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
    return await stack.enter_async_context(EarlierAnswers(run.home, provider, run.run_id))


def _books(totals: PlanTotals, tallies: Mapping[Provider, Tally]) -> tuple[ProviderBooks, ...]:
    return tuple(
        books_of(each.balance, tallies.get(provider, Tally())) for provider, each in totals.providers.items()
    )


async def _close_books(run: OpenRun, error: BaseException) -> None:
    """The run ended early: publish what can be published and say why in its record."""
    match error:
        case Denied() | StoreDenied():
            status, reason = RunStatus.DENIED, str(error)
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
