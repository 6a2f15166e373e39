"""A lane whose share changes: lanes that share a cap keep to it together, whatever moves between them."""

import asyncio
import random
from collections.abc import Iterable

import pytest

from domain.errors import BudgetSpent, Stopped
from tasks.pacing.lane import LEAST_GUARD_S, Lane
from tasks.pacing.places import Places
from tasks.pacing.shares import HANDOVER_S
from tasks.pacing.steady import steady_time
from tests.clock import run_on_movable_clock
from tests.spec.test_pacing import most_in_any_second


async def call_for_ever(lane: Lane, left: list[float]) -> None:
    """Leave whenever the lane lets us."""
    while True:
        await lane.admit()
        left.append(asyncio.get_running_loop().time())


async def together(lanes: Iterable[Lane], moves: list[tuple[float, int, int]], end_s: float) -> list[float]:
    """Departures of all lanes; `moves` are moments, lanes and their shares from then on."""
    lanes, left = list(lanes), []
    callers = [asyncio.create_task(call_for_ever(lane, left)) for lane in lanes]
    began = asyncio.get_running_loop().time()
    for at, number, share in moves:
        await asyncio.sleep(began + at - asyncio.get_running_loop().time())
        lanes[number].set_share(share)
    await asyncio.sleep(began + end_s - asyncio.get_running_loop().time())
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    return left


