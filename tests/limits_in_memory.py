"""Prefect's limits without Prefect: leases that run out by the loop's clock, so that a test owns the time.

Behaves as the real server does where `tests/flows/test_limits.py` puts both to the same questions; the rest
is by its source: slots of an expired lease are freed at the next look of a service that looks every 15 s.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.errors import ServerAway, UsageError
from tasks.units.limits import TTL_S, Grant, Limit

REPOSSESS_EVERY_S = 15.0


@dataclass
class _Lease:
    names: tuple[str, ...]
    slots: int
    expires_at: float


class LimitsInMemory:
    """One server."""

    def __init__(self) -> None:
        self.is_away = False
        self.requests = 0
        self._limits: dict[str, Limit] = {}
        self._leases: dict[uuid.UUID, _Lease] = {}
        self._looked_at = 0.0

    def restart(self) -> None:
        """What a restart does to a server that keeps leases in memory: the slots stay taken."""
        self._leases.clear()

    def change(self, name: str, **fields: Any) -> None:
        """As somebody does in Prefect's UI."""
        self._limits[name] = replace(self._limits[name], **fields)

    def taken(self, name: str) -> int:
        """Slots of a limit that are taken now."""
        self._look()
        return self._limits[name].taken if name in self._limits else 0

    async def read(self, name: str) -> Limit | None:
        await self._reply()
        return self._limits.get(name)

    async def list(self) -> Mapping[str, Limit]:
        await self._reply()
        return dict(self._limits)

    async def ensure(self, name: str, slots: int) -> Limit:
        await self._reply()
        return self._limits.setdefault(name, Limit(uuid.uuid4(), name, slots, 0))

    async def delete(self, name: str) -> None:
        await self._reply()
        self._limits.pop(name, None)

    async def acquire(self, names: Sequence[str], slots: int) -> Grant | None:
        await self._reply()
        if missing := set(names) - self._limits.keys():
            raise UsageError(f"Prefect's server has no limit {', '.join(missing)}")
        if any(self._limits[name].taken + slots > self._limits[name].slots for name in names):
            return None
        self._add(names, slots)
        grant = Grant(uuid.uuid4(), tuple(self._limits[name].id for name in names))
        self._leases[grant.lease_id] = _Lease(tuple(names), slots, self._now + TTL_S)
        return grant

    async def renew(self, grant: Grant) -> bool:
        await self._reply()
        lease = self._leases.get(grant.lease_id)
        if lease is not None:
            lease.expires_at = self._now + TTL_S
        return lease is not None

    async def release(self, grant: Grant) -> None:
        await self._reply()
        if lease := self._leases.pop(grant.lease_id, None):
            self._add(lease.names, -lease.slots)

    async def release_forgotten(self, names: Sequence[str], grant: Grant, slots: int) -> None:
        await self._reply()
        self._add([each for each in names if self._limits[each].id in grant.limit_ids], -slots)

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _reply(self) -> None:
        self.requests += 1
        await asyncio.sleep(0.01)
        if self.is_away:
            raise ServerAway("Prefect's server cannot be reached")
        self._look()

    def _look(self) -> None:
        if self._now - self._looked_at < REPOSSESS_EVERY_S:
            return
        self._looked_at = self._now
        for lease_id, lease in list(self._leases.items()):
            if lease.expires_at <= self._now:
                del self._leases[lease_id]
                self._add(lease.names, -lease.slots)

    def _add(self, names: Sequence[str], slots: int) -> None:
        for name in names:
            if name in self._limits:
                limit = self._limits[name]
                self._limits[name] = replace(limit, taken=max(0, limit.taken + slots))
