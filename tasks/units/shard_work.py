"""The worker's side of a backfill: one shard, one process, with its own journal, record and claim."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from domain.budgets import Budget
from domain.errors import Stopped, UsageError
from domain.runs import Progress, RunKind, RunStatus, ShardStatus
from tasks.candidates import PlanTotals, ProviderTotals, shard_path
from tasks.records import parts, run_record, shard_record
from tasks.records.balance import Tally
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.lock import ProcessLock
from tasks.records.run_record import ProviderBooks, RunRecord, books_of
from tasks.records.shard_record import ShardRecord
from tasks.settings import spec_of
from tasks.units.equipment import equipped
from tasks.units.lifetime import close_books, end_of
from tasks.units.origin import are_simulated
from tasks.units.run import OpenRun
from tasks.units.shard_books import USUAL, Claim, Rhythm, ShardAttempt, ShardBooks, check_wanted
from tasks.units.spending import spent_before, unsaved_calls
from tasks.units.stages import SECOND_PLAN_FILE, read_totals

__all__ = ["Claim", "Rhythm", "ShardAttempt", "ShardWork", "is_done", "open_shard"]


def is_done(home: Home, attempt: ShardAttempt) -> bool:
    """Whether nothing of the shard is left to do."""
    known = shard_record.load(home, attempt.run_id, attempt.provider, attempt.number)
    return known is not None and known.status is ShardStatus.DONE


class ShardWork:
    """One shard, opened. Made by `open_shard`; belongs to one event loop."""

    def __init__(self, run: OpenRun, books: ShardBooks) -> None:
        self.run = run
        self._books = books

    @property
    def record(self) -> ShardRecord:
        """The shard's record as it was last saved."""
        assert self._books.saved is not None  # noqa: S101 - it is saved before anybody gets hold of this
        return self._books.saved

    def progress(self) -> Progress:
        """Where the shard stands now."""
        return self.run.progress()

    async def detect(self) -> ShardRecord:
        """Every open question of the shard to its final row, published, and the record says that it is done.

        Raises:
            As `OpenRun.detect`. Stopped: also when the run is paused or cancelled, or the claim is lost; then
            no call leaves any more, and what is settled stays in the journal.
        """
        await self.run.detect(lambda run, shard: run.detect_shard(shard))
        await self.run.finish()
        return self.record


@asynccontextmanager
async def open_shard(
    home: Home, attempt: ShardAttempt, claim: Claim, rhythm: Rhythm = USUAL
) -> AsyncIterator[ShardWork]:
    """A shard of a backfill, ready to be worked on; its record says how that ended when the block is left.

    Goes on with what the journal on this machine holds. Without the shard's former journal, on another
    machine, it goes on from what is published, and counts as spent what the former process may have spent.

    Raises:
        UsageError: no such run or shard, or nothing of it is left to do for this attempt.
        HomeBusy: another process of this machine works on it.
        Stopped: the claim is lost, or nobody is to work on the run now.
        BudgetSpent: nothing of its allowance is left, and nobody was asked.
    """
    books = ShardBooks(attempt, claim, rhythm)
    run_id, provider, number = attempt.run_id, attempt.provider, attempt.number
    books.check()
    record = await asyncio.to_thread(run_record.load, home, run_id)
    totals = await asyncio.to_thread(_totals_of, home, record, attempt)
    async with contextlib.AsyncExitStack() as stack:
        lock = home.shard_lock_path(run_id, provider, number)
        stack.enter_context(ProcessLock(lock, attempt.name))
        known = await asyncio.to_thread(_known, home, attempt)
        spec = spec_of(dict(record.spec), f"the spec of run {run_id}")
        until = None if record.budget is None else record.budget.until
        record = replace(record, budget=replace(attempt.allowance, until=until))
        record = replace(
            record,
            books=(_books_at_least(known, totals),),
            simulated=record.simulated or (known is not None and known.simulated),
        )
        run: OpenRun | None = None
        try:
            journal = await stack.enter_async_context(
                Journal(
                    home.shard_journal_path(run_id, provider, number),
                    run_id,
                    record.budget or Budget(),
                    spec.prices,
                )
            )
            await parts.restore(journal, home, [provider], books.numbers)
            before = [] if known is None else [known.books]
            was_at_work = known is not None and known.status is ShardStatus.WORKING
            await journal.catch_up(spent_before(before), unsaved_calls(before, was_at_work=was_at_work))
            tallies = await journal.tallies()
            record = replace(
                record, books=(books_of(totals.providers[provider].balance, tallies.get(provider, Tally())),)
            )
            await asyncio.to_thread(check_wanted, home, run_id)
            is_simulated = are_simulated([*await asyncio.to_thread(run_record.list_runs, home), record])
            record = replace(record, simulated=is_simulated is True)
            run = await stack.enter_async_context(
                equipped(home, spec, record, totals, journal, tallies, books, is_simulated=is_simulated)
            )
            books.lane = run.lines[provider].lane
            await run.check_budget()
            await run.save(RunStatus.RUNNING)
            yield ShardWork(run, books)
        except BaseException as error:
            if run is not None:
                await close_books(run, error)
            else:
                await _note_end(home, record, books, error)
            raise


