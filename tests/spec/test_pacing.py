"""Pace: no second of the provider's clock holds more calls than the cap, and little of it is idle."""

import asyncio
import random
import traceback

import pytest

from domain.errors import Denied, Refused, Stopped, Throttled, Unavailable
from domain.verdicts import Answer, Provider, Risk
from tasks.pacing.lane import LEAST_GUARD_S, QUIET_S, Lane
from tasks.pacing.retry import RetryPolicy, Tries, wait_before_next
from tasks.pacing.settle import settle
from tests.clock import run_on_movable_clock

CAPS = [1, 2, 5, 10, 20, 50, 200]


def most_in_any_second(times: list[float]) -> int:
    """The largest number of calls in any half-open stretch of one second."""
    times = sorted(times)
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


async def departures(lane: Lane, calls: int) -> list[float]:
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(calls):
        await lane.admit()
        times.append(loop.time())
    return times


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_invariant_2_no_second_holds_more_calls_than_the_cap(cap: int, seed: int) -> None:
    """Whatever the network does to each call within the guard, the provider never counts too many."""
    random_ = random.Random(seed)
    left = run_on_movable_clock(departures(Lane(cap), cap * 60))
    arrived = [at + random_.uniform(0, LEAST_GUARD_S) for at in left]
    assert most_in_any_second(arrived) <= cap


@pytest.mark.parametrize("cap", CAPS)
def test_invariant_2_at_least_97_percent_of_the_cap_is_used(cap: int) -> None:
    left = run_on_movable_clock(departures(Lane(cap), cap * 200))
    assert (len(left) - 1) / (left[-1] - left[0]) >= 0.97 * cap


@pytest.mark.parametrize("cap", CAPS)
def test_a_lane_that_was_idle_owes_no_burst(cap: int) -> None:
    async def story() -> list[float]:
        lane = Lane(cap)
        times = await departures(lane, cap)
        await asyncio.sleep(3600)
        return times + await departures(lane, 3 * cap)

    assert most_in_any_second(run_on_movable_clock(story())) <= cap


def test_calls_leave_in_the_order_in_which_they_asked() -> None:
    async def story() -> list[int]:
        lane, left = Lane(5), []

        async def call(number: int) -> None:
            await lane.admit()
            left.append(number)

        await asyncio.gather(*(call(number) for number in range(12)))
        return left

    assert run_on_movable_clock(story()) == list(range(12))


def test_a_throttled_lane_holds_everybody_back_and_slows_down() -> None:
    async def story() -> tuple[float, float, float]:
        lane, loop = Lane(10), asyncio.get_running_loop()
        await departures(lane, 20)
        before, at = lane.rate_per_s, loop.time()
        lane.throttle(retry_after_s=3.0)
        await lane.admit()
        return loop.time() - at, before, lane.rate_per_s

    waited_s, before, after = run_on_movable_clock(story())
    assert waited_s >= 3.0
    assert after < before


def test_calls_turned_away_together_slow_the_lane_once() -> None:
    async def story(storms: int) -> float:
        lane = Lane(10)
        for _ in range(storms):
            lane.throttle(1.0)
        return lane.rate_per_s

    assert run_on_movable_clock(story(7)) == run_on_movable_clock(story(1))


def test_a_lane_never_falls_below_a_tenth_of_its_cap() -> None:
    async def story() -> float:
        lane = Lane(10)
        for _ in range(100):
            lane.throttle(1.0)
            await lane.admit()
        return lane.rate_per_s

    assert run_on_movable_clock(story()) >= 0.99


def test_a_quiet_lane_comes_back_to_its_old_rate_slowly() -> None:
    async def story() -> list[float]:
        lane = Lane(10)
        rates = [lane.rate_per_s]
        for _ in range(4):
            lane.throttle(1.0)
            await lane.admit()
        for _ in range(8):
            rates.append(lane.rate_per_s)
            await asyncio.sleep(QUIET_S + 1)
            await lane.admit()
        return [*rates, lane.rate_per_s]

    full, *recovering, recovered = run_on_movable_clock(story())
    assert recovering == sorted(recovering)
    assert recovering[0] < recovering[1] < full
    assert recovered == full


def test_narrowing_the_guard_lets_no_extra_call_through() -> None:
    async def story() -> list[float]:
        lane = Lane(5)
        lane.throttle(1.0)
        return await departures(lane, 5 * int(4 * QUIET_S))

    assert most_in_any_second(run_on_movable_clock(story())) <= 5


@pytest.mark.parametrize(("cap", "guard_s"), [(0, 0.01), (-1, 0.01), (5, -0.1), (5, 60.0)])
def test_a_lane_without_a_sensible_cap_or_guard_is_refused(cap: int, guard_s: float) -> None:
    with pytest.raises(ValueError, match="lane"):
        Lane(cap, guard_s)


# One retry policy for both providers: the class of the error says what to do next.


