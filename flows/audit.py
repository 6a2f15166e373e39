"""The audit: list → plan → detect → publish. Also going on with an unfinished run, and asking again.

Where the second provider waits for the first one, planning and detecting come twice.
"""

from datetime import datetime
from pathlib import Path

from prefect import flow

from domain.budgets import Budget
from domain.runs import RunKind
from domain.verdicts import Outcome
from flows.artifacts import name_flow_run, showing_end, showing_progress
from flows.backfill import coordinate, stop_shards
from flows.termination import stopped_by_sigterm
from tasks.units.backfill.lifetime import Place
from tasks.units.books import run_of
from tasks.units.draft import Draft, draft_audit, draft_retry, is_approved
from tasks.units.events import say
from tasks.units.lifetime import AS_IT_IS, open_run
from tasks.units.metrics import metrics_served
from tasks.units.opening import Home, open_audit, open_home
from tasks.units.stages import ask_first, awaits_second
from tasks.units.tasks import detect_shard, finish_run, plan_run, plan_second_stage


@flow(name="audit", flow_run_name="audit of {spec_path}", persist_result=False)
async def audit(
    spec_path: str,
    run_id: str | None = None,
    limit: int | None = None,
    reask: str | None = None,
    sample: int | str | None = None,
) -> str | None:
    """One audit from its spec file; the id of its run, or None when its plan was not approved.

    `sample` replaces the spec's own: a share such as `1%`, or a count. `reask` is the reason to ask again
    what has a final verdict already; it stands in the run's record.

    Raises:
        UsageError: the spec, the source or the home is wrong.
        Denied: a provider refuses the account.  Stopped: somebody stopped the run.
        BudgetSpent: its budget is spent.  Tripped: most of its questions failed or were refused.
    """
    found = open_audit(Path(spec_path), sample)
    async with draft_audit(found.home, found.spec, run_id, limit, reask) as draft:
        await name_flow_run(draft.spec.audit.name, draft.run_id)
        return await _plan_and_go_on(draft)


@flow(
    name="resume",
    flow_run_name="resume in {home_url}",
    persist_result=False,
    on_cancellation=[stop_shards],
)
async def resume(
    home_url: str,
    run_id: str | None = None,
    home_endpoint_url: str | None = None,
    home_region: str | None = None,
    calls: int | None = None,
    money: float | None = None,
    until: datetime | None = None,
) -> str:
    """Go on with an unfinished run of a home, the newest where none is named; a backfill is coordinated.

    `calls`, `money` and `until` are new bounds of its budget, over the whole run; None leaves one as it is.

    Raises: as `audit`.
    """
    home = open_home(home_url, home_endpoint_url, home_region)
    found = run_of(home, run_id, unfinished=True)
    what = ["backfill"] if found.kind is RunKind.BACKFILL else []
    await name_flow_run(found.audit, found.run_id, *what, "resumed")
    if found.kind is RunKind.BACKFILL:
        place = Place(home_url, home_endpoint_url, home_region)
        return await coordinate(home, found.run_id, place, Budget(calls, money, until))
    return await _go_on(home, found.run_id, Budget(calls, money, until))


@flow(name="retry", flow_run_name="retry in {home_url}", persist_result=False)
async def retry(
    home_url: str,
    outcomes: list[str],
    run_id: str | None = None,
    home_endpoint_url: str | None = None,
    home_region: str | None = None,
) -> str | None:
    """A new run that asks again what ended in `outcomes` in an earlier one, the newest where none is named.

    None when nothing ended so, or the plan was not approved.

    Raises: as `audit`.
    """
    home = open_home(home_url, home_endpoint_url, home_region)
    earlier = run_of(home, run_id).run_id
    async with draft_retry(home, earlier, [Outcome(each) for each in outcomes]) as draft:
        if not draft.totals.shards:
            return None
        await name_flow_run(draft.spec.audit.name, draft.run_id, f"retry of {earlier}")
        return await _plan_and_go_on(draft)


async def _plan_and_go_on(draft: Draft) -> str | None:
    if not await is_approved(draft):
        return None
    await plan_run(draft)
    return await _go_on(draft.home, draft.run_id)


async def _go_on(home: Home, run_id: str, given: Budget = AS_IT_IS) -> str:
    with stopped_by_sigterm(), metrics_served():
        async with (
            showing_end(home, run_id),
            open_run(home, run_id, given) as run,
            showing_progress(run.progress),
        ):
            say("run_opened", audit=run.record.audit, run=run_id, worker=run.record.worker)
            await ask_first(run, detect_shard)
            if awaits_second(run) and await plan_second_stage(run):
                await run.detect(detect_shard)
            await finish_run(run)
    return run_id