@pytest.mark.parametrize("shares", [(1, 1, 1, 1, 1), (3, 2), (25, 15, 10), (40,) * 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_invariant_2_lanes_that_share_a_cap_keep_to_it_together(shares: tuple[int, ...], seed: int) -> None:
    cap, random_ = sum(shares), random.Random(seed)
    lanes = [Lane(cap, share_per_s=share) for share in shares]
    left = run_on_movable_clock(together(lanes, [], 60))
    arrived = [at + random_.uniform(0, LEAST_GUARD_S) for at in left]
    assert most_in_any_second(arrived) <= cap
    assert len(left) >= 0.97 * cap * 60


@pytest.mark.parametrize("seed", range(8))
def test_invariant_2_holds_while_slots_pass_from_lane_to_lane(seed: int) -> None:
    """Whoever gives stops first and waits for its guard; whoever takes lets a second pass."""
    random_, cap, at, moves = random.Random(seed), 50, 0.0, []
    shares = [20, 20, 10]
    lanes = [Lane(cap, share_per_s=share) for share in shares]
    for _ in range(30):
        at += random_.uniform(0.1, 3)
        giver, taker = random_.sample(range(3), 2)
        slots = random_.randint(0, shares[giver])
        shares[giver] -= slots
        moves.append((at, giver, shares[giver]))
        at += LEAST_GUARD_S + HANDOVER_S
        shares[taker] += slots
        moves.append((at, taker, shares[taker]))
    left = run_on_movable_clock(together(lanes, moves, at + 5))
    arrived = [moment + random_.uniform(0, LEAST_GUARD_S) for moment in left]
    assert most_in_any_second(arrived) <= cap


@pytest.mark.parametrize(("before", "after"), [(5, 50), (50, 5), (1, 200), (200, 1), (5, 4)])
def test_a_second_around_a_change_holds_no_more_than_the_larger_share(before: int, after: int) -> None:
    lane = Lane(200, share_per_s=before)
    left = run_on_movable_clock(together([lane], [(10.3, 0, after)], 20))
    assert most_in_any_second(left) <= max(before, after)


def test_a_lane_without_a_share_lets_nobody_go_and_goes_on_once_it_has_one() -> None:
    left = run_on_movable_clock(together([Lane(5, share_per_s=0)], [(100, 0, 5)], 110))
    assert len(left) >= 0.97 * 5 * 10 - 1
    assert min(left) >= 1_100


def test_a_share_that_is_not_renewed_ends_by_itself_and_comes_back_when_it_is() -> None:
    async def story() -> tuple[int, int, int]:
        lane, left = Lane(10, share_per_s=0), list[float]()
        caller = asyncio.create_task(call_for_ever(lane, left))
        lane.set_share(10, usable_until=steady_time() + 20)
        await asyncio.sleep(20.1)
        until_then = len(left)
        await asyncio.sleep(60)
        meanwhile = len(left) - until_then
        lane.set_share(10, usable_until=steady_time() + 20)
        await asyncio.sleep(20.1)
        caller.cancel()
        return until_then, meanwhile, len(left) - until_then

    until_then, meanwhile, afterwards = run_on_movable_clock(story())
    assert until_then >= 190
    assert meanwhile == 0
    assert afterwards >= 190


def test_nothing_leaves_after_a_deadline_however_long_the_loop_stood_still() -> None:
    """A process that is stopped and goes on must look at the clock before it calls, not after."""

    async def story() -> int:
        lane, left = Lane(50, share_per_s=0), list[float]()
        caller = asyncio.create_task(call_for_ever(lane, left))
        lane.set_share(50, usable_until=steady_time() + 1)
        await asyncio.sleep(0.5)
        before = len(left)
        asyncio.get_running_loop()._clock.now += 100  # type: ignore[attr-defined]
        await asyncio.sleep(10)
        caller.cancel()
        return len(left) - before

    assert run_on_movable_clock(story()) == 0


def test_whoever_waits_for_a_share_hears_that_the_lane_is_closed() -> None:
    async def story() -> list[object]:
        lane = Lane(5, share_per_s=0)

        async def call() -> None:
            async with lane.gate:
                lane.check_open()
                await lane.admit()

        waiting = [asyncio.create_task(call()) for _ in range(5)]
        waiting.append(asyncio.create_task(lane.admit()))
        await asyncio.sleep(1)
        lane.close(Stopped("enough"))
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(end, Stopped) for end in run_on_movable_clock(story()))


def test_what_is_announced_leaves_with_a_spent_budget_once_there_is_a_share_again() -> None:
    async def story() -> int:
        lane = Lane(5)
        await lane.gate.acquire()
        lane.set_share(0)
        announced = asyncio.create_task(lane.admit())
        lane.close(BudgetSpent("calls", "spent"), announced_may_leave=True)
        await asyncio.sleep(5)
        assert not announced.done()
        lane.set_share(5)
        await announced
        return lane.admitted

    assert run_on_movable_clock(story()) == 1


def test_no_call_is_announced_while_nothing_may_leave() -> None:
    async def story() -> tuple[int, int]:
        lane, announced = Lane(200, share_per_s=0), 0

        async def call() -> None:
            nonlocal announced
            async with lane.gate:
                announced += 1
                await lane.admit()

        calls = [asyncio.create_task(call()) for _ in range(300)]
        await asyncio.sleep(60)
        before = announced
        lane.set_share(1)
        await asyncio.sleep(10)
        for each in calls:
            each.cancel()
        return before, announced

    before, after = run_on_movable_clock(story())
    assert before == 0
    assert 9 <= after <= 12


def test_those_who_size_themselves_by_the_share_hear_of_its_changes() -> None:
    async def story() -> list[tuple[int, int]]:
        lane, seen = Lane(5), list[tuple[int, int]]()
        lane.follow(lambda: seen.append((lane.cap_per_s, lane.share_per_s)))
        lane.set_share(3)
        lane.set_share(3)
        lane.set_cap(50)
        lane.set_share(50)
        return seen

    assert run_on_movable_clock(story()) == [(5, 3), (50, 3), (50, 50)]


def test_a_negative_share_is_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        Lane(5, share_per_s=-1)


# Places: a semaphore whose size may change while people wait for it.


def test_places_follow_their_size_and_nobody_overtakes() -> None:
    async def story() -> list[list[int]]:
        places, inside, seen = Places(0), list[int](), []

        async def enter(number: int) -> None:
            async with places:
                inside.append(number)
                await asyncio.sleep(1_000)

        visits = [asyncio.create_task(enter(number)) for number in range(5)]
        for size in (0, 2, 1, 4):
            places.resize(size)
            await asyncio.sleep(1)
            seen.append(list(inside))
        for each in visits:
            each.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        assert (places.used, places.queued) == (0, 0)
        return seen

    assert run_on_movable_clock(story()) == [[], [0, 1], [0, 1], [0, 1, 2, 3]]


def test_a_place_given_to_somebody_who_left_goes_to_the_next() -> None:
    async def story() -> bool:
        places = Places(1)
        await places.acquire()
        first, second = asyncio.create_task(places.acquire()), asyncio.create_task(places.acquire())
        await asyncio.sleep(0)
        places.release()
        first.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return second.done() and places.used == 1

    assert run_on_movable_clock(story())
