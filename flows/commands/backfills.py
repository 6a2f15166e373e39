"""Backfills: many workers on one run. Beginning and pausing them; `resume` and `abandon` are any run's."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse

from domain.runs import Wanted
from flows import quantities
from flows.commands.audits import add_limit, add_reask, attended, quiet
from flows.consoles import ERR, OUT
from flows.options import Verbs, add_home, add_metrics, add_run_id, add_spec, add_yes, count, home_of, run_id


def register(verbs: Verbs) -> None:
    """Make these commands known."""
    backfill_ = verbs.add(
        "backfill",
        backfill,
        "plan once, then let the workers of a Prefect pool ask",
        "facesweep backfill kyc.toml --run-id selfies-2019-2024",
    )
    add_spec(backfill_)
    add_limit(backfill_)
    add_reask(backfill_)
    backfill_.add_argument(
        "--run-id",
        type=run_id,
        help="the run's id (default: the time and some random digits); of an unfinished one: go on with it",
    )
    backfill_.add_argument("--pool", metavar="NAME", help="the work pool whose workers take the shards")
    backfill_.add_argument(
        "--deployment",
        metavar="FLOW/NAME",
        default="shard/shard",
        help="the deployment that works on a shard (default: shard/shard)",
    )
    backfill_.add_argument(
        "--at-once", type=count, default=20, metavar="N", help="shards submitted at a time (default: 20)"
    )
    backfill_.add_argument(
        "--shard-minutes",
        type=quantities.minutes,
        default=30.0,
        metavar="M",
        help="what a shard takes at the cap (default: 30)",
    )
    add_yes(backfill_)
    add_metrics(backfill_)

    pause_ = verbs.add(
        "pause",
        pause,
        "stop all workers of a backfill; `resume` goes on",
        "facesweep pause audits/kyc-backfill",
    )
    add_home(pause_)
    add_run_id(pause_, "which run (default: the newest unfinished backfill)")


async def backfill(options: argparse.Namespace) -> int:
    """Plan, show the plan, submit its shards to workers and look on until it is over."""
    quiet()
    from flows import backfill as flows
    from flows.attendance import GOES_ON_ELSEWHERE
    from tasks.units.backfill.dispatch import require_server
    from tasks.units.opening import open_audit

    require_server()

    async def sweep() -> str | None:
        return await flows.backfill(
            str(options.spec.resolve()),
            options.run_id,
            options.limit,
            options.reask,
            options.shard_minutes,
            options.at_once,
            options.deployment,
            options.pool,
        )

    home = open_audit(options.spec).home
    return await attended(
        sweep, home, is_approved=options.yes, manners=GOES_ON_ELSEWHERE, metrics_port=options.metrics_port
    )


async def pause(options: argparse.Namespace) -> int:
    """Ask all workers of a backfill to stop, and wait until they have; 1 while one is still at work."""
    from tasks.units.backfill.stopping import still_at_work, stopped, want

    home = home_of(options)
    record = await want(home, options.run_id, Wanted.PAUSE)
    ERR.print(f"run {record.run_id} is to pause: waiting for its workers", highlight=False)
    at_work = await stopped(home, record.run_id)
    if at_work:
        OUT.print(f"run {record.run_id} is to pause, but {still_at_work(at_work)}", highlight=False)
        return 1
    OUT.print(
        f"run {record.run_id} is paused: nobody works on it; `facesweep resume {options.home}` goes on",
        highlight=False,
        soft_wrap=True,
    )
    return 0
