"""The cap of an account: what holds now, and how it is changed while runs go on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from domain.errors import ServerAway, UsageError
from domain.runs import RunStatus
from domain.verdicts import Provider
from tasks.pacing.shares import Priority
from tasks.records import run_record
from tasks.records.home import Home
from tasks.settings import Spec, spec_of
from tasks.units.lanes import is_shared, lane_name, read_caps, write_cap
from tasks.units.limits import LimitServer, connect
from tasks.units.sharing import LaneLimits

IN_MEMORY = "prefect.server.concurrency.lease_storage.memory"
"""Where a Prefect server keeps leases unless it is told otherwise: a restart forgets them."""


@dataclass(frozen=True, slots=True)
class LaneNow:
    """A lane as it is at this moment."""

    name: str
    spec_cap: int
    is_shared: bool
    cap: int | None = None  # the server's limit; None where it has none yet, or there is no server
    taken: int = 0
    members: Mapping[Priority, int] | None = None
    forgets: bool = False  # a restart of the server loses leases

    def __str__(self) -> str:
        """One sentence: which lane, which cap, and by which rule."""
        if not self.is_shared:
            return (
                f"lane {self.name}: {self.spec_cap} calls per second by the spec, for each process alone: "
                "no Prefect server is configured (PREFECT_API_URL)"
            )
        if self.cap is None or self.members is None:
            return (
                f"lane {self.name}: {self.spec_cap} calls per second by the spec; "
                "the first run makes Prefect's limit of that name, which holds from then on"
            )
        differs = "" if self.cap == self.spec_cap else f" (the spec says {self.spec_cap})"
        members = ", ".join(f"{count} × {priority}" for priority, count in self.members.items() if count)
        return (
            f"lane {self.name}: {self.cap} calls per second by Prefect's limit of that name{differs}; "
            f"{self.taken} taken by {members or 'nobody'}"
        )


async def lane_now(provider: Provider, spec: Spec) -> LaneNow:
    """The lane that this spec would call `provider` with.

    Raises:
        ServerAway: a Prefect server is configured and gives no usable reply.
    """
    table = spec.asked[provider]
    names = LaneLimits(lane_name(provider, table))
    if not is_shared():
        return LaneNow(names.cap, table.qps, is_shared=False)
    async with connect() as server:
        limits = await server.list()
        forgets = await _forgets(server)
    now = LaneNow(names.cap, table.qps, is_shared=True, forgets=forgets)
    if not {names.cap, *names.counting} <= limits.keys():
        return now
    standing = names.standing(limits)
    return LaneNow(
        names.cap,
        table.qps,
        is_shared=True,
        cap=standing.cap,
        taken=standing.taken,
        members={priority: standing.crowd(priority).members for priority in Priority},
        forgets=forgets,
    )


async def _forgets(server: LimitServer) -> bool:
    try:
        return await server.lease_storage() == IN_MEMORY
    except ServerAway as refusal:
        if refusal.status:  # a server that does not show its settings
            return False
        raise


async def change_cap(home: Home, spec: Spec | None, provider: Provider, cap_per_s: int) -> str:
    """Give an account another cap; whoever calls with it follows within seconds.

    Returns what was done, in a sentence. `spec` is the spec of the home's audit; the newest run's where it
    is None. With a Prefect server the cap is the limit of the lane's name, for all runs; without one it is
    the unfinished run's alone.

    Raises:
        UsageError: the audit does not ask that provider; or there is neither a server nor an unfinished run.
        ServerAway: a Prefect server is configured and gives no usable reply.
    """
    await asyncio.to_thread(home.refresh, "runs")
    records = await asyncio.to_thread(run_record.list_runs, home)
    if spec is None:
        if not records:
            raise UsageError(f"{home.root} holds no runs: is it an audit's home? A spec file will do as well")
        spec = spec_of(dict(records[-1].spec), f"the spec of run {records[-1].run_id}")
    if provider not in spec.asked:
        raise UsageError(f"--provider {provider}: the audit asks {', '.join(spec.asked)} only")
    name = lane_name(provider, spec.asked[provider])
    if is_shared():
        async with connect() as server:
            limit = await server.read(name)
            if limit is None:
                await server.ensure(name, cap_per_s)
                return f"{name}: {cap_per_s} calls per second"
            if limit.slots != cap_per_s:
                await server.change(name, cap_per_s)
            return f"{name}: {cap_per_s} calls per second, was {limit.slots}"
    unfinished = [
        each for each in records if not each.status.is_over and each.status is not RunStatus.PLANNED
    ]
    if not unfinished:
        raise UsageError(
            f"no run of {home.root} is unfinished and no Prefect server is configured: change qps of "
            f"[providers.{provider}] in the spec, the next run keeps to it"
        )
    path = home.caps_path(unfinished[-1].run_id)
    was = (await asyncio.to_thread(read_caps, path)).get(provider, spec.asked[provider].qps)
    await asyncio.to_thread(write_cap, path, provider, cap_per_s)
    return f"run {unfinished[-1].run_id}: {cap_per_s} calls per second to {provider}, was {was}"