async def _note_end(home: Home, record: RunRecord, books: ShardBooks, error: BaseException) -> None:
    """The shard could not be opened: its record says why."""
    status, reason = end_of(error)
    now = datetime.now(UTC)
    with contextlib.suppress(UsageError, Stopped):
        books.check()
        ended = replace(record, status=status, stop_reason=reason, updated_at=now, ended_at=now)
        await asyncio.to_thread(books.save, home, ended)


def _totals_of(home: Home, record: RunRecord, attempt: ShardAttempt) -> PlanTotals:
    """The plan of a run that asks this shard alone, its file here to be read."""
    folder = f"plans/run={record.run_id}"
    if record.kind is not RunKind.BACKFILL:
        raise UsageError(f"run {record.run_id} is no backfill: one process works on all its shards")
    if record.status.is_over:
        raise UsageError(f"run {record.run_id} is {record.status}: nothing of it is left to do")
    home.refresh(f"{folder}/{SECOND_PLAN_FILE}")
    planned = read_totals(home, record.run_id).providers.get(attempt.provider)
    shards = () if planned is None else planned.shards
    found = [each for each in shards if each.number == attempt.number]
    if planned is None or not found:
        raise UsageError(f"{attempt.name} is not in its plan")
    if planned.handed_over:
        raise UsageError(f"{attempt.name}: its open questions were handed over to the other provider")
    (shard,) = found
    home.refresh(shard_path(home.path(folder), shard).relative_to(home.root).as_posix())
    return PlanTotals(
        {
            shard.provider: ProviderTotals(
                provider=shard.provider,
                listed=shard.questions,
                skipped={},
                asked=shard.questions,
                copies=0,
                bytes_to_fetch=0,
                shards=(shard,),
            )
        }
    )


def _known(home: Home, attempt: ShardAttempt) -> ShardRecord | None:
    """What the shard's record says of the attempts before.

    Raises:
        UsageError: it is done, or a later attempt has been at it.
    """
    known = shard_record.load(home, attempt.run_id, attempt.provider, attempt.number)
    if known is not None and known.status is ShardStatus.DONE:
        raise UsageError(f"{attempt.name} is done: nothing of it is left to do")
    if known is not None and known.attempt > attempt.attempt:
        raise UsageError(
            f"{attempt.name} was given to {known.worker} since (attempt {known.attempt}): attempt "
            f"{attempt.attempt} comes too late"
        )
    return known


def _books_at_least(known: ShardRecord | None, totals: PlanTotals) -> ProviderBooks:
    """The shard's books while no journal is open: its record's, with the calls that may lack."""
    if known is None:
        (planned,) = totals.providers.values()
        return books_of(planned.balance, Tally())
    unsaved = unsaved_calls([known.books], was_at_work=known.status is ShardStatus.WORKING)
    more = unsaved.get(known.provider, 0)
    return replace(known.books, calls=known.books.calls + more, charged=known.books.charged + more)