def throttled(retry_after_s: float = 1.0) -> Throttled:
    return Throttled(Provider.TENCENT, "RequestLimitExceeded", "slow down", retry_after_s=retry_after_s)


def unavailable(*, in_doubt: bool = False) -> Unavailable:
    return Unavailable(Provider.TENCENT, "InternalError", "try later", in_doubt=in_doubt)


ANSWER = Answer(Risk.LOW, "Low", "r-1", "http://127.0.0.1", "{}")


async def settle_after(*failures: Exception, policy: RetryPolicy | None = None):
    """Settle a question whose first calls end with `failures`; returns how it ended and when calls left."""
    outcomes = iter(failures)
    left: list[float] = []

    async def announce(call_number: int) -> str:
        return f"order-{call_number}"

    async def ask(order_no: str) -> Answer:
        left.append(asyncio.get_running_loop().time())
        for failure in outcomes:
            raise failure
        return ANSWER

    return await settle(Lane(5), policy or RetryPolicy(), announce, ask, Tries()), left


def test_a_throttled_call_costs_no_attempt() -> None:
    settled, left = run_on_movable_clock(settle_after(*[throttled()] * 9))
    assert settled.answer is ANSWER
    assert (settled.tries.attempts, settled.tries.throttled, len(left)) == (1, 9, 10)


def test_every_call_has_an_order_number_of_its_own() -> None:
    settled, _ = run_on_movable_clock(settle_after(unavailable(), unavailable()))
    assert settled.order_no == "order-3"


def test_an_unavailable_provider_is_asked_again_a_bounded_number_of_times() -> None:
    settled, left = run_on_movable_clock(settle_after(*[unavailable()] * 50))
    assert settled.answer is None
    assert len(left) == settled.tries.attempts == RetryPolicy().attempts


def test_the_wait_between_attempts_doubles_up_to_its_cap() -> None:
    policy = RetryPolicy(attempts=99, backoff_s=1.0, backoff_cap_s=8.0)
    waits = [wait_before_next(policy, Tries(attempts=n), unavailable(), 0.0, 0.999999) for n in range(1, 7)]
    assert [round(wait or 0, 2) for wait in waits] == [1, 2, 4, 8, 8, 8]


def test_jitter_spreads_a_wait_over_its_second_half() -> None:
    wait_s = wait_before_next(RetryPolicy(backoff_s=4.0), Tries(attempts=1), unavailable(), 0.0, 0.0)
    assert wait_s == 2.0


def test_a_call_in_doubt_is_repeated_less_often() -> None:
    settled, left = run_on_movable_clock(settle_after(*[unavailable(in_doubt=True)] * 50))
    assert settled.answer is None
    assert len(left) == settled.tries.in_doubt == RetryPolicy().in_doubt_attempts


def test_a_question_is_given_up_when_patience_ends() -> None:
    settled, left = run_on_movable_clock(
        settle_after(*[throttled(10.0)] * 500, policy=RetryPolicy(patience_s=60.0))
    )
    assert isinstance(settled.error, Throttled)
    assert left[-1] - left[0] <= 60.0


def test_a_refused_question_is_never_asked_again() -> None:
    refused = Refused(Provider.TENCENT, "FailedOperation.CoveredFace", "covered")
    settled, left = run_on_movable_clock(settle_after(refused, refused))
    assert settled.error is refused
    assert len(left) == 1


def test_a_denied_account_ends_the_asking_at_once() -> None:
    with pytest.raises(Denied):
        run_on_movable_clock(settle_after(Denied(Provider.TENCENT, "UnauthorizedOperation.Arrears", "pay")))


def test_a_closed_lane_lets_nobody_wait_and_no_call_leave() -> None:
    async def story() -> list[object]:
        lane = Lane(5)
        lane.throttle(retry_after_s=600.0)
        waiting = [asyncio.create_task(lane.admit()) for _ in range(3)]
        backing_off = asyncio.create_task(lane.rest(600.0))
        await asyncio.sleep(1)
        lane.close(Stopped("enough"))
        ended = await asyncio.gather(*waiting, backing_off, lane.admit(), return_exceptions=True)
        assert asyncio.get_running_loop().time() < 1_010
        return ended

    assert all(isinstance(end, Stopped) for end in run_on_movable_clock(story()))


def test_the_error_that_closes_a_lane_stays_as_small_however_many_calls_wait() -> None:
    async def frames(waiters: int) -> int:
        lane = Lane(5)
        lane.throttle(retry_after_s=600.0)
        waiting = [asyncio.create_task(lane.admit()) for _ in range(waiters)]
        await asyncio.sleep(1)
        end = Stopped("enough")
        lane.close(end)
        await asyncio.gather(*waiting, return_exceptions=True)
        return sum(1 for _ in traceback.walk_tb(end.__traceback__))

    assert run_on_movable_clock(frames(50)) == run_on_movable_clock(frames(1))
