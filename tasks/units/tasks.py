"""The Prefect tasks: units of retry and of display. Never one object.

Everything a task is given or gives lives in this process and on its event loop: nothing is hashed for a
cache, pickled for a result, or retried by Prefect. What can be asked again is asked again by the line
itself, and a shard that broke is taken up by `resume`.
"""

from prefect import task
from prefect.cache_policies import NO_CACHE

from domain.runs import Shard
from domain.verdicts import Outcome
from tasks.records.run_record import RunRecord
from tasks.units.draft import Draft, adopt
from tasks.units.events import say
from tasks.units.run import OpenRun
from tasks.units.stages import plan_second


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE, persist_result=False, retries=0)
async def plan_run(draft: Draft) -> RunRecord:
    """Put the plan into the home: from here on the run exists."""
    record = adopt(draft)
    say(
        "run_planned",
        audit=record.audit,
        run=record.run_id,
        questions=sum(books.balance.asked for books in record.books),
        shards=len(draft.totals.shards),
        retry_of=record.retry_of,
    )
    return record


@task(
    name="detect",
    task_run_name="{shard.provider}-shard-{shard.number}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
async def detect_shard(run: OpenRun, shard: Shard) -> None:
    """Take one shard's open questions to their final rows and publish them."""
    named = {
        "run": run.run_id,
        "provider": shard.provider,
        "shard": shard.number,
        "questions": shard.questions,
    }
    say("shard_begun", **named)
    await run.detect_shard(shard)
    (so_far,) = (each for each in run.progress().providers if each.provider is shard.provider)
    say(
        "shard_done",
        **named,
        settled=so_far.settled,
        failed=so_far.outcomes.get(Outcome.FAILED, 0),
        throttled=so_far.throttled,
        rate_per_s=so_far.rate_per_s,
    )


@task(
    name="plan-second",
    task_run_name="plan second provider",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
async def plan_second_stage(run: OpenRun) -> bool:
    """Plan what the second provider is asked, where the strategy lets it wait for the first."""
    return await plan_second(run)


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
async def finish_run(run: OpenRun) -> RunRecord:
    """Publish what is left and close the books."""
    return await run.finish()
