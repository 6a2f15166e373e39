"""The breaker: a run in which most questions fail or are refused ends before it spoils the rest."""

import pytest

from domain.errors import Tripped
from domain.verdicts import Outcome, Provider
from tasks.pacing.breaker import LOOKS_BACK, Breaker

FAILED, REFUSED, SCORED = Outcome.FAILED, Outcome.REFUSED, Outcome.SCORED


def noted(breaker: Breaker, *runs: tuple[int, Outcome, str | None]) -> tuple[int, Tripped] | None:
    """The number of the question that trips it, and its sentence; None if none does."""
    number = 0
    for count, outcome, reason in runs:
        for _ in range(count):
            number += 1
            if end := breaker.note(outcome, reason):
                return number, end
    return None


def test_it_trips_when_over_half_of_at_least_200_questions_are_spoiled() -> None:
    found = noted(
        Breaker(Provider.TENCENT, 0.5, 200), (150, FAILED, "timeout"), (49, SCORED, None), (1, SCORED, None)
    )
    assert found is not None
    assert found[0] == 200
    assert str(found[1]) == (
        "150 of the last 200 questions to tencent failed or were refused, more than 50 %: 150 × timeout"
    )


def test_half_is_not_over_half() -> None:
    assert noted(Breaker(Provider.TENCENT, 0.5, 200), (100, SCORED, None), (100, REFUSED, "420")) is None


def test_fewer_than_the_least_number_never_trip_it() -> None:
    assert noted(Breaker(Provider.TENCENT, 0.5, 200), (199, FAILED, "timeout")) is None


def test_its_sentence_counts_the_commonest_reasons() -> None:
    found = noted(
        Breaker(Provider.ALIYUN, 0.1, 10),
        (4, REFUSED, "420"),
        (2, FAILED, "timeout"),
        (1, FAILED, "http_502"),
        (1, FAILED, None),
        (1, REFUSED, "406"),
        (1, SCORED, None),
    )
    assert found is not None
    assert str(found[1]).endswith(": 4 × 420, 2 × timeout, 1 × http_502, 2 × others")


def test_a_provider_that_breaks_after_many_good_answers_trips_it_soon() -> None:
    """Not only after as many bad ones."""
    found = noted(
        Breaker(Provider.TENCENT, 0.5, 200), (1_000_000, SCORED, None), (100_000, FAILED, "timeout")
    )
    assert found is not None
    assert found[0] - 1_000_000 == LOOKS_BACK * 200 // 2 + 1


def test_what_is_long_past_no_longer_counts() -> None:
    breaker = Breaker(Provider.TENCENT, 0.5, 10)
    assert noted(breaker, (9, SCORED, None), (9, REFUSED, "420")) is None
    assert noted(breaker, (50, SCORED, None), (25, REFUSED, "420")) is None
    assert noted(breaker, (1, REFUSED, "420")) is not None


@pytest.mark.parametrize("outcome", [FAILED, REFUSED])
def test_a_share_of_all_switches_it_off(outcome: Outcome) -> None:
    assert noted(Breaker(Provider.TENCENT, 1.0, 1), (1_000, outcome, "420")) is None
