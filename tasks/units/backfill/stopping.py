"""Pause and abandon a backfill, from any machine that sees its home; no Prefect server is needed."""

import asyncio
import contextlib
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.errors import HomeBusy, UsageError
from domain.runs import RunKind, RunStatus, ShardStatus, Wanted
from tasks.records import control, parts, run_record, shard_record
from tasks.records.balance import Tally, as_planned
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.lock import ProcessLock, RunLock, worker_of
from tasks.records.part_numbers import numbers_of_shard
from tasks.records.run_record import RunRecord, books_of
from tasks.records.shard_record import ShardRecord
from tasks.settings import spec_of
from tasks.units.backfill.books import summed
from tasks.units.spending import who
from tasks.units.stages import read_totals

LOOK_EVERY_S = 2.0
STOPS_WITHIN_S = 90.0
"""A worker looks every 10 s, lets calls on the way come home, and publishes what it has."""

COORDINATOR_STALE_AFTER = timedelta(minutes=1)
"""It writes the run's record every 15 s."""


async def want(home: Home, run_id: str | None, wanted: Wanted, by: str | None = None) -> RunRecord:
    """From now on this is wanted of an unfinished backfill, the newest where none is named.

    Its workers and its coordinator hear it within seconds.

    Raises:
        UsageError: no such run, it is no backfill, it is over, or it is being given up.
    """
    record = await asyncio.to_thread(_unfinished, home, run_id)
    before = (await asyncio.to_thread(control.load, home, record.run_id)).wanted
    if before is Wanted.CANCEL and wanted is not Wanted.CANCEL:
        raise UsageError(f"run {record.run_id} is being given up: it cannot be paused or resumed any more")
    said = Control(wanted, datetime.now(UTC), by or who())
    await asyncio.to_thread(control.save, home, record.run_id, said)
    return record


async def pause_if_begun(home: Home, run_id: str | None, by: str) -> None:
    """Pause an unfinished backfill, the newest where none is named; nothing where there is none."""
    with contextlib.suppress(UsageError):
        await want(home, run_id, Wanted.PAUSE, by)


async def stopped(home: Home, run_id: str, within_s: float = STOPS_WITHIN_S) -> list[ShardRecord]:
    """Wait until no shard is worked on; those that still are when the time is over.

    A worker that was killed never says that it stopped: it counts as stopped when its record is stale, and
    on this machine at once.
    """
    give_up_at = time.monotonic() + within_s
    while True:
        shards = await asyncio.to_thread(shard_record.list_shards, home, run_id)
        at_work = [each for each in shards if _is_at_work(home, each)]
        if not at_work or time.monotonic() >= give_up_at:
            return at_work
        await asyncio.sleep(LOOK_EVERY_S)


async def give_up(home: Home, run_id: str, within_s: float = STOPS_WITHIN_S) -> RunRecord:
    """Cancel an unfinished backfill: all are asked to stop and waited for, then its books are closed.

    What the shards settled is published, as far as their journals are here; the pending questions belong to
    later runs. Its coordinator closes the books where one is at work.

    Raises:
        UsageError: no such run, it is no backfill, or it is over.
        HomeBusy: somebody is still at work when the time is over; names them. To be tried again.
    """
    give_up_at = time.monotonic() + within_s
    await want(home, run_id, Wanted.CANCEL)
    if at_work := await stopped(home, run_id, within_s):
        raise HomeBusy(
            f"run {run_id} is being given up, but {still_at_work(at_work)}: wait, then abandon it again"
        )
    while True:
        record = await asyncio.to_thread(run_record.load, home, run_id)
        if record.status.is_over:
            return record
        is_coordinated = record.status is RunStatus.RUNNING and (
            datetime.now(UTC) - record.updated_at < COORDINATOR_STALE_AFTER
        )
        if not is_coordinated or time.monotonic() >= give_up_at:
            return await _close(home, record)
        await asyncio.sleep(LOOK_EVERY_S)


def still_at_work(shards: list[ShardRecord]) -> str:
    """Who is at work, for people."""
    first = shards[0]
    others = f" and {len(shards) - 1:,} more" if len(shards) > 1 else ""
    return (
        f"{first.worker} still works on shard {first.number} of {first.provider}{others} "
        f"(last heard of at {first.updated_at:%H:%M:%S} UTC)"
    )


def _is_at_work(home: Home, record: ShardRecord) -> bool:
    if record.status is not ShardStatus.WORKING or record.is_stale(datetime.now(UTC)):
        return False
    lock = home.shard_lock_path(record.run_id, record.provider, record.number)
    return not _is_of_this_machine(record) or worker_of(lock) is not None


def _is_of_this_machine(record: ShardRecord) -> bool:
    return record.worker.endswith(f" on {socket.gethostname()}")


async def _close(home: Home, record: RunRecord) -> RunRecord:
    run_id = record.run_id
    with RunLock(home.lock_path(run_id), run_id):  # HomeBusy: its coordinator is on this machine
        shards = await asyncio.to_thread(shard_record.list_shards, home, run_id)
        shards = [await _left_over_published(home, each) for each in shards]
        await asyncio.to_thread(home.refresh, f"plans/run={run_id}")
        totals = read_totals(home, run_id)
        now = datetime.now(UTC)
        books = summed(spec_of(dict(record.spec), f"the spec of run {run_id}"), totals, shards, now)
        books = tuple(replace(each, balance=as_planned(each.balance)) for each in books)
        record = replace(record, status=RunStatus.ABANDONED, updated_at=now, ended_at=now, books=books)
        await asyncio.to_thread(run_record.save, home, record)
    return record


async def _left_over_published(home: Home, record: ShardRecord) -> ShardRecord:
    """What a shard settled on this machine and could not publish any more is published; its record then.

    Another machine's journal is there, not here; and where the shard went on elsewhere since, ours is old.
    """
    path = home.shard_journal_path(record.run_id, record.provider, record.number)
    if record.status is ShardStatus.DONE or not (_is_of_this_machine(record) and path.exists()):
        return record
    lock = home.shard_lock_path(record.run_id, record.provider, record.number)
    with ProcessLock(lock, f"shard {record.number} of {record.provider}"):
        async with Journal(path, record.run_id) as journal:
            numbers = numbers_of_shard(record.number, record.attempt)
            await parts.restore(journal, home, [record.provider], numbers)
            await parts.publish(journal, home, record.provider, numbers=numbers)
            tally = (await journal.tallies()).get(record.provider, Tally())
        now = datetime.now(UTC)
        record = replace(
            record,
            status=ShardStatus.INTERRUPTED,
            updated_at=now,
            ended_at=now,
            share_per_s=None,
            books=books_of(record.books.balance, tally),
            stop_reason="the run was given up",
        )
        await asyncio.to_thread(shard_record.save, home, record)
    return record


def _unfinished(home: Home, run_id: str | None) -> RunRecord:
    if run_id is None:
        runs = [each for each in run_record.list_runs(home) if each.kind is RunKind.BACKFILL]
        unfinished = [each for each in runs if not each.status.is_over]
        if not unfinished:
            raise UsageError(f"{home.root} has no unfinished backfill")
        return unfinished[-1]
    record = run_record.load(home, run_id)
    if record.kind is not RunKind.BACKFILL:
        raise UsageError(f"run {run_id} is no backfill: Ctrl-C or SIGTERM stops the process that works on it")
    if record.status.is_over:
        raise UsageError(f"run {run_id} is {record.status}: nothing of it is left to stop")
    return record
