"""Prefect's global concurrency limits: slots under a name, leased, renewed and given back.

A request without a reply is not repeated here, as Prefect's own client does: a release that is repeated
frees somebody else's slots. Who calls here repeats where that is safe.
"""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from domain.errors import ServerAway, UsageError

TTL_S = 60.0
"""How long the server keeps slots whose holder says nothing: the least that Prefect allows."""

REPLY_WITHIN_S = 5.0
"""Patience with one request; the next attempt may do better. A busy server of 2 cores answers in 0.5 s."""

PAGE = 200
"""The most limits Prefect's server lists in one reply."""

NOT_GRANTED = (422, 423)
"""More slots than the limit has; or than it has free."""

LEASE_GONE = 410

UNDONE = 503
"""The server's database was busy: nothing was written, so the request may be repeated."""

UNDONE_S = 0.3

OCCUPANCY_S = 1.0  # what Prefect's statistics are told of slots whose lease it forgot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limit:
    """One global concurrency limit as the server shows it."""

    id: UUID
    name: str
    slots: int
    taken: int
    is_active: bool = True
    decays: bool = False

    def check(self) -> None:
        """Slots of the limit can be leased, and are counted.

        Raises:
            UsageError: they cannot.
        """
        if self.decays:
            raise UsageError(
                f"Prefect's limit {self.name} has slots that decay: they cannot be leased; delete it, the "
                "next run makes it anew"
            )
        if not self.is_active:  # Prefect grants its slots without counting them
            raise UsageError(f"Prefect's limit {self.name} is switched off: switch it on in Prefect's UI")


@dataclass(frozen=True, slots=True)
class Grant:
    """Slots of one or several limits that the server has leased to us."""

    lease_id: UUID
    limit_ids: tuple[UUID, ...]


class Limits(Protocol):
    """What leases need of a server; errors and promises as in `LimitServer`."""

    async def read(self, name: str) -> Limit | None:
        """The limit of that name; None where there is none."""

    async def list(self) -> Mapping[str, Limit]:
        """Every limit by its name."""

    async def ensure(self, name: str, slots: int) -> Limit:
        """The limit of that name, made with `slots` where there is none."""

    async def acquire(self, names: Sequence[str], slots: int) -> Grant | None:
        """Lease `slots` of every limit named; None where one has not so many free."""

    async def renew(self, grant: Grant) -> bool:
        """Keep a lease; false where the server does not know it."""

    async def release(self, grant: Grant) -> None:
        """Give leased slots back."""

    async def release_forgotten(self, names: Sequence[str], grant: Grant, slots: int) -> None:
        """Give slots back whose lease the server lost."""


