"""Intervals: Wilson's, against published values, and the confidence sequence, against its definition."""

import math
import random
from itertools import pairwise

import pytest
from scipy.optimize import brentq
from scipy.stats import betabinom, binomtest, norm

from tasks.reports.intervals import (
    PRIOR_ONES,
    PRIOR_ZEROS,
    log_evidence_against,
    still_possible,
    wilson,
)

ALPHA = 0.05

# --- Wilson ---


@pytest.mark.parametrize(
    ("marked", "size", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_has_the_values_newcombe_published(
    marked: int, size: int, low: float, high: float
) -> None:
    """Statistics in Medicine 17 (1998), table I, method 3."""
    interval = wilson(marked / size, size, 0.95)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("marked", "size"), [(0, 1), (1, 1), (0, 500), (3, 500), (250, 500), (500, 500)])
def test_wilsons_interval_is_scipys(marked: int, size: int, confidence: float) -> None:
    ours = wilson(marked / size, size, confidence)
    theirs = binomtest(marked, size).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_an_effective_size_between_two_numbers_gives_an_interval_between_theirs() -> None:
    widths = [wilson(0.1, size, 0.95).half_width for size in (10, 10.5, 11)]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


@pytest.mark.parametrize(
    ("population", "drawn", "share"), [(500, 100, 0.02), (2000, 1900, 0.3), (60, 59, 0.5)]
)
def test_the_effective_size_of_a_finite_population_inverts_the_hypergeometric_score(
    population: int, drawn: int, share: float
) -> None:
    """Its ends are where the share seen is z standard errors off, errors as of a draw without replacement."""
    z = norm.ppf(0.975)

    def off(true_share: float) -> float:
        variance = true_share * (1 - true_share) / drawn * (population - drawn) / (population - 1)
        return abs(share - true_share) - z * math.sqrt(variance)

    interval = wilson(share, drawn * (population - 1) / (population - drawn), 0.95)

    assert interval.low == pytest.approx(brentq(off, 1e-12, share), abs=1e-9)
    assert interval.high == pytest.approx(brentq(off, share, 1 - 1e-12), abs=1e-9)


# --- the confidence sequence ---


@pytest.mark.parametrize(
    ("population", "drawn", "ones"), [(30, 10, 3), (200, 50, 0), (200, 50, 50), (1000, 999, 4)]
)
def test_the_evidence_is_the_ratio_of_prior_and_posterior(population: int, drawn: int, ones: int) -> None:
    """Beta-binomial before the draw; after it, beta-binomial again for what is left."""
    prior = betabinom(population, PRIOR_ONES, PRIOR_ZEROS)
    posterior = betabinom(population - drawn, PRIOR_ONES + ones, PRIOR_ZEROS + drawn - ones)
    for guess in range(population + 1):
        if ones <= guess <= population - (drawn - ones):
            expected = prior.logpmf(guess) - posterior.logpmf(guess - ones)
            assert log_evidence_against(population, guess, drawn, ones) == pytest.approx(expected, abs=1e-6)
        else:
            assert log_evidence_against(population, guess, drawn, ones) == math.inf


def test_the_ends_are_those_that_trying_every_guess_finds() -> None:
    chance = random.Random(4)
    for _ in range(60):
        population = chance.randint(1, 120)
        drawn = chance.randint(0, population)
        ones = chance.randint(0, drawn)
        alpha = chance.choice((0.2, 0.05, 0.001))
        possible = [
            guess
            for guess in range(population + 1)
            if drawn == 0 or log_evidence_against(population, guess, drawn, ones) < math.log(1 / alpha)
        ]
        assert possible == list(range(possible[0], possible[-1] + 1))
        assert still_possible(population, drawn, ones, alpha) == (possible[0], possible[-1])


@pytest.mark.parametrize(("drawn", "ones"), [(2_000, 0), (20_000, 100), (20_000, 10_000)])
def test_a_hundred_million_objects_have_exact_ends(drawn: int, ones: int) -> None:
    """Held against the same ratio summed term by term, which loses no digits to large gamma functions."""
    population = 10**8

    def summed(guess: int) -> float:
        before = [math.log(PRIOR_ONES + index) for index in range(ones)]
        before += [math.log(PRIOR_ZEROS + index) for index in range(drawn - ones)]
        before += [-math.log(PRIOR_ONES + PRIOR_ZEROS + index) for index in range(drawn)]
        after = [math.log(guess - index) for index in range(ones)]
        after += [math.log(population - guess - index) for index in range(drawn - ones)]
        after += [-math.log(population - index) for index in range(drawn)]
        return math.fsum(before) - math.fsum(after)

    low, high = still_possible(population, drawn, ones, ALPHA)

    assert summed(high) < math.log(1 / ALPHA) <= summed(high + 1)
    assert summed(low) < math.log(1 / ALPHA)
    assert low == ones == 0 or summed(low - 1) >= math.log(1 / ALPHA)


def test_what_is_drawn_to_the_last_object_is_known() -> None:
    assert still_possible(50, 50, 7, ALPHA) == (7, 7)
    assert still_possible(50, 0, 0, ALPHA) == (0, 50)
    assert still_possible(0, 0, 0, ALPHA) == (0, 0)


def test_more_confidence_and_fewer_draws_leave_more_possible() -> None:
    sure = [still_possible(10_000, 500, 10, alpha) for alpha in (0.2, 0.05, 0.01)]
    drawn = [still_possible(10_000, 50 * times, times, ALPHA) for times in (100, 20, 4)]
    for narrower, wider in (*pairwise(sure), *pairwise(drawn)):
        assert wider[0] <= narrower[0] <= narrower[1] <= wider[1]
        assert wider != narrower


# --- peeking ---


def drawn_in_random_order(seed: int, population: int, ones: int) -> list[int]:
    """Of each length of a random order, how many marked ones its beginning holds."""
    order = [1] * ones + [0] * (population - ones)
    random.Random(seed).shuffle(order)
    seen, found = [0], 0
    for mark in order:
        found += mark
        seen.append(found)
    return seen


@pytest.mark.parametrize(("population", "ones"), [(1000, 20), (400, 120)])
def test_whoever_looks_again_and_again_is_misled_by_wilson_and_not_by_the_sequence(
    population: int, ones: int
) -> None:
    """Of 300 runs watched after every ten objects, at most one in twenty ever excludes the truth."""
    runs, missed, misled, misled_at_one_look = 300, 0, 0, 0
    looks = range(10, population, 10)
    for seed in range(runs):
        seen = drawn_in_random_order(seed, population, ones)
        missed += any(
            log_evidence_against(population, ones, drawn, seen[drawn]) >= math.log(1 / ALPHA)
            for drawn in looks
        )

        def excludes(drawn: int, seen: list[int] = seen) -> bool:
            size = drawn * (population - 1) / (population - drawn)
            interval = wilson(seen[drawn] / drawn, size, 1 - ALPHA)
            return not interval.low <= ones / population <= interval.high

        misled += any(map(excludes, looks))
        misled_at_one_look += excludes(population // 2)

    assert missed / runs <= ALPHA
    assert misled / runs > 4 * ALPHA
    assert misled_at_one_look / runs < 2 * ALPHA
