"""The coordinator: look, decide, write down, act; again until it is over. `decisions` says what to do."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from domain.errors import HomeBusy, ServerAway, Stopped, UsageError
from domain.runs import Progress, RunStatus, Shard, ShardCounts, Wanted
from tasks.candidates import PlanTotals
from tasks.records import control, run_record
from tasks.records.balance import over_budget
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.records.run_record import RunRecord
from tasks.settings import Spec
from tasks.units.backfill import ledger
from tasks.units.backfill.books import progress_of, summed
from tasks.units.backfill.decisions import UNBOUNDED, Circumstances, End, Turn, committed, decide, is_too_much
from tasks.units.backfill.dispatch import Dispatcher
from tasks.units.backfill.ledger import Assignment, Ledger, key_of
from tasks.units.backfill.lookout import Lookout
from tasks.units.backfill.sights import Fate, Sight
from tasks.units.leases import Claim
from tasks.units.limits import LimitServer
from tasks.units.opening import versions
from tasks.units.spending import spending_of
from tasks.units.watching import stop_requested, tell

LOOK_EVERY_S = 2.0
"""At Prefect: one request for all flow runs and one for all claims, some 20 ms of the server's time."""

READ_EVERY_S = 10.0
"""In the home: one request for each shard at work, which writes its record every 15 s."""

SAVE_EVERY_S = 15.0


class ClaimLost(HomeBusy):
    """Prefect's server did not hear from this coordinator, or did not answer it, for a lease's time."""


