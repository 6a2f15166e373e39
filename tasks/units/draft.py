"""Drafts: list and plan where no reader looks; then adopt the plan as a run, or throw it away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from domain.errors import UsageError
from domain.objects import Store
from domain.runs import Progress, RunKind, RunStatus, new_run_id
from domain.verdicts import Outcome
from tasks.buckets.bucket import parse_location
from tasks.buckets.inventory import InventoryTotals
from tasks.candidates import (
    Allocation,
    Coverage,
    Estimate,
    PlanTotals,
    Selection,
    Strata,
    coverage,
    estimate,
    plan,
    plan_again,
)
from tasks.candidates.selection import DEFAULT_INCLUDE
from tasks.records import run_record
from tasks.records.balance import Tally
from tasks.records.home import Home, written_to
from tasks.records.lock import ProcessLock, RunLock
from tasks.records.run_record import RunRecord, books_of
from tasks.settings import Spec, spec_of
from tasks.units.opening import versions
from tasks.units.origin import refuse_to_mix
from tasks.units.sources import list_source
from tasks.units.spending import with_budget
from tasks.units.stages import PLAN_FILE, second_of, shard_sizes, strategy_of, with_verdicts
from tasks.units.watching import tell


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that has asked nobody yet."""

    home: Home
    spec: Spec
    run_id: str
    folder: Path  # staged: listing/ and plan/
    totals: PlanTotals
    estimates: tuple[Estimate, ...]
    coverages: tuple[Coverage, ...] = ()  # one for each bound of the budget
    retry_of: str | None = None
    reask: str | None = None  # why what has a final verdict already is asked again
    inventory: InventoryTotals | None = None  # where the rows went of the one it was made from
    kind: RunKind = RunKind.AUDIT


Approve = Callable[[Draft], Awaitable[bool]]

_approve: ContextVar[Approve | None] = ContextVar("approve", default=None)


@contextmanager
def approving(approve: Approve) -> Iterator[None]:
    """A flow inside the block asks `approve` before its draft becomes a run."""
    token = _approve.set(approve)
    try:
        yield
    finally:
        _approve.reset(token)


async def is_approved(draft: Draft) -> bool:
    """What whoever approves here says; yes where nobody has a say, as in a scheduled run."""
    approve = _approve.get()
    return approve is None or await approve(draft)


@asynccontextmanager
async def draft_audit(
    home: Home,
    spec: Spec,
    run_id: str | None = None,
    limit: int | None = None,
    reask: str | None = None,
    *,
    only_to_look: bool = False,
    kind: RunKind = RunKind.AUDIT,
    shard_s: float | None = None,
) -> AsyncIterator[Draft]:
    """List the source and plan what to ask; thrown away at the end of the block unless adopted.

    With `reask`, a reason, earlier verdicts keep nothing from being asked. `shard_s` is what a shard takes at
    the cap, where it is not what an audit's does.

    Raises:
        UsageError: the source cannot be listed; `reask` gives no reason; the home's verdicts are simulated
            and these would be real; or, unless the plan is `only_to_look` at, another run of this home is
            unfinished.
        HomeBusy: another process works on such a run.
    """
    if kind is RunKind.BACKFILL:
        spec = _from_anywhere(spec)
    if reask is not None and not reask.strip():
        raise UsageError("reask: asking again is paid again: give the reason, for the run's record")
    source = spec.source
    selection = Selection(
        include=source.include or DEFAULT_INCLUDE,
        exclude=source.exclude,
        modified_after=source.modified_after,
        modified_before=source.modified_before,
        min_bytes=source.min_bytes,
        max_bytes=source.max_bytes,
        limit=limit,
        sample_share=source.sample_share,
        sample_size=source.sample_size,
        strata=_strata(spec),
    )
    records = await asyncio.to_thread(run_record.list_runs, home)
    if not only_to_look:
        await asyncio.to_thread(_check_finished, home, records, run_id)
    await refuse_to_mix(home, spec, records)
    with home.staging() as folder:
        with written_to(folder / "listing"):
            inventory = await list_source(source, folder)
        tell(Progress("planning"))
        listing = sorted((folder / "listing").glob("*.parquet"))
        second = second_of(spec)
        sizes = shard_sizes(spec, shard_s)
        sizes = {provider: size for provider, size in sizes.items() if provider is not second}
        with written_to(folder / "plan"):
            totals = await asyncio.to_thread(
                with_verdicts,
                home,
                lambda verdicts: plan(
                    listing,
                    verdicts,
                    sizes,
                    selection,
                    folder / "plan",
                    strategy_of(spec),
                    reask=reask is not None,
                ),
            )
        draft = _draft(home, spec, run_id, folder, totals, reask=reask)
        yield replace(draft, inventory=inventory, kind=kind)


