"""Runs in this process and without Prefect: the same units the flows call, in the same order."""

from pathlib import Path

from domain.budgets import Budget
from domain.errors import FacesweepError
from domain.runs import Shard
from tasks.records.home import Home
from tasks.records.run_record import RunRecord, load
from tasks.units.draft import adopt, draft_audit
from tasks.units.lifetime import open_run
from tasks.units.opening import open_audit
from tasks.units.run import OpenRun


async def audited(spec: Path, run_id: str) -> tuple[RunRecord, FacesweepError | None]:
    """Plan and run an audit; its record, and the error that ended it."""
    found = open_audit(spec)
    async with draft_audit(found.home, found.spec, run_id) as draft:
        adopt(draft)
    return await resumed(found.home, run_id)


async def resumed(
    home: Home, run_id: str, given: Budget | None = None
) -> tuple[RunRecord, FacesweepError | None]:
    """Go on with a run; its record, and the error that ended it."""
    end: FacesweepError | None = None
    try:
        async with open_run(home, run_id, given or Budget()) as run:
            await run.detect(_detect_shard)
            await run.finish()
    except FacesweepError as error:
        end = error
    return load(home, run_id), end


async def _detect_shard(run: OpenRun, shard: Shard) -> None:
    await run.detect_shard(shard)