class Coordinator:
    """A backfill that is being coordinated. Made by `coordinating`; belongs to one event loop."""

    def __init__(
        self,
        home: Home,
        spec: Spec,
        record: RunRecord,
        totals: PlanTotals,
        promised: Ledger,
        dispatcher: Dispatcher,
        limits: LimitServer,
        claim: Claim,
        place: Mapping[str, str | None],
        flow_run_id: UUID | None = None,
    ) -> None:
        """`place`: where the home is, in the words of the flow `shard`; `flow_run_id`: our own flow run's."""
        self.home, self.spec, self.record, self.totals = home, spec, record, totals
        self._ledger = promised
        self._dispatcher, self._limits, self._claim = dispatcher, limits, claim
        self._place, self._flow_run_id = place, flow_run_id
        self._control = Control(Wanted.RUN)
        self._lookout = Lookout(home, record.run_id, dispatcher, limits)
        self._counts = ShardCounts(0, 0, 0, 0)
        self._trouble: str | None = None
        self._is_due = False
        self._read_at = self._saved_at = -READ_EVERY_S

    @property
    def shards(self) -> list[Shard]:
        """Whose questions are asked: not those of a provider whose open ones another one took over."""
        return [
            shard
            for totals in self.totals.providers.values()
            if not totals.handed_over
            for shard in totals.shards
        ]

    @property
    def shard_s(self) -> float:
        """What a shard takes at the cap."""
        return self._ledger.terms.shard_s

    def counted(self, record: RunRecord) -> RunRecord:
        """The record with the books as the shards have them."""
        books = summed(self.spec, self.totals, self._lookout.records.values(), datetime.now(UTC))
        return replace(record, books=books)

    def progress(self, phase: str = "asking") -> Progress:
        """Where the backfill stands."""
        record = self.counted(self.record)
        progress = progress_of(phase, record.books, self._counts, self._trouble)
        return replace(progress, spending=spending_of(record))

    async def begin(self) -> None:
        """Read what the shards said so far.

        Raises:
            UsageError: a record is damaged; names the file.
        """
        await self._lookout.begin()

    async def check_budget(self) -> None:
        """What the shards hold fits into the budget, which somebody may have changed.

        Raises:
            UsageError: it does not: shards are at work with larger allowances, or without any.
        """
        sights = await self._look()
        given = self._circumstances(None)
        unbounded = any(
            each.assignment and each.fate.is_in_flight and not each.is_bounded(given.budget)
            for each in sights
        )
        if unbounded or is_too_much(committed(sights, given), given.budget):
            raise UsageError(
                f"shards of run {self.record.run_id} may spend more than this budget: give more, or stop "
                f"them with `facesweep pause {self.home.root}` first, then resume with it"
            )

    async def work(self, *, is_first: bool) -> End | None:
        """Until every shard has its answers, or the end comes before that; None where all have them.

        `is_first`: another provider takes over what this one refuses, so that nobody is told to stop.

        Raises:
            Stopped: somebody wants this process to end; the shards go on without it.
            ClaimLost: another coordinator may take this run over.
        """
        end: End | None = None
        stopping = asyncio.ensure_future(stop_requested())
        losing = asyncio.ensure_future(self._claim.lost.wait())
        try:
            while True:
                turn = await self._turn(end, is_first)
                if turn is not None:
                    end = turn.end
                    if turn.is_over:
                        return end
                await self._save_now_and_then()
                await asyncio.wait(
                    (stopping, losing), timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                )
                if losing.done():
                    raise ClaimLost(f"the claim on run {self.record.run_id} could not be renewed in time")
                if stopping.done():
                    raise Stopped(self.farewell())
        finally:
            stopping.cancel()
            losing.cancel()

    def farewell(self) -> str:
        """What whoever ends the coordinator is told."""
        at_work = self._counts.working + self._counts.waiting
        return (
            f"{at_work:,} shards go on without a coordinator, and no further one is begun: `facesweep resume "
            f"{self.home.root}` comes back, `facesweep pause {self.home.root}` stops them"
        )

    async def save(self, status: RunStatus, stop_reason: str | None = None) -> RunRecord:
        """Write the run's record as the shards' records have it now."""
        now = datetime.now(UTC)
        books = self.counted(self.record).books
        if status is RunStatus.OUT_OF_BUDGET:
            books = tuple(replace(each, balance=over_budget(each.balance)) for each in books)
        self.record = replace(
            self.record,
            status=status,
            versions=versions(),
            updated_at=now,
            ended_at=None if status is RunStatus.RUNNING else now,
            books=books,
            simulated=self.record.simulated or any(each.simulated for each in self._lookout.records.values()),
            stop_reason=stop_reason,
        )
        await asyncio.to_thread(run_record.save, self.home, self.record)
        self._saved_at = time.monotonic()
        return self.record

    async def close_attempts(self) -> None:
        """How every attempt ended so far is dealt with: whoever resumes has mended the cause."""
        closed = [replace(each, is_closed=True, fruitless=0) for each in self._ledger.assignments.values()]
        await self._write_down(self._ledger.with_assignments(*closed))

    async def let_go(self) -> None:
        """No shard of the run is worked on any more."""
        await self._lookout.let_all_go(self.totals.shards)

    async def _turn(self, end: End | None, is_first: bool) -> Turn | None:
        """One look and what follows from it; None while something is out of reach."""
        try:
            await self._hear()
            sights = await self._look()
            turn = decide(sights, self._circumstances(end))
            waiting = turn.waiting + len(turn.submit)
            self._counts = ShardCounts(len(sights), turn.done, turn.working, waiting)
            if turn.end is not None and not (is_first and gives_way(turn.end)):
                await self._stop_shards(turn.end)
            await self._act(turn)
            await self._lookout.let_go(sights)
            self._trouble = await self._find_trouble(turn, sights)
        except ServerAway as away:
            self._trouble = f"{away}: shards at work go on, no further one is begun meanwhile"
            tell(self.progress())
            return None
        except UsageError as refusal:  # the home refuses just now: nothing was promised that is not written
            self._trouble = str(refusal)
            tell(self.progress())
            return None
        tell(self.progress("asking" if turn.end is None else f"stopping ({turn.end.reason})"))
        return turn

    async def _hear(self) -> None:
        """What people want, from the home and of our own flow run."""
        self._is_due = time.monotonic() >= self._read_at + READ_EVERY_S
        if not self._is_due:
            return
        self._read_at = time.monotonic()
        self._control = await asyncio.to_thread(control.load, self.home, self.record.run_id)
        ours = self._flow_run_id if self._control.wanted is Wanted.RUN else None
        if ours is not None and await self._dispatcher.is_cancelled(ours):
            await self._want(Wanted.PAUSE, "whoever cancelled its flow run")

    async def _look(self) -> list[Sight]:
        return await self._lookout.look(self.shards, self._ledger.assignments, at_records=self._is_due)

    async def _act(self, turn: Turn) -> None:
        for each in turn.lost:
            await self._dispatcher.declare_crashed(self._lookout.seen[key_of(each.shard)])
        for each in turn.recall:
            await self._dispatcher.recall(self._lookout.seen[key_of(each.shard)])
        if turn.submit:
            if not self._claim.is_held:
                raise ServerAway("this coordinator's claim could not be renewed")
            promised = self._ledger.with_assignments(*turn.submit)
            await self._write_down(promised)
            await asyncio.gather(*(self._submit(each) for each in turn.submit))

    async def _submit(self, assignment: Assignment) -> None:
        await self._limits.ensure(self._lookout.claim_of(assignment.shard), 1)
        await self._dispatcher.submit(assignment, self._place)

    async def _stop_shards(self, end: End) -> None:
        """Whoever works on a shard is to stop, unless that is what is wanted already."""
        run_id = self.record.run_id
        if self._control.wanted is Wanted.RUN:
            self._control = await asyncio.to_thread(control.load, self.home, run_id)
        if self._control.wanted is Wanted.RUN:
            await self._want(Wanted.PAUSE, f"its coordinator: {end.reason}")

    async def _want(self, wanted: Wanted, by: str) -> None:
        said = Control(wanted, datetime.now(UTC), by)
        await asyncio.to_thread(control.save, self.home, self.record.run_id, said)
        self._control = said

    async def _find_trouble(self, turn: Turn, sights: Iterable[Sight]) -> str | None:
        """What somebody should look at, in one sentence."""
        if turn.waiting and not turn.working and not await self._dispatcher.has_workers():
            return (
                f"no worker of pool {self._dispatcher.pool} is online: {turn.waiting:,} shards wait for one"
            )
        for sight in sights:
            record = sight.record
            if sight.fate is Fate.LAPSING and record is not None and record.is_stale(datetime.now(UTC)):
                return (
                    f"shard {sight.shard.number} of {sight.shard.provider} waits for its claim: "
                    f"{record.worker} holds it, and was last heard of at {record.updated_at:%H:%M:%S} UTC"
                )
        return None

    async def _save_now_and_then(self) -> None:
        if time.monotonic() >= self._saved_at + SAVE_EVERY_S:
            with contextlib.suppress(UsageError):  # the shards' records have what matters; it may heal
                await self.save(RunStatus.RUNNING)

    async def _write_down(self, promised: Ledger) -> None:
        """From here on it stands, also for a coordinator that comes after a kill -9."""
        await asyncio.to_thread(ledger.save, self.home, self.record.run_id, promised)
        self._ledger = promised

    def _circumstances(self, end: End | None) -> Circumstances:
        return Circumstances(
            datetime.now(UTC),
            self.record.budget or UNBOUNDED,
            self.spec.prices,
            self._control.wanted,
            self._control.by,
            self._ledger.terms.at_once,
            end,
        )


def gives_way(end: End) -> bool:
    """Whether another provider may take over what this end leaves."""
    return end.provider is not None
