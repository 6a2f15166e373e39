"""The books of one shard: its record, its parts' numbers, and what hangs on its claim."""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from domain.budgets import Budget
from domain.errors import Stopped, UsageError
from domain.runs import RunStatus, ShardStatus, Wanted
from domain.verdicts import Provider
from tasks.pacing.lane import Lane
from tasks.pacing.shares import Priority
from tasks.records import control, shard_record
from tasks.records.balance import as_planned
from tasks.records.home import Home
from tasks.records.part_numbers import numbers_of_shard
from tasks.records.run_record import RunRecord
from tasks.records.shard_record import ShardRecord
from tasks.units.bookkeeping import Bookkeeping
from tasks.units.run import OpenRun

PUBLISH_EVERY_S = 60.0
"""What a machine that is lost takes with it: the answers of so long, and the calls on the way."""


class Claim(Protocol):
    """The right to work on a shard, as `leases.held` gives it; whoever has it is the only one."""

    lost: asyncio.Event

    @property
    def is_held(self) -> bool:
        """Whether it is ours at this moment."""


@dataclass(frozen=True, slots=True)
class ShardAttempt:
    """What one process is to do: a shard, for the how-manieth time, and what it may spend.

    The allowance is cumulative: calls and money over the shard's whole life, all attempts.
    """

    run_id: str
    provider: Provider
    number: int
    attempt: int  # 1, 2, …: greater than that of any process that worked on it before
    allowance: Budget

    @property
    def name(self) -> str:
        """As the subject of a sentence."""
        return f"shard {self.number} of {self.provider} in run {self.run_id}"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a worker does what it does while it asks, in seconds."""

    publish_every_s: float = PUBLISH_EVERY_S
    look_every_s: float = control.LOOK_EVERY_S


USUAL = Rhythm()


class ShardBooks(Bookkeeping):
    """Of one shard: its record is the shard's, its parts have the shard's numbers; all hangs on a claim."""

    priority = Priority.BACKFILL

    def __init__(self, attempt: ShardAttempt, claim: Claim, rhythm: Rhythm) -> None:
        self.numbers = numbers_of_shard(attempt.number, attempt.attempt)
        self.saved: ShardRecord | None = None  # as it stands in the home by our doing
        self.lane: Lane | None = None  # once it is open
        self._attempt, self._claim, self._rhythm = attempt, claim, rhythm
        self._started_at = datetime.now(UTC)

    def check(self) -> None:
        """Raises Stopped: the claim is lost, and the shard may be somebody else's."""
        if self._claim.lost.is_set() or not self._claim.is_held:
            raise self._lost()

    def leases_path(self, home: Home, run_id: str, provider: Provider) -> Path:
        """The file of the leases of whoever works on the shard, on this machine."""
        journal = home.shard_journal_path(run_id, provider, self._attempt.number)
        return journal.with_suffix(".leases.json")

    def save(self, home: Home, record: RunRecord) -> None:
        """The shard's record says what that of a run of this one shard would say."""
        (books,) = record.books
        is_working = record.status is RunStatus.RUNNING
        status = ShardStatus.WORKING if is_working else ShardStatus(record.status)
        self.saved = ShardRecord(
            run_id=record.run_id,
            provider=self._attempt.provider,
            number=self._attempt.number,
            status=status,
            attempt=self._attempt.attempt,
            worker=f"process {os.getpid()} on {socket.gethostname()}",
            started_at=self._started_at,
            updated_at=record.updated_at,
            ended_at=record.ended_at,
            books=replace(books, balance=as_planned(books.balance)),  # a larger allowance may come
            share_per_s=self.lane.share_per_s if self.lane is not None and is_working else None,
            simulated=record.simulated,
            stop_reason=record.stop_reason,
        )
        shard_record.save(home, self.saved)

    async def attend(self, run: OpenRun) -> None:
        """A lost claim and a pause end the work; what is settled is published now and then."""
        duties = (self._watch_claim(run), self._look_at_control(run), self._publish(run))
        try:
            async with asyncio.TaskGroup() as group:
                for duty in duties:
                    group.create_task(duty)
        except ExceptionGroup as troubles:  # what cannot be seen to must not go on unseen
            run.stop(troubles.exceptions[0])

    async def _watch_claim(self, run: OpenRun) -> None:
        await self._claim.lost.wait()
        run.stop(self._lost())

    async def _look_at_control(self, run: OpenRun) -> None:
        while True:
            await asyncio.sleep(self._rhythm.look_every_s)
            try:
                await asyncio.to_thread(check_wanted, run.home, run.run_id)
            except Stopped as end:
                run.stop(end)
            except UsageError:  # out of reach: whoever wants us to stop waits
                pass

    async def _publish(self, run: OpenRun) -> None:
        while True:
            await asyncio.sleep(self._rhythm.publish_every_s)
            with contextlib.suppress(Stopped):  # the claim is lost, which is seen to elsewhere
                await run.publish_if_possible(self._attempt.provider)

    def _lost(self) -> Stopped:
        return Stopped(f"the claim of {self._attempt.name} is lost: another process may work on it")


def check_wanted(home: Home, run_id: str) -> None:
    """Return while the run's shards are to be worked on.

    Raises:
        Stopped: they are not, just now or for good.
        UsageError: the run's control cannot be read; names the file.
    """
    said = control.load(home, run_id)
    by = f" by {said.by}" if said.by else ""
    if said.wanted is Wanted.PAUSE:
        raise Stopped(f"run {run_id} was paused{by}")
    if said.wanted is Wanted.CANCEL:
        raise Stopped(f"run {run_id} was cancelled{by}")
