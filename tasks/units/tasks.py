"""The Prefect tasks: units of retry and of display. Never one object.

Everything a task is given or gives lives in this process and on its event loop: nothing is hashed for a
cache, pickled for a result, or retried by Prefect. What can be asked again is asked again by the line
itself, and a shard that broke is taken up by `resume`.
"""

from prefect import task
from prefect.cache_policies import NO_CACHE

from domain.runs import Shard
from tasks.records.run_record import RunRecord
from tasks.units.draft import Draft, adopt
from tasks.units.run import OpenRun
from tasks.units.stages import plan_second


@task(name="plan", cache_policy=NO_CACHE, persist_result=False, retries=0)
async def plan_run(draft: Draft) -> RunRecord:
    """Put the plan into the home: from here on the run exists."""
    return adopt(draft)


@task(
    name="detect",
    task_run_name="{shard.provider}-shard-{shard.number}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
async def detect_shard(run: OpenRun, shard: Shard) -> None:
    """Take one shard's open questions to their final rows and publish them."""
    await run.detect_shard(shard)


@task(name="plan-second", cache_policy=NO_CACHE, persist_result=False, retries=0)
async def plan_second_stage(run: OpenRun) -> bool:
    """Plan what the second provider is asked, where the strategy lets it wait for the first."""
    return await plan_second(run)


@task(name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
async def finish_run(run: OpenRun) -> RunRecord:
    """Publish what is left and close the books."""
    return await run.finish()