class LimitServer:
    """The limits of one Prefect server. Made by `connect`; belongs to one event loop."""

    def __init__(self, client: PrefectClient, unrepeated: contextvars.Context) -> None:
        """`unrepeated`: a context in which the client sends each request once."""
        self._client, self._unrepeated = client, unrepeated

    async def read(self, name: str) -> Limit | None:
        """The limit of that name; None where there is none.

        Raises:
            ServerAway: no reply that could be used.
        """
        try:
            return _limit(await self._ask(lambda: self._client.read_global_concurrency_limit_by_name(name)))
        except ObjectNotFound:
            return None

    async def list(self) -> Mapping[str, Limit]:
        """Every limit by its name.

        Raises:
            ServerAway: as `read`.
        """
        found: dict[str, Limit] = {}
        while True:
            page = await self._ask(partial(self._client.read_global_concurrency_limits, PAGE, len(found)))
            found |= {each.name: _limit(each) for each in page}
            if len(page) < PAGE:
                return found

    async def ensure(self, name: str, slots: int) -> Limit:
        """The limit of that name, made with `slots` where there is none; one that is there stays as it is.

        Raises:
            ServerAway: as `read`.
            UsageError: it is there, but cannot be leased from.
        """
        if await self.read(name) is None:
            made = GlobalConcurrencyLimitCreate(name=name, limit=slots)
            with contextlib.suppress(ObjectAlreadyExists):  # somebody was faster
                await self._ask(lambda: self._client.create_global_concurrency_limit(made))
        limit = await self.read(name)
        if limit is None:
            raise ServerAway(f"Prefect's server made the limit {name} and does not know it")
        limit.check()
        return limit

    async def change(self, name: str, slots: int) -> None:
        """Give a limit another number of slots; slots that are taken stay taken.

        Raises:
            ServerAway: as `read`.
            UsageError: there is no such limit.
        """
        try:
            await self._ask(
                lambda: self._client.update_global_concurrency_limit(
                    name, GlobalConcurrencyLimitUpdate(limit=slots)
                )
            )
        except ObjectNotFound:
            raise UsageError(f"Prefect's server has no limit {name}") from None

    async def delete(self, name: str) -> None:
        """Remove a limit; nothing happens where there is none.

        Raises:
            ServerAway: as `read`.
        """
        with contextlib.suppress(ObjectNotFound):
            await self._ask(lambda: self._client.delete_global_concurrency_limit_by_name(name))

    async def acquire(self, names: Sequence[str], slots: int) -> Grant | None:
        """Lease `slots` of every limit named, all or none; None where one has not so many free.

        A request without a reply may have been granted: the server takes such slots back after `TTL_S`.

        Raises:
            ServerAway: as `read`.
            UsageError: a limit does not exist, which Prefect would take for one without bounds.
        """
        try:
            reply = await self._ask(
                lambda: self._client.increment_concurrency_slots_with_lease(
                    names=list(names), slots=slots, mode="concurrency", lease_duration=TTL_S
                )
            )
        except ServerAway as refusal:
            if refusal.status in NOT_GRANTED:
                return None
            raise
        document = reply.json()
        granted = {each["name"]: UUID(each["id"]) for each in document["limits"]}
        grant = Grant(UUID(document["lease_id"]), tuple(granted.values()))
        if missing := set(names) - granted.keys():
            await self.release(grant)
            raise UsageError(
                f"Prefect's server has no limit {', '.join(sorted(missing))}: "
                "`facesweep deploy` or the next run makes it anew"
            )
        return grant

    async def renew(self, grant: Grant) -> bool:
        """Keep a lease for another `TTL_S`; false where the server does not know it any more.

        Raises:
            ServerAway: as `read`.
        """
        try:
            await self._ask(
                lambda: self._client.renew_concurrency_lease(grant.lease_id, lease_duration=TTL_S)
            )
        except ServerAway as refusal:
            if refusal.status == LEASE_GONE:
                return False
            raise
        return True

    async def release(self, grant: Grant) -> None:
        """Give leased slots back. Not to be called for a lease that may have run out.

        Raises:
            ServerAway: as `read`; the slots come back by themselves after `TTL_S`.
        """
        await self._ask(lambda: self._client.release_concurrency_slots_with_lease(grant.lease_id))

    async def release_forgotten(self, names: Sequence[str], grant: Grant, slots: int) -> None:
        """Give slots back whose lease the server lost before it ran out: nobody else ever would.

        Nothing is given back of limits that were made anew since: they count without us.

        Raises:
            ServerAway: as `read`; must not be repeated, the slots may be free already.
        """
        limits = [await self.read(name) for name in names]
        same = [each.name for each in limits if each is not None and each.id in grant.limit_ids]
        if same:
            await self._ask(lambda: self._client.release_concurrency_slots(same, slots, OCCUPANCY_S), 1)

    async def lease_storage(self) -> str:
        """Where the server keeps leases: the module's name.

        Raises:
            ServerAway: as `read`.
        """
        reply = await self._ask(lambda: self._client.request("GET", "/admin/settings"))
        return str(reply.json()["server"]["concurrency"]["lease_storage"])

    async def _ask(self, request: Callable[[], Coroutine[Any, Any, T]], attempts: int = 3) -> T:
        """The reply to one request, which is repeated only where the server says that it did nothing."""
        while True:
            attempts -= 1
            try:
                return await self._ask_once(request())
            except ServerAway as refusal:
                if refusal.status != UNDONE or not attempts:
                    raise
            await asyncio.sleep(UNDONE_S * random.uniform(0.5, 1.5))  # noqa: S311 - spreads, guards nothing

    async def _ask_once(self, request: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(REPLY_WITHIN_S):
                return await asyncio.create_task(request, context=self._unrepeated)
        except (ObjectNotFound, ObjectAlreadyExists):
            raise
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise ServerAway(f"Prefect's server answered with status {status}", status) from None
        except (httpx.HTTPError, TimeoutError, OSError, RuntimeError) as error:  # the last: a closed client
            raise ServerAway(f"Prefect's server cannot be reached ({type(error).__name__})") from None


@asynccontextmanager
async def connect() -> AsyncIterator[LimitServer]:
    """A connection of our own to the configured server; nothing is sent yet."""
    # Settings unlike anybody's make a client of our own: a flow's is closed with the flow.
    async with get_client(httpx_settings={"timeout": REPLY_WITHIN_S}) as client:
        unrepeated, once = contextvars.copy_context(), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
        unrepeated.run(once.__enter__)
        try:
            yield LimitServer(client, unrepeated)
        finally:
            unrepeated.run(once.__exit__, None, None, None)


def _limit(response: GlobalConcurrencyLimitResponse) -> Limit:
    return Limit(
        response.id,
        response.name,
        response.limit,
        int(response.active_slots),
        response.active,
        bool(response.slot_decay_per_second),
    )
