"""From a home to a backfill that is coordinated, and from that to closed books."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from domain.budgets import Budget
from domain.errors import (
    BudgetSpent,
    Denied,
    FacesweepError,
    ServerAway,
    Stopped,
    StoreDenied,
    Tripped,
    UsageError,
)
from domain.runs import Progress, RunKind, RunStatus, Wanted
from tasks.records import control, run_record
from tasks.records.balance import explain
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.records.lock import RunLock
from tasks.records.run_record import RunRecord
from tasks.settings import spec_of
from tasks.units.backfill import ledger
from tasks.units.backfill.claims import run_claim
from tasks.units.backfill.coordinator import ClaimLost, Coordinator, gives_way
from tasks.units.backfill.decisions import UNBOUNDED, End
from tasks.units.backfill.dispatch import open_dispatcher
from tasks.units.backfill.ledger import Ledger, Terms
from tasks.units.leases import ASK_AGAIN_S, held
from tasks.units.limits import LimitServer, connect
from tasks.units.spending import (
    changed_budget,
    check_given,
    check_newest,
    how_to_go_on,
    spending_of,
    who,
    with_budget,
)
from tasks.units.stages import is_second_due, read_totals, write_second_plan
from tasks.units.watching import stop_requested, tell

COME_BACK_S = 10.0
"""How long a coordinator that lost its server waits before it looks again."""

AWAY = (ClaimLost, ServerAway)
"""What a coordinator that has begun outlives: its claim, and all it knows, is taken up again."""

CLAIM_WITHIN_S = 90.0
"""How long to wait for the claim of a coordinator that was killed: its lease lapses after 74 s at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """A home as the flow `shard` takes it: the same from every machine."""

    home_url: str
    home_endpoint_url: str | None = None
    home_region: str | None = None

    def of(self, home: Home) -> "Place":
        """The same, with a folder's whole path: a worker starts somewhere else."""
        return self if home.is_in_bucket else replace(self, home_url=str(home.root.resolve()))


@asynccontextmanager
async def coordinating(
    home: Home,
    run_id: str,
    place: Place,
    given: Budget = UNBOUNDED,
    terms: Terms | None = None,
    flow_run_id: UUID | None = None,
) -> AsyncIterator[Coordinator]:
    """An unfinished backfill, with nobody else coordinating it inside the block.

    `given` are the bounds of its budget that change from now on, `terms` how it is worked on where that is
    not as it was; `flow_run_id` is our own: whoever cancels it pauses the backfill.

    Raises:
        UsageError: no such run, it is no backfill, nothing of it is left to do, it is being given up, what is
            given is no larger budget, or no deployment takes its shards.
        HomeBusy: another process coordinates it.
        ServerAway: Prefect's server gives no reply.
    """
    record = await asyncio.to_thread(_unfinished, home, run_id)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(RunLock(home.lock_path(run_id), run_id))
        promised = await asyncio.to_thread(ledger.load, home, run_id) or Ledger(terms or Terms(), {})
        promised = replace(promised, terms=terms or promised.terms)
        dispatcher = await stack.enter_async_context(open_dispatcher(promised.terms, run_id, record.audit))
        limits = await stack.enter_async_context(connect())
        await _ensured(limits, run_claim(run_id))
        tell(Progress("taking the backfill over"))
        claim = await stack.enter_async_context(held(run_claim(run_id), wait_s=CLAIM_WITHIN_S))
        record = await asyncio.to_thread(_unfinished, home, run_id)
        spec = spec_of(dict(record.spec), f"the spec of run {run_id}")
        was_closed = record.status not in (RunStatus.PLANNED, RunStatus.RUNNING)
        record = with_budget(record, changed_budget(record, spec, given))
        await asyncio.to_thread(home.refresh, f"plans/run={run_id}")
        totals = read_totals(home, run_id)
        work = Coordinator(
            home,
            spec,
            record,
            totals,
            promised,
            dispatcher,
            limits,
            claim,
            asdict(place.of(home)),
            flow_run_id,
        )
        await work.begin()
        if spending := spending_of(work.counted(record)):
            check_given(given, spending, datetime.now(UTC))
        if given != UNBOUNDED:
            await work.check_budget()
        if was_closed:
            await work.close_attempts()
        said = Control(Wanted.RUN, datetime.now(UTC), who())
        await asyncio.to_thread(control.save, home, run_id, said)
        await work.save(RunStatus.RUNNING)
        yield work


async def came_back() -> bool:
    """Wait a moment for Prefect's server; false where somebody wants this process to end meanwhile."""
    tell(Progress("waiting for Prefect's server: shards at work go on"))
    try:
        async with asyncio.timeout(COME_BACK_S):
            await stop_requested()
    except TimeoutError:
        return True
    return False


