"""Prefect's limits, and those that tests move the clock of: the same questions, the same answers."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from domain.errors import UsageError
from tasks.units.limits import Grant, Limits, connect
from tests.limits_in_memory import LimitsInMemory

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", ["prefect", "in memory"])]


@asynccontextmanager
async def limits_of(kind: str, prefect_url: str) -> AsyncIterator[Limits]:
    if kind == "in memory":
        yield LimitsInMemory()
        return
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        async with connect() as server:
            yield server


async def taken(limits: Limits, *names: str) -> list[int]:
    found = await limits.list()
    return [found[name].taken for name in names]


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


async def test_slots_are_leased_of_all_limits_or_of_none(kind: str, prefect_url: str, name: str) -> None:
    async with limits_of(kind, prefect_url) as limits:
        one, other = f"{name}-1", f"{name}-2"
        assert (await limits.ensure(one, 5)).slots == (await limits.ensure(one, 9)).slots == 5
        await limits.ensure(other, 3)
        grant = await limits.acquire([one, other], 2)
        assert grant is not None
        assert await limits.acquire([one, other], 2) is None  # too many for one of them
        assert await limits.acquire([other], 4) is None  # more than there are
        assert await taken(limits, one, other) == [2, 2]
        assert await limits.renew(grant)
        await limits.release(grant)
        await limits.release(grant)
        assert await taken(limits, one, other) == [0, 0]
        assert not await limits.renew(grant)


async def test_a_limit_that_is_missing_grants_nothing(kind: str, prefect_url: str, name: str) -> None:
    async with limits_of(kind, prefect_url) as limits:
        await limits.ensure(name, 5)
        with pytest.raises(UsageError, match="no limit"):
            await limits.acquire([name, f"{name}-missing"], 1)
        assert await limits.read(f"{name}-missing") is None
        assert await taken(limits, name) == [0]


async def test_a_lease_nobody_knows_frees_slots_only_of_limits_it_was_made_of(
    kind: str, prefect_url: str, name: str
) -> None:
    async with limits_of(kind, prefect_url) as limits:
        mine, theirs = f"{name}-1", f"{name}-2"
        known = await limits.ensure(mine, 5)
        await limits.ensure(theirs, 5)
        assert await limits.acquire([mine, theirs], 3)
        unknown = Grant(uuid.uuid4(), (known.id,))
        assert not await limits.renew(unknown)
        await limits.release_forgotten([mine, theirs], unknown, 2)
        assert await taken(limits, mine, theirs) == [1, 3]
