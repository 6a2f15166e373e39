"""The backfill: planned once, worked on by many machines, coordinated from here.

shard      one shard, by a worker of the pool        backfill  all of them: plan, submit, watch, close
"""

import asyncio
from pathlib import Path
from uuid import UUID

from prefect import flow, runtime
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Failed

from domain.budgets import Budget
from domain.errors import FacesweepError, Stopped
from domain.runs import RunKind
from domain.verdicts import Outcome, Provider
from flows.artifacts import name_flow_run, showing_end, showing_progress
from flows.termination import stopped_by_sigterm
from tasks.units.backfill.claims import shard_claim
from tasks.units.backfill.dispatch import check_beginning, check_deployment
from tasks.units.backfill.ledger import SHARD_S, Terms
from tasks.units.backfill.lifetime import (
    AWAY,
    CLAIM_WITHIN_S,
    Place,
    ask_shards,
    came_back,
    close,
    coordinating,
    is_begun,
    plan_second,
)
from tasks.units.backfill.stopping import pause_if_begun
from tasks.units.draft import draft_audit, is_approved
from tasks.units.events import say
from tasks.units.leases import held
from tasks.units.lifetime import AS_IT_IS
from tasks.units.metrics import metrics_served
from tasks.units.opening import Home, open_audit, open_home
from tasks.units.shard_work import ShardAttempt, is_done, open_shard
from tasks.units.tasks import plan_run

SHARD_MINUTES = SHARD_S / 60
AT_ONCE = Terms().at_once
DEPLOYMENT = Terms().deployment


@flow(
    name="shard",
    persist_result=False,
    retries=0,
)
async def shard(
    home_url: str,
    run_id: str,
    provider: str,
    number: int,
    attempt: int = 1,
    home_endpoint_url: str | None = None,
    home_region: str | None = None,
    calls: int | None = None,
    money: float | None = None,
) -> State[None]:
    """One attempt at one shard of a backfill, by whichever worker takes it up.

    `calls` and `money` bound what the shard may spend over all its attempts. Completed: the shard is done.
    Failed: it is not, with the reason in one sentence. Cancelled: it was asked to stop. The shard's record in
    the home says the same; Prefect tries nothing again, the backfill's coordinator does.
    """
    home = open_home(home_url, home_endpoint_url, home_region)
    given = ShardAttempt(run_id, Provider(provider), number, attempt, Budget(calls, money))
    try:
        async with held(shard_claim(run_id, given.provider, number), wait_s=CLAIM_WITHIN_S) as claim:
            if await asyncio.to_thread(is_done, home, given):
                return Completed(message=f"{given.name} was done already")
            with stopped_by_sigterm(), metrics_served():
                async with open_shard(home, given, claim) as work, showing_progress(work.progress):
                    say("shard_begun", **_named(given), questions=work.record.books.balance.asked)
                    record = await work.detect()
    except Stopped as stop:
        say("shard_stopped", **_named(given), reason=str(stop))
        return Cancelled(message=str(stop))
    except FacesweepError as error:
        say("shard_stopped", **_named(given), reason=str(error))
        return Failed(message=str(error))
    balance = record.books.balance
    say(
        "shard_done",
        **_named(given),
        questions=balance.asked,
        settled=balance.asked - balance.pending,
        failed=balance.outcomes.get(Outcome.FAILED, 0),
        throttled=record.books.throttled,
    )
    return Completed(message=f"{given.name}: {balance.asked:,} questions settled")


def _named(given: ShardAttempt) -> dict[str, object]:
    """The fields by which the log tells attempts apart."""
    return {"run": given.run_id, "provider": given.provider, "shard": given.number, "attempt": given.attempt}


async def stop_shards(flow: object, flow_run: FlowRun, state: object) -> None:  # noqa: ARG001 - Prefect's
    """Whoever cancels the flow run in Prefect's UI stops the shards, also when our process is gone then."""
    given = flow_run.parameters
    if "spec_path" in given:
        home = open_audit(Path(given["spec_path"])).home
    else:
        home = open_home(given["home_url"], given.get("home_endpoint_url"), given.get("home_region"))
    await pause_if_begun(home, given.get("run_id"), "whoever cancelled its flow run")


@flow(
    name="backfill",
    flow_run_name="backfill of {spec_path}",
    persist_result=False,
    on_cancellation=[stop_shards],
)
async def backfill(
    spec_path: str,
    run_id: str | None = None,
    limit: int | None = None,
    reask: str | None = None,
    shard_minutes: float = SHARD_MINUTES,
    at_once: int = AT_ONCE,
    deployment: str = DEPLOYMENT,
    pool: str | None = None,
) -> str | None:
    """A backfill from its spec file; the id of its run, or None when its plan was not approved.

    With the `run_id` of an unfinished one it goes on with that, and submits nothing twice.

    Raises:
        UsageError: the spec, the source or the home is wrong, or nobody takes shards.
        Denied: a provider refuses the account.  Stopped: somebody paused it, or ended this process.
        BudgetSpent: its budget is spent.  Tripped: most of its questions failed or were refused.
    """
    found = open_audit(Path(spec_path))
    terms = Terms(shard_minutes * 60, at_once, deployment, pool)
    await check_deployment(terms)
    place = Place(found.spec.home, found.spec.audit.home_endpoint_url, found.spec.audit.home_region)
    if run_id is None or not is_begun(found.home, run_id):
        await check_beginning(run_id)
        async with draft_audit(
            found.home, found.spec, run_id, limit, reask, kind=RunKind.BACKFILL, shard_s=terms.shard_s
        ) as draft:
            await name_flow_run(found.spec.audit.name, draft.run_id, "backfill")
            if not await is_approved(draft):
                return None
            await plan_run(draft)
            run_id = draft.run_id
    else:
        await name_flow_run(found.spec.audit.name, run_id, "backfill", "resumed")
    return await coordinate(found.home, run_id, place, AS_IT_IS, terms)


async def coordinate(
    home: Home, run_id: str, place: Place, given: Budget = AS_IT_IS, terms: Terms | None = None
) -> str:
    """Coordinate a backfill to its end; its run's id. A server that is away meanwhile is waited for.

    Raises: as `backfill`.
    """
    own = runtime.flow_run.id
    opened = coordinating(home, run_id, place, given, terms, UUID(own) if own else None)
    is_begun_here = False
    with metrics_served():
        async with showing_end(home, run_id):
            while True:
                try:
                    async with opened as work, showing_progress(work.progress):
                        if not is_begun_here:
                            say("run_opened", audit=work.record.audit, run=run_id, worker=work.record.worker)
                        is_begun_here = True
                        end = await ask_shards(work)
                        if end is None and await plan_second(work):
                            end = await ask_shards(work)
                        await close(work, end)
                except AWAY:
                    if not is_begun_here or not await came_back():
                        raise
                    opened = coordinating(home, run_id, place, flow_run_id=UUID(own) if own else None)
                else:
                    break
    return run_id