async def ask_shards(work: Coordinator) -> End | None:
    """Until every shard planned so far is done or the backfill ends before; None where they are done.

    Where the strategy is `failover`, a first provider that refuses its account, or of whose questions most
    fail, is no end: the second one takes over what is left.

    Raises:
        Stopped, ClaimLost: as `Coordinator.work`.
    """
    is_first = work.spec.strategy.kind == "failover" and is_second_due(work.spec, work.totals, work.record)
    end = await work.work(is_first=is_first)
    if end is not None and is_first and gives_way(end):
        work.record = replace(work.record, handed_over=end.reason)
        return None
    return end


async def plan_second(work: Coordinator) -> bool:
    """Plan what the second provider is asked, where the strategy lets it wait; whether it has questions.

    Raises:
        HomeUnwritable: nothing was asked; names the path and why.
    """
    if not is_second_due(work.spec, work.totals, work.record):
        return False
    tell(work.progress("planning"))
    (first,) = work.totals.providers.values()
    record = await work.save(RunStatus.RUNNING)
    pending = record.books[0].balance.pending
    work.totals = await asyncio.to_thread(
        write_second_plan, work.home, work.spec, record, first, pending, work.shard_s
    )
    return bool(list(work.totals.providers.values())[-1].shards)


async def close(work: Coordinator, end: End | None) -> RunRecord:
    """The books are closed: done, or with the reason why not.

    Raises:
        Denied, StoreDenied, BudgetSpent, Tripped, Stopped: what ended it before its questions.
        FacesweepError: shards broke, or the books do not balance, or questions are pending.
    """
    if end is not None:
        await work.save(end.status, end.reason)
        raise _error(work.record, end)
    record = await work.save(RunStatus.RUNNING)
    for books in record.books:
        if not books.balance.is_balanced or books.balance.pending:
            reason = f"the books do not balance: {'; '.join(explain(books.balance))}"
            await work.save(RunStatus.BROKEN, reason)
            raise FacesweepError(reason)
    await work.let_go()
    return await work.save(RunStatus.DONE)


async def _ensured(limits: LimitServer, name: str) -> None:
    """The limit is there. A server that has just answered and is slow now is asked again for a while."""
    give_up_at = time.monotonic() + CLAIM_WITHIN_S
    while True:
        try:
            await limits.ensure(name, 1)
        except ServerAway:
            if time.monotonic() >= give_up_at:
                raise
        else:
            return
        await asyncio.sleep(ASK_AGAIN_S)


def _error(record: RunRecord, end: End) -> FacesweepError:
    """The end as whoever called for the run is told it."""
    match end.status:
        case RunStatus.DENIED:
            error: FacesweepError = _refusal(end)
        case RunStatus.OUT_OF_BUDGET:
            error = how_to_go_on(BudgetSpent(end.limit or "calls", end.reason), record)
        case RunStatus.TRIPPED:
            error = Tripped(end.reason)
        case RunStatus.INTERRUPTED:
            error = Stopped(f"{end.reason}: what has an answer is safe; `facesweep resume` goes on")
        case RunStatus.ABANDONED:
            error = Stopped(f"run {record.run_id} is {end.reason}; what it settled is published")
        case _:
            error = FacesweepError(end.reason)
    return error


def _refusal(end: End) -> Denied | StoreDenied:
    """Who refused, from the sentence in a shard's record: a provider with its code, or else the store."""
    who_refuses, _, said = end.reason.partition(" ")
    code, colon, message = said.partition(": ")
    if end.provider is not None and who_refuses == end.provider and colon:
        return Denied(end.provider, code, message)
    return StoreDenied(end.reason)


def _unfinished(home: Home, run_id: str) -> RunRecord:
    record = run_record.load(home, run_id)
    if record.kind is not RunKind.BACKFILL:
        raise UsageError(f"run {run_id} is no backfill: `facesweep resume` goes on with it on one machine")
    if record.status.is_over:
        raise UsageError(f"run {run_id} is {record.status}: nothing of it is left to do")
    if record.status is RunStatus.OUT_OF_BUDGET:
        check_newest(record, run_record.list_runs(home))
    if control.load(home, run_id).wanted is Wanted.CANCEL:
        raise UsageError(
            f"run {run_id} is being given up: `facesweep abandon {home.root} --run-id {run_id}` finishes that"
        )
    return record


def is_begun(home: Home, run_id: str) -> bool:
    """Whether the home has a run of that id, which `coordinating` goes on with."""
    return any(each.run_id == run_id for each in run_record.list_runs(home))
