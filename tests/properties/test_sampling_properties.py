"""Samples of any bucket: what a larger one holds, what weights add up to, and whether chance draws them."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, hypergeom

from domain.objects import ObjectRef, Store
from domain.order import visiting
from domain.questions import Question
from domain.verdicts import Provider
from tasks.candidates import Allocation, Selection, Strata, allocate
from tests.properties.test_plan_properties import PROVIDERS, START, Made

SIZES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(1, 400), min_size=1, max_size=12
)
ALLOCATIONS = st.sampled_from(Allocation)


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(0, 800), st.integers(0, 200), ALLOCATIONS)
def test_a_larger_sample_has_no_fewer_of_any_stratum(
    sizes: dict[str, int], extra: int, more: int, allocation: Allocation
) -> None:
    """Every count is met exactly, from one of each stratum to all of them."""
    objects = len(sizes) + extra
    small, large = (allocate(sizes, number, allocation) for number in (objects, objects + more))

    for shares, number in ((small, objects), (large, objects + more)):
        assert list(shares) == list(sizes)
        assert all(1 <= shares[name] <= sizes[name] for name in sizes)
        assert sum(shares.values()) == min(number, sum(sizes.values()))
    assert all(small[name] <= large[name] for name in sizes)


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(0, 800))
def test_equal_shares_differ_by_one_at_most_where_a_stratum_is_not_taken_whole(
    sizes: dict[str, int], extra: int
) -> None:
    shares = allocate(sizes, len(sizes) + extra, Allocation.EQUAL)
    largest = max(shares.values())
    assert all(share == sizes[name] or share >= largest - 1 for name, share in shares.items())


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(0, 800))
def test_no_swap_of_one_object_makes_shares_more_proportional(sizes: dict[str, int], extra: int) -> None:
    """Webster's method: of two strata, none with more than one object is owed less than the other is."""
    shares = allocate(sizes, len(sizes) + extra, Allocation.PROPORTIONAL)
    for name, share in shares.items():
        if share > 1:
            worth = sizes[name] / (2 * share - 1)
            assert all(sizes[other] / (2 * shares[other] + 1) <= worth + 1e-12 for other in sizes)


def bucket(sizes: dict[str, int]) -> list[ObjectRef]:
    return [
        ObjectRef(f"s3://kyc/{key}", Store.S3, "kyc", key, None, f"etag of {key}", 9, START)
        for folder, size in sizes.items()
        for key in (f"{folder}/{number}.jpg" for number in range(size))
    ]


def planned(listing: list[ObjectRef], selection: Selection) -> list[Question]:
    return Made(listing, [], selection, dict.fromkeys(PROVIDERS, 50)).asked(Provider.TENCENT)


@settings(max_examples=8, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 25), min_size=1),
    st.integers(0, 30),
    st.integers(0, 30),
    ALLOCATIONS,
)
def test_a_stratified_sample_holds_the_smaller_one_and_its_weights_add_up_to_all(
    sizes: dict[str, int], extra: int, more: int, allocation: Allocation
) -> None:
    listing = bucket(sizes)
    objects = len(sizes) + extra
    selection = Selection(sample_size=objects, strata=Strata(1, allocation=allocation))

    small = planned(listing, selection)
    large = planned(listing, replace(selection, sample_size=objects + more))

    assert {each.question_id for each in small} <= {each.question_id for each in large}
    for asked, number in ((small, objects), (large, objects + more)):
        assert Counter(each.object.stratum for each in asked) == allocate(sizes, number, allocation)
        weights: Counter[Any] = Counter()
        for each in asked:
            weights[each.object.stratum] += each.weight
        assert all(abs(weights[name] - size) < 1e-9 for name, size in sizes.items())


# --- chance ---

BUCKETS, OBJECTS, MARKED = 800, 60, 15


def test_every_prefix_of_the_visiting_order_is_a_simple_random_sample() -> None:
    """Of 800 buckets the marked objects among the first k are as many as a draw without replacement has."""
    chance = random.Random(7)
    found: dict[int, list[int]] = {5: [], 20: [], 45: []}
    for number in range(BUCKETS):
        names = [f"s3://bucket-{number}/{index:03}.jpg" for index in range(OBJECTS)]
        marked = set(chance.sample(names, MARKED))
        order = sorted(names, key=lambda name: visiting(name, "v1"))
        for first, counts in found.items():
            counts.append(len(marked.intersection(order[:first])))
    for first, counts in found.items():
        expected = [BUCKETS * hypergeom(OBJECTS, MARKED, first).pmf(hits) for hits in range(first + 1)]
        common = [hits for hits in range(first + 1) if expected[hits] >= 5]
        seen = [counts.count(hits) for hits in common]
        seen.append(BUCKETS - sum(seen))
        fair = [expected[hits] for hits in common]
        fair.append(BUCKETS - sum(fair))
        assert chisquare(seen, fair).pvalue > 0.01, (first, seen, fair)


def test_no_name_is_visited_sooner_than_another() -> None:
    """Each of a bucket's objects is as often among the first ten, whatever it is called."""
    hits: Counter[int] = Counter()
    for number in range(BUCKETS):
        order = sorted(range(OBJECTS), key=lambda index: visiting(f"s3://b{number}/{index:03}.jpg", "v1"))
        hits.update(order[:10])
    assert chisquare([hits[index] for index in range(OBJECTS)]).pvalue > 0.01