@asynccontextmanager
async def draft_retry(home: Home, run_id: str, outcomes: Collection[Outcome]) -> AsyncIterator[Draft]:
    """Plan to ask again what ended so in an earlier run.

    Raises:
        UsageError: no such run, it is unfinished, its verdicts are simulated and these would be real, or an
            outcome is one that is never asked again.
    """
    record = await asyncio.to_thread(run_record.load, home, run_id)
    spec = spec_of(dict(record.spec), f"the spec of run {run_id}")
    records = await asyncio.to_thread(run_record.list_runs, home)
    await asyncio.to_thread(_check_finished, home, records, None)
    await refuse_to_mix(home, spec, records)
    with home.staging() as folder:
        tell(Progress("planning"))
        with written_to(folder / "plan"):
            totals = await asyncio.to_thread(
                with_verdicts,
                home,
                lambda verdicts: plan_again(
                    verdicts,
                    run_id,
                    outcomes,
                    shard_sizes(spec),
                    folder / "plan",
                    reask=record.reask is not None,
                ),
            )
        yield _draft(home, spec, None, folder, totals, retry_of=run_id, reask=record.reask)


def adopt(draft: Draft) -> RunRecord:
    """The draft becomes a run of its home, ready to be asked. Its record appears last: that is the start.

    Runs of a home begin one at a time, and only where no other one is unfinished by then.

    Raises:
        UsageError: another run of the home is unfinished.  HomeBusy: another process begins or works on one.
        HomeUnwritable: nothing was asked; names the path and why.
    """
    home, run_id = draft.home, draft.run_id
    with ProcessLock(home.beginning_lock_path, f"run {run_id}", "a run of this home is being begun"):
        _check_finished(home, run_record.list_runs(home), run_id)
        _clear_leftovers(home, run_id)
        return _adopt(draft)


def _adopt(draft: Draft) -> RunRecord:
    home, run_id = draft.home, draft.run_id
    if (draft.folder / "listing").exists():
        home.adopt(draft.folder / "listing", f"listings/run={run_id}")
    home.adopt(draft.folder / "plan", f"plans/run={run_id}")
    home.write_json(f"plans/run={run_id}/{PLAN_FILE}", draft.totals.to_json())
    spec, spec_sha256 = run_record.clean_spec(draft.spec.as_json())
    now = datetime.now(UTC)
    record = RunRecord(
        run_id=run_id,
        audit=draft.spec.audit.name,
        status=RunStatus.PLANNED,
        spec=spec,
        spec_sha256=spec_sha256,
        versions=versions(),
        started_at=now,
        updated_at=now,
        books=tuple(books_of(each.balance, Tally()) for each in draft.totals.providers.values()),
        processing_record=dict(draft.spec.processing_record) or None,
        retry_of=draft.retry_of,
        reask=draft.reask,
        kind=draft.kind,
    )
    record = with_budget(record, draft.spec.budget.bounds)
    run_record.save(home, record)
    return record


def _draft(
    home: Home,
    spec: Spec,
    run_id: str | None,
    folder: Path,
    totals: PlanTotals,
    *,
    retry_of: str | None = None,
    reask: str | None = None,
) -> Draft:
    now = datetime.now(UTC)
    estimates = tuple(
        estimate(totals.providers[provider], table.qps, now, table.price_per_call)
        for provider, table in spec.asked.items()
        if provider in totals.providers
    )
    return Draft(
        home=home,
        spec=spec,
        run_id=run_id or new_run_id(now),
        folder=folder,
        totals=totals,
        estimates=estimates,
        coverages=coverage(spec.budget.bounds, estimates, now),
        retry_of=retry_of,
        reask=reask,
    )


def _strata(spec: Spec) -> Strata | None:
    if spec.source.strata is None:
        return None
    top = parse_location(spec.source.url).prefix
    return Strata(
        depth=spec.source.strata_depth,
        top=top[: top.rfind("/") + 1],  # of "selfies/2024-" the folders are those below "selfies/"
        allocation=Allocation(spec.source.allocation or Allocation.PROPORTIONAL),
    )


def _from_anywhere(spec: Spec) -> Spec:
    """The spec with a source that is a folder named in full: workers start elsewhere."""
    location = parse_location(spec.source.url)
    if location.store is not Store.LOCAL:
        return spec
    return spec.model_copy(update={"source": spec.source.model_copy(update={"url": location.bucket})})


def _clear_leftovers(home: Home, run_id: str) -> None:
    """A run of this id that was killed before its record stood is as if it had never been.

    Raises:
        UsageError: somebody asked by that run's plan: it did have a record.
    """
    if home.journal_path(run_id).exists() or home.paths(f"verdicts/provider=*/run={run_id}/*"):
        raise UsageError(
            f"{home.path(f'runs/{run_id}.json')} is gone, but run {run_id} was worked on: "
            "put it back from a copy, or choose another id"
        )
    for relative in (f"listings/run={run_id}", f"plans/run={run_id}"):
        home.discard(relative)


def _check_finished(home: Home, records: Iterable[RunRecord], run_id: str | None) -> None:
    """Two unfinished runs of one home could pay for the same question twice."""
    for record in records:
        if record.run_id == run_id:
            how = "choose another id"
            if not record.status.is_over:
                how = f"go on with it by `facesweep resume`, or {how}"
            raise UsageError(f"run {run_id} exists already in {home.root}: {how}")
        if not record.status.gives_way:
            if home.lock_path(record.run_id).exists():
                with RunLock(home.lock_path(record.run_id), record.run_id):
                    pass  # nobody works on it: it is left over
            raise UsageError(
                f"run {record.run_id} of {home.root} is unfinished ({record.status}): finish it first with "
                f"`facesweep resume`, or give it up with `facesweep abandon`"
            )
