"""Sharing a cap: processes take, renew and give back slots of it, by a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tasks.pacing.lane import Lane
from tasks.pacing.shares import Priority
from tasks.units.leases import MARGIN_S, Claim, Lease
from tasks.units.limits import TTL_S
from tasks.units.sharing import LaneLimits, Sharing, shared
from tests.clock import run_on_movable_clock
from tests.limits_in_memory import REPOSSESS_EVERY_S, LimitsInMemory
from tests.spec.test_pacing import most_in_any_second

NAMES = LaneLimits("facesweep-tencent-test")
SOON_S = 15.0
BACK_WITHIN_S = TTL_S + REPOSSESS_EVERY_S + 5.0  # lease, the server's next look, ours and the hand-over


class Process:
    """One process that calls as often as it may."""

    def __init__(self, limits: LimitsInMemory, cap: int, priority: Priority, left: list[float]) -> None:
        self.lane, self.left = Lane(cap), left
        self._limits, self._priority = limits, priority
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Process":
        self._sharing = shared(self._limits, NAMES, self.lane, self._priority)
        await self._sharing.__aenter__()
        self._tasks = [asyncio.create_task(self._call()) for _ in range(8)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._tasks:
            each.cancel()
        await self._sharing.__aexit__(None, None, None)

    async def _call(self) -> None:
        while True:
            async with self.lane.gate:
                await self.lane.admit()
            self.left.append(asyncio.get_running_loop().time())


@asynccontextmanager
async def killed(limits: LimitsInMemory, cap: int, left: list[float]) -> AsyncIterator[Lane]:
    """A process that dies where the block ends: it gives nothing back."""
    lane = Lane(cap, share_per_s=0)
    keeping = asyncio.create_task(Sharing(limits, NAMES, lane, Priority.BACKFILL).keep())

    async def call() -> None:
        while True:
            await lane.admit()
            left.append(asyncio.get_running_loop().time())

    calling = asyncio.create_task(call())
    yield lane
    for each in (keeping, calling):
        each.cancel()
    await asyncio.gather(keeping, calling, return_exceptions=True)


def told(story: Coroutine[Any, Any, Any]) -> Any:
    return run_on_movable_clock(story)


def test_one_process_has_the_whole_cap_and_gives_it_back_when_it_ends() -> None:
    async def story() -> None:
        limits, left = LimitsInMemory(), list[float]()
        async with Process(limits, 50, Priority.AUDIT, left) as only:
            await asyncio.sleep(SOON_S)
            assert only.lane.share_per_s == 50
            before = len(left)
            await asyncio.sleep(100)
            assert len(left) - before >= 0.97 * 50 * 100
        assert [limits.taken(name) for name in (NAMES.cap, *NAMES.counting)] == [0] * 9
        assert most_in_any_second(left) <= 50

    told(story())


def test_a_process_that_asks_for_nothing_takes_nothing() -> None:
    async def story() -> None:
        limits, lane = LimitsInMemory(), Lane(50)
        async with shared(limits, NAMES, lane, Priority.AUDIT):
            await asyncio.sleep(60)
            assert limits.taken(NAMES.cap) == 0
            assert limits.taken(NAMES.members(Priority.AUDIT)) == 1

    told(story())


@pytest.mark.parametrize(("cap", "number"), [(5, 3), (5, 5), (50, 3), (200, 5)])
def test_invariant_2_processes_that_come_and_go_keep_to_the_cap_and_use_it(cap: int, number: int) -> None:
    async def story() -> tuple[list[float], float]:
        limits, left = LimitsInMemory(), list[float]()
        async with Process(limits, cap, Priority.BACKFILL, left):
            await asyncio.sleep(SOON_S)
            for _ in range(number - 2):
                async with Process(limits, cap, Priority.BACKFILL, left):
                    await asyncio.sleep(SOON_S)
            async with Process(limits, cap, Priority.AUDIT, left):
                await asyncio.sleep(SOON_S)
            others = [Process(limits, cap, Priority.BACKFILL, left) for _ in range(number - 1)]
            for other in others:
                await other.__aenter__()
            await asyncio.sleep(2 * SOON_S)
            before, began = len(left), asyncio.get_running_loop().time()
            await asyncio.sleep(max(30, 1500 / cap))
            used = (len(left) - before) / (cap * (asyncio.get_running_loop().time() - began))
            for other in others:
                await other.__aexit__()
        return left, used

    left, used = told(story())
    assert most_in_any_second(left) <= cap
    assert used >= 0.97


def test_an_audit_takes_the_cap_from_a_backfill_within_seconds_and_gives_it_back() -> None:
    async def story() -> None:
        limits, left = LimitsInMemory(), list[float]()
        async with Process(limits, 50, Priority.BACKFILL, left) as backfill:
            await asyncio.sleep(SOON_S)
            async with Process(limits, 50, Priority.AUDIT, left) as audit:
                await asyncio.sleep(10)
                assert (audit.lane.share_per_s, backfill.lane.share_per_s) == (50, 0)
            await asyncio.sleep(10)
            assert backfill.lane.share_per_s == 50
        assert most_in_any_second(left) <= 50

    told(story())


def test_a_dead_processs_share_is_used_by_others_within_80_s_and_not_before_it_could_still_call() -> None:
    async def story() -> None:
        limits, left = LimitsInMemory(), list[float]()
        async with Process(limits, 50, Priority.BACKFILL, left) as other:
            async with killed(limits, 50, left) as dead:
                await asyncio.sleep(2 * SOON_S)
                assert (other.lane.share_per_s, dead.share_per_s) == (25, 25)
            await asyncio.sleep(TTL_S - MARGIN_S - 12)
            assert other.lane.share_per_s == 25
            await asyncio.sleep(BACK_WITHIN_S - (TTL_S - MARGIN_S - 12))
            assert other.lane.share_per_s == 50
        assert most_in_any_second(left) <= 50

    told(story())


def test_a_lane_whose_server_is_away_stops_in_time_and_goes_on_when_it_is_back() -> None:
    async def story() -> None:
        limits, left = LimitsInMemory(), list[float]()
        async with Process(limits, 50, Priority.AUDIT, left) as process:
            await asyncio.sleep(SOON_S)
            limits.is_away, away_since = True, asyncio.get_running_loop().time()
            await asyncio.sleep(20)
            assert process.lane.share_per_s == 50
            assert "cannot be reached" in (process.lane.trouble or "")
            await asyncio.sleep(300)
            assert process.lane.share_per_s == 0
            assert max(left) < away_since + TTL_S - MARGIN_S
            limits.is_away, back_since = False, asyncio.get_running_loop().time()
            await asyncio.sleep(SOON_S)
            assert (process.lane.share_per_s, process.lane.trouble) == (50, None)
            assert max(left) > back_since
        assert most_in_any_second(left) <= 50

    told(story())


def test_after_a_restart_that_forgot_all_leases_the_cap_is_whole_again_and_never_exceeded() -> None:
    async def story() -> None:
        limits, left = LimitsInMemory(), list[float]()
        async with (
            Process(limits, 50, Priority.BACKFILL, left) as one,
            Process(limits, 50, Priority.BACKFILL, left) as other,
        ):
            await asyncio.sleep(2 * SOON_S)
            limits.restart()
            assert limits.taken(NAMES.cap) == 50
            await asyncio.sleep(4 * SOON_S)
            assert (one.lane.share_per_s, other.lane.share_per_s) == (25, 25)
            assert limits.taken(NAMES.cap) == 50
            assert limits.taken(NAMES.members(Priority.BACKFILL)) == 2
        assert limits.taken(NAMES.cap) == 0
        assert most_in_any_second(left) <= 50

    told(story())


def test_a_cap_that_is_changed_at_the_server_is_followed_within_seconds() -> None:
    async def story() -> None:
        limits, left = LimitsInMemory(), list[float]()
        async with Process(limits, 5, Priority.AUDIT, left) as process:
            await asyncio.sleep(SOON_S)
            limits.change(NAMES.cap, slots=50)
            await asyncio.sleep(SOON_S)
            assert (process.lane.cap_per_s, process.lane.share_per_s) == (50, 50)
            limits.change(NAMES.cap, slots=3)
            await asyncio.sleep(4)
            lowered_at = asyncio.get_running_loop().time()
            await asyncio.sleep(SOON_S)
            assert (process.lane.cap_per_s, process.lane.share_per_s) == (3, 3)
        assert most_in_any_second([at for at in left if at > lowered_at]) <= 3

    told(story())


def test_the_servers_limit_holds_where_the_spec_says_something_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        limits, left = LimitsInMemory(), list[float]()
        await limits.ensure(NAMES.cap, 7)
        async with Process(limits, 50, Priority.AUDIT, left) as process:
            await asyncio.sleep(60)
            assert process.lane.share_per_s == 7
        assert most_in_any_second(left) <= 7

    told(story())
    assert sum("the spec 50" in each.getMessage() for each in caplog.records) == 1


def test_a_limit_of_somebody_else_disturbs_nobody() -> None:
    async def story() -> None:
        limits = LimitsInMemory()
        await limits.ensure("theirs", 5)
        limits.change("theirs", decays=True, is_active=False)
        async with Process(limits, 50, Priority.AUDIT, []) as process:
            await asyncio.sleep(SOON_S)
            assert process.lane.share_per_s == 50

    told(story())


def test_a_limit_that_is_switched_off_gives_nobody_more() -> None:
    """Prefect grants slots of such a limit to everybody and counts none."""

    async def story() -> None:
        limits = LimitsInMemory()
        await limits.ensure(NAMES.cap, 50)
        limits.change(NAMES.cap, is_active=False)
        async with Process(limits, 50, Priority.AUDIT, []) as process:
            await asyncio.sleep(SOON_S)
            assert process.lane.share_per_s == 0
            assert "switched off" in (process.lane.trouble or "")
            limits.change(NAMES.cap, is_active=True)
            await asyncio.sleep(SOON_S)
            assert process.lane.share_per_s == 50

    told(story())


def test_a_settled_lane_asks_the_server_little() -> None:
    async def story() -> float:
        limits, left = LimitsInMemory(), list[float]()
        async with Process(limits, 20, Priority.AUDIT, left):
            await asyncio.sleep(SOON_S)
            before = limits.requests
            await asyncio.sleep(200)
            return (limits.requests - before) / 200

    assert told(story()) < 2.0


# Claims: what one process holds alone.


def test_a_claim_that_cannot_be_renewed_is_lost_before_the_server_gives_it_away() -> None:
    async def story() -> None:
        limits = LimitsInMemory()
        await limits.ensure("claim", 1)
        lease = await Lease.acquired(limits, ["claim"], 1)
        assert lease is not None
        claim = Claim(limits, lease)
        keeping = asyncio.create_task(claim.keep())
        await asyncio.sleep(300)
        assert claim.is_held
        limits.is_away, away_since = True, asyncio.get_running_loop().time()
        await claim.lost.wait()
        lost_at = asyncio.get_running_loop().time()
        assert not claim.is_held
        assert lost_at - away_since < TTL_S - MARGIN_S + 0.1
        limits.is_away = False
        await asyncio.sleep(MARGIN_S - 2)
        assert limits.taken("claim") == 1
        await asyncio.sleep(REPOSSESS_EVERY_S + 3)
        assert limits.taken("claim") == 0
        await keeping

    told(story())


def test_a_claim_that_somebody_else_got_after_a_restart_is_lost() -> None:
    async def story() -> None:
        limits = LimitsInMemory()
        await limits.ensure("claim", 1)
        lease = await Lease.acquired(limits, ["claim"], 1)
        assert lease is not None
        claim = Claim(limits, lease)
        keeping = asyncio.create_task(claim.keep())
        limits.restart()
        await limits.delete("claim")
        await limits.ensure("claim", 1)
        assert await Lease.acquired(limits, ["claim"], 1) is not None
        await claim.lost.wait()
        await keeping
        assert limits.taken("claim") == 1

    told(story())
