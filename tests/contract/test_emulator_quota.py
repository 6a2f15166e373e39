"""The quota of the emulated services: one-second windows, and the busiest seconds of their logs."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.calls import busiest_seconds
from emulators.quota import Quota, Window
from tests.contract.emulator_clients import ask
from tests.contract.emulator_process import RunningEmulators, running_emulators

PROVIDERS = ("tencent", "aliyun")


@pytest.fixture(scope="module")
def process() -> Iterator[RunningEmulators]:
    with running_emulators() as running:
        yield running


@pytest.fixture
def emulators(process: RunningEmulators) -> RunningEmulators:
    process.reset()
    return process


def test_a_fixed_window_lets_the_first_calls_of_each_calendar_second_pass() -> None:
    quota = Quota(2)

    arrivals = [10.1, 10.2, 10.3, 10.99, 11.0, 11.01, 11.02]

    passed = [quota.admit("main", arrived) for arrived in arrivals]
    assert passed == [True, True, False, False, True, True, False]


def test_a_sliding_window_looks_at_every_second_wherever_it_starts() -> None:
    quota = Quota(2, "sliding")

    arrivals = [10.1, 10.9, 11.0, 11.1, 11.2, 11.9]

    passed = [quota.admit("main", arrived) for arrived in arrivals]
    assert passed == [True, True, False, True, False, True]


def test_owners_have_quotas_of_their_own() -> None:
    quota = Quota(1)

    assert [quota.admit(owner, 10.0) for owner in ("a", "a", "b")] == [True, False, True]


def test_no_limit_means_every_call_passes() -> None:
    quota = Quota(0)

    assert all(quota.admit("main", 10.0) for _ in range(1000))


@given(
    limit=st.integers(1, 4),
    window=st.sampled_from(["fixed", "sliding"]),
    arrivals=st.lists(st.floats(0, 5), max_size=60),
)
def test_no_second_holds_more_passed_calls_than_the_quota_in_any_order_of_arrival(
    limit: int, window: Window, arrivals: list[float]
) -> None:
    quota = Quota(limit, window)

    passed = [arrived for arrived in arrivals if quota.admit("main", arrived)]

    busiest = busiest_seconds(passed)
    assert busiest["calendar_second"] <= limit
    if window == "sliding":
        assert all(sum(0 <= other - one < 1.0 for other in passed) <= limit for one in passed)
    if arrivals:
        assert passed


@given(slots=st.lists(st.integers(0, 120), max_size=20))
def test_the_busiest_fixed_second_is_the_worst_of_fifty_offsets(slots: list[int]) -> None:
    def most(starts: range) -> int:
        return max(sum(start <= slot < start + 50 for slot in slots) for start in starts)

    found = busiest_seconds([slot / 50 + 0.001 for slot in slots])

    assert found["calendar_second"] == most(range(0, 150, 50))
    assert found["fixed_second"] == most(range(-50, 121))


@given(ticks=st.lists(st.integers(0, 256), max_size=20))
def test_the_busiest_sliding_second_starts_with_some_call(ticks: list[int]) -> None:
    """In ticks of 1/64 s, which floating point holds exactly."""
    expected = max((sum(0 <= other - one < 64 for other in ticks) for one in ticks), default=0)

    assert busiest_seconds([tick / 64 for tick in ticks])["sliding_second"] == expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_quota_is_counted_by_the_arrivals_in_the_log(emulators: RunningEmulators, provider: str) -> None:
    emulators.settings(provider, qps=2)

    replies = [ask(emulators, provider)[1] for _ in range(12)]

    seen: Counter[int] = Counter()
    for call, reply in zip(emulators.calls(provider), replies, strict=True):
        second = int(call["arrived_at"])
        seen[second] += 1
        assert call["throttled"] == (seen[second] > 2)
        assert call["billed"] != call["throttled"]
        assert (b"RequestLimitExceeded" in reply or b"Throttling.User" in reply) == (call["throttled"])
    summary = emulators.summary(provider)
    assert summary["total"] == 12
    assert summary["billed"] + summary["throttled"] == 12
    assert summary["passed"]["calendar_second"] <= 2
