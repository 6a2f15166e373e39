"""Opening lanes: an account's cap, shared by whoever calls with it, or kept by one process alone."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit

from prefect.settings import get_current_settings

from domain.verdicts import Provider
from tasks.pacing.deadline import Deadline
from tasks.pacing.lane import Lane
from tasks.pacing.shares import Priority
from tasks.settings import Aliyun, Spec, Tencent
from tasks.units.estate import Estate
from tasks.units.limits import connect
from tasks.units.sharing import LaneLimits, shared

OWN_HOSTS = {
    Provider.TENCENT: (".tencentcloudapi.com",),
    Provider.ALIYUN: (".aliyuncs.com",),
}
"""Where a provider's own services are: every endpoint there counts against the same cap."""

LOOK_EVERY_S = 2.0
"""How often a lane without a server looks for a cap that was changed."""

_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Inside the block nobody else uses the Prefect server that flows find: lanes are not shared by it."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_shared() -> bool:
    """Whether lanes opened here are shared: a Prefect server is configured, and it is not our own."""
    return not _alone.get() and get_current_settings().api.url is not None


def lane_name(provider: Provider, table: Tencent | Aliyun) -> str:
    """What a lane is called, and the limit of its cap: `facesweep-tencent-default`.

    An endpoint that is not the provider's, such as an emulator, is named too: it has a cap of its own.
    """
    endpoints = [table.endpoint] if isinstance(table, Tencent) else table.endpoints
    return "-".join(["facesweep", provider, table.account, *_foreign_hosts(provider, endpoints)])


@asynccontextmanager
async def open_lane(
    provider: Provider,
    spec: Spec,
    deadline: Deadline,
    priority: Priority = Priority.AUDIT,
    caps: Path | None = None,
    leases: Path | None = None,
) -> AsyncIterator[Lane]:
    """The lane of the account that a spec asks `provider` with.

    With a Prefect server the lane has a share of the cap, which changes while others come and go; the
    limit of its name is the cap. Where the server is away or gives us nothing, calls wait. Without a server
    the spec's cap is the lane's, and `caps` is a file that may change it meanwhile (`write_cap`). `leases` is
    a file of whoever holds the lock of this work: a successor frees at once what a killed process held.
    """
    table = spec.asked[provider]
    lane = Lane(table.qps, deadline=deadline)
    if is_shared():
        async with (
            connect() as limits,
            shared(
                limits,
                LaneLimits(lane_name(provider, table)),
                lane,
                priority,
                None if leases is None else Estate(leases),
            ),
        ):
            yield lane
        return
    watching = asyncio.create_task(_follow(lane, provider, caps)) if caps is not None else None
    try:
        yield lane
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def read_caps(path: Path) -> Mapping[str, int]:
    """The caps somebody gave a run that works without a server, by provider."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: cap for name, cap in found.items() if isinstance(cap, int) and cap >= 1}


def write_cap(path: Path, provider: Provider, cap_per_s: int) -> None:
    """Give a run that works without a server another cap; it follows within seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")
    beside.write_text(json.dumps({**read_caps(path), provider: cap_per_s}), encoding="utf-8")
    beside.replace(path)


async def follow_cap(lane: Lane, provider: Provider, caps: Path) -> None:
    """Give the lane the cap that the file names, if it names another one."""
    cap = (await asyncio.to_thread(read_caps, caps)).get(provider)
    if cap is not None and cap != lane.cap_per_s:
        lane.set_cap(cap)
        lane.set_share(cap)


async def _follow(lane: Lane, provider: Provider, caps: Path) -> None:
    while True:
        await follow_cap(lane, provider, caps)
        await asyncio.sleep(LOOK_EVERY_S)


def _foreign_hosts(provider: Provider, endpoints: Sequence[str]) -> list[str]:
    hosts = {urlsplit(each).netloc for each in endpoints}
    return sorted(each for each in hosts if not f".{each}".endswith(OWN_HOSTS[provider]))
