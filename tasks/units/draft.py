"""Drafts: list and plan where no reader looks; then adopt the plan as a run, or throw it away."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from domain.errors import UsageError
from domain.objects import ObjectRef
from domain.runs import Progress, RunStatus, new_run_id
from domain.verdicts import Outcome, Provider
from tasks.buckets.bucket import parse_location
from tasks.buckets.listing import write_listing
from tasks.candidates import Estimate, PlanTotals, Selection, estimate, plan, plan_again
from tasks.candidates.selection import DEFAULT_INCLUDE
from tasks.records import run_record
from tasks.records.balance import Tally
from tasks.records.home import Home
from tasks.records.lock import RunLock
from tasks.records.parts_in_force import held_parts
from tasks.records.run_record import RunRecord, books_of
from tasks.settings import Spec
from tasks.units.opening import open_bucket, versions
from tasks.units.watching import tell

SHARD_S = 600.0
"""What a shard takes at the cap: long beside a task's overhead, short beside what a lost machine may cost."""

LEAST_SHARD = 100

PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that has asked nobody yet."""

    home: Home
    spec: Spec
    run_id: str
    folder: Path  # staged: listing/ and plan/
    totals: PlanTotals
    estimates: tuple[Estimate, ...]
    retry_of: str | None = None


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
    *,
    only_to_look: bool = False,
) -> AsyncIterator[Draft]:
    """List the source and plan what to ask; thrown away at the end of the block unless adopted.

    Raises:
        UsageError: the source cannot be listed; or, unless the plan is `only_to_look` at, another run of
            this home is unfinished.
        HomeBusy: another process works on such a run.
    """
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
    )
    if not only_to_look:
        await asyncio.to_thread(_check_finished, home, run_id)
    with home.staging() as folder:
        bucket = open_bucket(parse_location(source.url), source.endpoint_url, source.region)
        await asyncio.to_thread(write_listing, _told(bucket.list_batches()), folder / "listing")
        tell(Progress("planning"))
        listing = sorted((folder / "listing").glob("*.parquet"))
        totals = await asyncio.to_thread(
            _with_verdicts,
            home,
            lambda verdicts: plan(listing, verdicts, _shard_sizes(spec), selection, folder / "plan"),
        )
        yield _draft(home, spec, run_id, folder, totals)


@asynccontextmanager
async def draft_retry(home: Home, run_id: str, outcomes: Collection[Outcome]) -> AsyncIterator[Draft]:
    """Plan to ask again what ended so in an earlier run.

    Raises:
        UsageError: no such run, it is unfinished, or an outcome is one that is never asked again.
    """
    record = await asyncio.to_thread(run_record.load, home, run_id)
    spec = Spec.model_validate(dict(record.spec))
    await asyncio.to_thread(_check_finished, home, None)
    with home.staging() as folder:
        tell(Progress("planning"))
        totals = await asyncio.to_thread(
            _with_verdicts,
            home,
            lambda verdicts: plan_again(verdicts, run_id, outcomes, _shard_sizes(spec), folder / "plan"),
        )
        yield _draft(home, spec, None, folder, totals, retry_of=run_id)


def adopt(draft: Draft) -> RunRecord:
    """The draft becomes a run of its home, ready to be asked. Its record appears last: that is the start.

    Raises:
        HomeUnwritable: nothing was asked; names the path and why.
    """
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
    )
    run_record.save(home, record)
    return record


def _draft(
    home: Home, spec: Spec, run_id: str | None, folder: Path, totals: PlanTotals, retry_of: str | None = None
) -> Draft:
    now = datetime.now(UTC)
    estimates = tuple(
        estimate(totals.providers[provider], table.qps, now, table.price_per_call)
        for provider, table in spec.asked.items()
        if provider in totals.providers
    )
    return Draft(home, spec, run_id or new_run_id(now), folder, totals, estimates, retry_of)


def _with_verdicts(home: Home, make: Callable[[Sequence[Path]], PlanTotals]) -> PlanTotals:
    """A plan that subtracts what the home's verdicts answer; they are held only while it is made."""
    with held_parts(home) as files:
        return make(files)


def _shard_sizes(spec: Spec) -> dict[Provider, int]:
    return {
        provider: max(LEAST_SHARD, math.ceil(table.qps * SHARD_S)) for provider, table in spec.asked.items()
    }


def _told(batches: Iterator[list[ObjectRef]]) -> Iterator[list[ObjectRef]]:
    """The batches, and word of how many objects they have brought so far."""
    listed = 0
    for batch in batches:
        listed += len(batch)
        tell(Progress("listing", listed))
        yield batch


def _check_finished(home: Home, run_id: str | None) -> None:
    """Two unfinished runs of one home could pay for the same question twice."""
    for record in run_record.list_runs(home):
        if record.run_id == run_id:
            raise UsageError(
                f"run {run_id} exists already in {home.root}: `facesweep resume` goes on with it"
            )
        if not record.status.is_over:
            if home.lock_path(record.run_id).exists():
                with RunLock(home.lock_path(record.run_id), record.run_id):
                    pass  # nobody works on it: it is left over
            raise UsageError(
                f"run {record.run_id} of {home.root} is unfinished ({record.status}): finish it first with "
                f"`facesweep resume`, or give it up with `facesweep abandon`"
            )
