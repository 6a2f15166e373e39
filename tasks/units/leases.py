"""Leases: slots of a Prefect limit that belong to one living process.

The server gives slots back that nobody renewed for `TTL_S`. Whoever holds them must have stopped by then,
also when it hears nothing from the server: it counts from the moment it *sent* the last renewal that
succeeded, so its own deadline is always the earlier one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self
from uuid import UUID

from domain.errors import HomeBusy, ServerAway, UsageError
from tasks.pacing.steady import steady_time
from tasks.units.limits import TTL_S, Grant, Limits, connect

MARGIN_S = 5.0
"""How long before the server we give up: for calls that are just leaving, and clocks that differ in speed."""

RENEW_EVERY_S = 12.0
"""Three renewals may fail before a lease is lost."""

ASK_AGAIN_S = 2.0
"""Between attempts at what failed: a renewal without a reply, slots that somebody else holds."""


class Lease:
    """Slots of one or several limits, held while `is_held`. Made by `Lease.acquired`."""

    def __init__(
        self, server: Limits, names: Sequence[str], slots: int, grant: Grant, sent_at: float
    ) -> None:
        self.names, self.slots = tuple(names), slots
        self._server, self._grant = server, grant
        self._renewed_at = sent_at
        self._is_over = self._is_forgotten = False

    @classmethod
    async def acquired(cls, server: Limits, names: Sequence[str], slots: int) -> Self | None:
        """A lease of `slots` of every limit named; None where they are not free.

        Raises:
            ServerAway: no reply.  UsageError: a limit is missing.
        """
        sent_at = steady_time()
        grant = await server.acquire(names, slots)
        return None if grant is None else cls(server, names, slots, grant, sent_at)

    @property
    def id(self) -> UUID:
        """The server's name for it."""
        return self._grant.lease_id

    @property
    def deadline(self) -> float:
        """By `steady_time`: from then on the slots may be somebody else's."""
        return self._renewed_at + TTL_S - MARGIN_S

    @property
    def renew_at(self) -> float:
        """When the next renewal is due, by `steady_time`."""
        return self._renewed_at + RENEW_EVERY_S

    @property
    def is_held(self) -> bool:
        """Whether the slots are ours at this moment, whatever the server would say."""
        return not self._is_over and steady_time() < self.deadline

    async def renew(self) -> None:
        """Hold on for another `TTL_S`; a failed attempt leaves the deadline where it is.

        A server that lost the lease although it cannot have run out was restarted and kept leases in
        memory: `is_held` is false then. The slots stay taken for ever unless `give_back` is called, by
        whoever has stopped using them.

        Raises:
            ServerAway: no reply; to be tried again before the deadline.
        """
        if not self.is_held:
            return
        sent_at = steady_time()
        try:
            async with asyncio.timeout(self.deadline - sent_at):
                is_known = await self._server.renew(self._grant)
        except TimeoutError:
            raise ServerAway("Prefect's server did not answer before the lease ran out") from None
        if is_known:
            self._renewed_at = sent_at
            return
        self._is_forgotten, self._is_over = self.is_held, True

    async def give_back(self) -> None:
        """Free the slots, once; nothing happens where the lease is over, or too near its end to be sure.

        No error is raised: slots that could not be given back come back by themselves.
        """
        with contextlib.suppress(ServerAway):  # not repeated: the slots may be free already
            await self.renew()  # a release of a lease that the server forgot would be taken for done
            is_ours, self._is_over = self.is_held, True
            was_forgotten, self._is_forgotten = self._is_forgotten, False
            if is_ours:
                await self._server.release(self._grant)
            elif was_forgotten:
                await self._server.release_forgotten(self.names, self._grant, self.slots)
        self._is_over = True

    def __repr__(self) -> str:
        left_s = self.deadline - steady_time()
        state = f"{left_s:.0f} s left" if self.is_held else "over"
        return f"<Lease of {self.slots} of {', '.join(self.names)}: {state}>"


class Claim:
    """A lease that is renewed in the background. Made by `held`."""

    def __init__(self, server: Limits, lease: Lease) -> None:
        self.lost = asyncio.Event()
        """Set when the claim is no longer ours; it does not come back."""
        self._server, self._lease = server, lease

    @property
    def is_held(self) -> bool:
        """Whether the claim is ours at this moment; to be asked before what must not be done twice."""
        return not self.lost.is_set() and self._lease.is_held

    async def keep(self) -> None:
        """Renew until cancelled or lost."""
        attempt_at = self._lease.renew_at
        while True:
            await asyncio.sleep(max(0.0, min(attempt_at, self._lease.deadline) - steady_time()))
            try:
                await self._lease.renew()
            except ServerAway:
                attempt_at = steady_time() + ASK_AGAIN_S
            else:
                attempt_at = self._lease.renew_at
            if not self._lease.is_held and not await self._is_held_anew():
                self.lost.set()
                return

    async def _is_held_anew(self) -> bool:
        """After a restart of the server that forgot us: nobody else can have begun if we get it at once."""
        if steady_time() >= self._lease.deadline:
            return False
        await self._lease.give_back()
        with contextlib.suppress(ServerAway, UsageError):
            lease = await Lease.acquired(self._server, self._lease.names, self._lease.slots)
            if lease is not None:
                self._lease = lease
                return True
        return False

    async def give_back(self) -> None:
        """Free it for others."""
        await self._lease.give_back()


@asynccontextmanager
async def held(name: str, slots: int = 1, *, wait_s: float = 0.0) -> AsyncIterator[Claim]:
    """Hold `slots` of the limit `name` inside the block; nobody else holds them meanwhile.

    The limit must be there (`ensure_limit`). Inside the block watch `claim.lost`: it is set before the
    server could give the slots to another process.

    Raises:
        HomeBusy: somebody else holds them, also after `wait_s`.
        ServerAway: the server gave no reply, also after `wait_s`.
        UsageError: there is no such limit.
    """
    async with connect() as server:
        claim = Claim(server, await _acquired(server, name, slots, wait_s))
        keeping = asyncio.create_task(claim.keep())
        try:
            yield claim
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await asyncio.shield(claim.give_back())


async def ensure_limit(name: str, slots: int = 1) -> None:
    """Make the limit where it is missing; one that is there keeps its slots.

    Raises:
        ServerAway: no reply.
    """
    async with connect() as server:
        await server.ensure(name, slots)


async def delete_limit(name: str) -> None:
    """Remove the limit; nothing happens where there is none.

    Raises:
        ServerAway: no reply.
    """
    async with connect() as server:
        await server.delete(name)


async def _acquired(server: Limits, name: str, slots: int, wait_s: float) -> Lease:
    give_up_at = steady_time() + wait_s
    while True:
        try:
            lease = await Lease.acquired(server, [name], slots)
        except ServerAway:
            if steady_time() >= give_up_at:
                raise
        else:
            if lease is not None:
                return lease
            if steady_time() >= give_up_at:
                raise HomeBusy(f"{name} is held by another process")
        await asyncio.sleep(ASK_AGAIN_S)
