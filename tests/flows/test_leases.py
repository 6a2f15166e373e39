"""Leases at a real Prefect server: one holder, who knows by itself when it has lost."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from domain.errors import HomeBusy, ServerAway, UsageError
from tasks.units.estate import Estate
from tasks.units.leases import RENEW_EVERY_S, Claim, Lease, delete_limit, ensure_limit, held
from tasks.units.limits import LimitServer, connect
from tests.contract.store_servers import unused_url

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def at_the_server(prefect_url: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        yield


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


async def taken(server: LimitServer, name: str) -> int:
    limit = await server.read(name)
    assert limit is not None
    return limit.taken


async def forget(lease: Lease) -> None:
    """What a restart does to a server that keeps leases in memory: the slots stay taken."""
    async with get_client() as client:
        await client.release_concurrency_slots_with_lease(lease._grant.lease_id)
        await client.increment_concurrency_slots(list(lease.names), lease.slots, "concurrency")


async def test_what_one_process_holds_nobody_else_gets(name: str) -> None:
    await ensure_limit(name)
    async with held(name) as claim:
        assert claim.is_held
        with pytest.raises(HomeBusy, match=name):
            async with held(name):
                pass
    async with held(name) as claim:
        assert claim.is_held


async def test_a_limit_that_is_missing_is_no_limit_without_bounds(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        async with held(name):
            pass


async def test_a_limit_is_made_once_and_keeps_the_slots_it_was_given(name: str) -> None:
    async with connect() as server:
        await server.ensure(name, 5)
        assert (await server.ensure(name, 9)).slots == 5
        await server.change(name, 9)
        assert (await server.ensure(name, 5)).slots == 9
        await delete_limit(name)
        await delete_limit(name)
        assert await server.read(name) is None


async def test_a_limit_whose_slots_decay_or_are_not_counted_is_not_leased_from(name: str) -> None:
    async with get_client() as client:
        await client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name=f"{name}-decays", limit=5, slot_decay_per_second=1.0)
        )
        await client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name=f"{name}-off", limit=5, active=False)
        )
    for kind in ("decays", "off"):
        with pytest.raises(UsageError, match=f"{name}-{kind}"):
            await ensure_limit(f"{name}-{kind}")


async def test_a_lease_counts_at_all_its_limits_and_at_all_or_none(name: str) -> None:
    async with connect() as server:
        wide, narrow = f"{name}-wide", f"{name}-narrow"
        await server.ensure(wide, 100)
        await server.ensure(narrow, 5)
        lease = await Lease.acquired(server, [wide, narrow], 4)
        assert lease is not None
        assert await Lease.acquired(server, [wide, narrow], 2) is None
        assert (await taken(server, wide), await taken(server, narrow)) == (4, 4)
        await lease.renew()
        assert lease.is_held
        await lease.give_back()
        assert not lease.is_held
        assert (await taken(server, wide), await taken(server, narrow)) == (0, 0)


async def test_slots_whose_lease_the_server_forgot_are_given_back_once(name: str) -> None:
    async with connect() as server:
        await server.ensure(name, 5)
        lease, other = await Lease.acquired(server, [name], 2), await Lease.acquired(server, [name], 3)
        assert lease is not None
        assert other is not None
        await forget(lease)
        assert await taken(server, name) == 5
        await lease.renew()
        assert not lease.is_held
        await lease.give_back()
        await lease.give_back()
        assert await taken(server, name) == 3


async def test_slots_of_a_limit_that_was_made_anew_are_not_given_back_twice(name: str) -> None:
    async with connect() as server:
        await server.ensure(name, 5)
        lease = await Lease.acquired(server, [name], 2)
        assert lease is not None
        await forget(lease)
        await server.delete(name)
        await server.ensure(name, 5)
        other = await Lease.acquired(server, [name], 3)
        assert other is not None
        await lease.renew()
        await lease.give_back()
        assert await taken(server, name) == 3


async def test_a_claim_the_server_forgot_is_claimed_anew(name: str) -> None:
    await ensure_limit(name)
    async with connect() as server:
        lease = await Lease.acquired(server, [name], 1)
        assert lease is not None
        await forget(lease)
        lease._renewed_at -= RENEW_EVERY_S  # its renewal is due
        claim = Claim(server, lease)
        keeping = asyncio.create_task(claim.keep())
        async with asyncio.timeout(30):
            while claim._lease is lease:  # noqa: ASYNC110 - as whoever holds a claim sees it
                await asyncio.sleep(0.01)
        assert claim.is_held
        assert await taken(server, name) == 1
        keeping.cancel()
        await claim.give_back()
        assert await taken(server, name) == 0


async def test_without_a_server_nothing_is_held(name: str) -> None:
    with temporary_settings({PREFECT_API_URL: f"{unused_url()}/api"}), pytest.raises(ServerAway):
        async with held(name):
            pass


async def test_whoever_goes_on_after_a_kill_frees_what_the_dead_process_held(
    name: str, tmp_path: Path
) -> None:
    """It holds the lock of the work, so the other one is dead; what it never knew of lapses by itself."""
    left = tmp_path / "run.tencent.leases.json"
    await ensure_limit(name, 5)
    async with connect() as server:
        for slots in (2, 1):
            assert await Lease.acquired(server, [name], slots) is not None
        held_by_the_dead = await Lease.acquired(server, [name], 2)
        assert held_by_the_dead is not None
        Estate(left).note([held_by_the_dead.id, uuid.uuid4()])
        successor = Estate(left)
        await successor.settle(server)
        assert (await taken(server, name), left.exists()) == (3, False)
        await held_by_the_dead.renew()  # were it alive after all, it would hear that it holds nothing
        assert not held_by_the_dead.is_held


async def test_a_damaged_note_of_leases_keeps_nobody_from_going_on(name: str, tmp_path: Path) -> None:
    left = tmp_path / "run.tencent.leases.json"
    await ensure_limit(name, 5)
    for content in ("", "{}", '["no uuid"]', "[1]"):
        left.write_text(content, encoding="utf-8")
        async with connect() as server:
            await Estate(left).settle(server)
        assert not left.exists()
