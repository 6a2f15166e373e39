"""The stages of a run: one for most strategies, two where the second provider depends on the first."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from domain.errors import Denied, Tripped
from domain.verdicts import Provider
from tasks.candidates import PlanTotals, ProviderTotals, plan_following
from tasks.candidates.strategy import Strategy, StrategyKind
from tasks.records.home import Home
from tasks.records.parts_in_force import held_parts
from tasks.records.run_record import RunRecord
from tasks.settings import Spec

if TYPE_CHECKING:
    from tasks.units.run import DetectShard, OpenRun

PLAN_FILE = "plan.json"
SECOND_PLAN_FILE = "plan-2.json"

SHARD_S = 600.0
"""What a shard takes at the cap: long beside a task's overhead, short beside what a lost machine may cost."""

LEAST_SHARD = 100

T = TypeVar("T")


def strategy_of(spec: Spec) -> Strategy:
    """The spec's strategy; the first provider is Tencent where the spec names none."""
    table = spec.strategy
    kind = StrategyKind(table.kind)
    return Strategy(
        kind=kind,
        first=(table.first or Provider.TENCENT) if kind.has_second_stage else None,
        low_share=table.low_fraction,
        caps_per_s={provider: each.qps for provider, each in spec.asked.items()},
    )


def second_of(spec: Spec) -> Provider | None:
    """The provider that waits for the other one; None where both are asked at once."""
    first = strategy_of(spec).first
    return None if first is None else next(each for each in Provider if each is not first)


def shard_sizes(spec: Spec, shard_s: float | None = None) -> dict[Provider, int]:
    """About how many questions make a shard, by provider asked; `shard_s`: what it takes at the cap."""
    lasting_s = SHARD_S if shard_s is None else shard_s
    return {
        provider: max(LEAST_SHARD, math.ceil(table.qps * lasting_s)) for provider, table in spec.asked.items()
    }


def read_totals(home: Home, run_id: str) -> PlanTotals:
    """A run's plan in numbers, of both stages where there are two.

    Raises:
        UsageError: the plan cannot be read; names the file.
    """
    folder = f"plans/run={run_id}"
    first = PlanTotals.from_json(home.read_json(f"{folder}/{PLAN_FILE}"))
    if not home.path(f"{folder}/{SECOND_PLAN_FILE}").exists():
        return first
    second = PlanTotals.from_json(home.read_json(f"{folder}/{SECOND_PLAN_FILE}"))
    return PlanTotals({**first.providers, **second.providers})


def with_verdicts(home: Home, make: Callable[[Sequence[Path]], T]) -> T:
    """A plan that knows what the home's verdicts answer; they are held only while it is made."""
    with held_parts(home) as files:
        return make(files)


def awaits_second(run: "OpenRun") -> bool:
    """Whether the run's second stage is still to be planned."""
    return is_second_due(run.spec, run.totals, run.record)


def is_second_due(spec: Spec, totals: PlanTotals, record: RunRecord) -> bool:
    """Whether a second stage is still to be planned. A retry has none: the next audit catches up."""
    second = second_of(spec)
    return second is not None and second not in totals.providers and record.retry_of is None


async def ask_first(run: "OpenRun", detect_shard: "DetectShard") -> None:
    """Take every question planned so far to its final row.

    Where the strategy is `failover`, a first provider that refuses its account, or of whose questions most
    fail, does not end the run: the second one takes over what is left.

    Raises:
        Denied, Tripped, Stopped, and what else `OpenRun.detect` raises.
    """
    try:
        await run.detect(detect_shard)
    except (Denied, Tripped) as end:
        if not (run.spec.strategy.kind == "failover" and awaits_second(run)):
            raise
        run.record = replace(run.record, handed_over=str(end))


async def plan_second(run: "OpenRun") -> bool:
    """Plan what the second provider is asked, now that the first has had its turn; whether it has questions.

    Made once: a run that goes on finds it. The first provider's open questions are the second one's now.

    Raises:
        HomeUnwritable: nothing was asked; names the path and why.
    """
    if not awaits_second(run):
        return False
    first = strategy_of(run.spec).first
    assert first is not None  # noqa: S101 - a strategy with a second stage has a first provider
    await run.publish()
    pending = (await run.balance_of(first)).pending
    totals = await asyncio.to_thread(
        write_second_plan, run.home, run.spec, run.record, run.totals.providers[first], pending
    )
    open_questions, second = totals.providers.values()
    await run.enter(open_questions, second)
    return bool(second.shards)


def write_second_plan(
    home: Home,
    spec: Spec,
    record: RunRecord,
    first: ProviderTotals,
    pending: int,
    shard_s: float | None = None,
) -> PlanTotals:
    """The plan of both stages, once the first provider's answers are published: `first`, then the second.

    `pending` of the first one's questions have no row: they are the second one's now.

    Raises:
        HomeUnwritable: nothing was asked; names the path and why.
    """
    folder = f"plans/run={record.run_id}"
    second = second_of(spec)
    assert second is not None  # noqa: S101 - whoever calls has looked
    with home.staging() as staged:
        # By name: an attempt that a crash cut short may have left files of the second provider.
        plan = home.paths(f"{folder}/provider={first.provider}/*.parquet")
        plan += home.paths(f"{folder}/skipped-00001.parquet")
        totals = with_verdicts(
            home,
            lambda verdicts: plan_following(
                first,
                plan,
                verdicts,
                second,
                shard_sizes(spec, shard_s)[second],
                strategy_of(spec),
                staged / "plan",
                reask_in=record.run_id if record.reask is not None else None,
            ),
        )
        # File by file, so that a crash between two of them leaves nothing in the way of the next attempt.
        for path in sorted((staged / "plan").rglob("*.parquet")):
            home.adopt(path, f"{folder}/{_place(path, staged / 'plan')}")
    both = PlanTotals({first.provider: replace(first, handed_over=pending), second: totals})
    home.write_json(f"{folder}/{SECOND_PLAN_FILE}", both.to_json())
    return both


def _place(path: Path, plan: Path) -> str:
    """Where a file of the second stage lies among those of the first."""
    relative = path.relative_to(plan).as_posix()
    return relative.replace("skipped-00001", "skipped-00002")
