"""Strata: parts of the objects selected, each sampled by itself along the visiting order."""

from collections import Counter
from typing import Any

import pytest

from domain.errors import UsageError
from domain.order import visiting
from domain.verdicts import Outcome, Provider
from tasks.candidates import Allocation, PlanTotals, Strata, allocate
from tasks.candidates.strata import MOST_STRATA
from tests.spec.test_plan import MakePlan, Plan, ended, listed, make_plan, ref

__all__ = ["make_plan"]  # a fixture

TENCENT, ALIYUN = Provider.TENCENT, Provider.ALIYUN
EQUAL = Strata(1, allocation=Allocation.EQUAL)


def folders(**sizes: int) -> list[dict[str, Any]]:
    return [listed(f"{name}/{number}.jpg") for name, size in sizes.items() for number in range(size)]


def sampled(made: Plan) -> dict[str | None, int]:
    return dict(Counter(question.object.stratum for question in made.questions()))


# --- which stratum an object is in ---


@pytest.mark.parametrize(
    ("strata", "key", "stratum"),
    [
        (Strata(1), "2024/03/a.jpg", "2024"),
        (Strata(2), "2024/03/a.jpg", "2024/03"),
        (Strata(3), "2024/03/a.jpg", "2024/03"),  # the file's name is no folder
        (Strata(1), "a.jpg", "."),
        (Strata(1), "客户/线\n'/a.jpg", "客户"),
        (Strata(2), "客户/线\n'/a.jpg", "客户/线\n'"),
        (Strata(2), "a//b.jpg", "a/"),
        (Strata(1, top="selfies/"), "selfies/2024/a.jpg", "2024"),
        (Strata(1, top="selfies/"), "selfies/a.jpg", "."),
        (Strata(1, top="selfies/"), "elsewhere/2024/a.jpg", "elsewhere"),  # an inventory may name it
        (Strata(1, top="it's/"), "it's/2024/a.jpg", "2024"),
    ],
)
def test_folders_of_the_key_name_the_stratum(
    make_plan: MakePlan, strata: Strata, key: str, stratum: str
) -> None:
    (question,) = make_plan([listed(key, stratum="the listing's own")], strata=strata).questions()
    assert question.object.stratum == stratum


def test_a_column_of_the_listing_names_the_stratum(make_plan: MakePlan) -> None:
    rows = [listed("1.jpg", stratum="web"), listed("2.jpg", stratum=None), listed("3.jpg", stratum="")]
    made = make_plan(rows, strata=Strata(None))
    assert sampled(made) == {"web": 1, ".": 2}


def test_without_strata_the_listings_column_is_only_passed_on(make_plan: MakePlan) -> None:
    rows = [listed("1.jpg", stratum="web"), listed("2.jpg", stratum="app")]
    made = make_plan(rows)
    assert sampled(made) == {"web": 1, "app": 1}
    (everything,) = made.totals.providers[TENCENT].strata
    assert (everything.stratum, everything.selected) == (None, 2)


def test_skipped_objects_say_their_stratum_too(make_plan: MakePlan) -> None:
    made = make_plan([*folders(a=3), listed("b/note.txt")], strata=Strata(1), sample_size=2)
    assert {(row["stratum"], row["reason"]) for row in made.skipped} >= {
        ("a", "out_of_sample"),
        ("b", "not_included"),
    }


def test_a_column_without_a_value_is_wrong_use(make_plan: MakePlan) -> None:
    with pytest.raises(UsageError, match='"column", but no object selected has a stratum'):
        make_plan(folders(a=3), strata=Strata(None), sample_size=1)


def test_more_strata_than_people_can_read_are_wrong_use(make_plan: MakePlan) -> None:
    rows = [listed(f"{number}/a.jpg") for number in range(MOST_STRATA + 1)]
    assert len(make_plan(rows[:-1], strata=Strata(1)).totals.providers[TENCENT].strata) == MOST_STRATA
    with pytest.raises(UsageError, match=r'"prefix:1" makes more than 1,000 strata'):
        make_plan(rows, strata=Strata(1))


# --- how a sample is shared ---


@pytest.mark.parametrize(
    ("sizes", "objects", "expected"),
    [
        ({"a": 900, "b": 100}, 100, {"a": 90, "b": 10}),
        ({"a": 999, "b": 1}, 10, {"a": 9, "b": 1}),  # one of each at least
        ({"a": 600, "b": 300, "c": 100}, 7, {"a": 4, "b": 2, "c": 1}),
        ({"a": 5, "b": 5}, 100, {"a": 5, "b": 5}),
    ],
)
def test_in_proportion(sizes: dict[str, int], objects: int, expected: dict[str, int]) -> None:
    assert allocate(sizes, objects, Allocation.PROPORTIONAL) == expected


@pytest.mark.parametrize(
    ("sizes", "objects", "expected"),
    [
        ({"a": 900, "b": 100}, 100, {"a": 50, "b": 50}),
        ({"a": 900, "b": 20}, 100, {"a": 80, "b": 20}),  # taken whole, the rest goes to the others
        ({"a": 900, "b": 20, "c": 3}, 100, {"a": 77, "b": 20, "c": 3}),
        ({"a": 900, "b": 500}, 7, {"a": 4, "b": 3}),  # the odd one goes to the largest
        ({"a": 5, "b": 5}, 100, {"a": 5, "b": 5}),
    ],
)
def test_equally(sizes: dict[str, int], objects: int, expected: dict[str, int]) -> None:
    assert allocate(sizes, objects, Allocation.EQUAL) == expected


def test_the_alabama_paradox_does_not_happen() -> None:
    """By largest remainders the smallest would have 2 of 10 objects and 1 of 11: asked for nothing."""
    sizes = {"a": 6, "b": 6, "c": 2}
    shares = [allocate(sizes, objects, Allocation.PROPORTIONAL) for objects in (10, 11)]
    assert all(shares[1][name] >= shares[0][name] for name in sizes)


def test_less_than_one_object_of_each_is_no_sample() -> None:
    with pytest.raises(ValueError, match="not one object for each of 2 strata"):
        allocate({"a": 5, "b": 5}, 1, Allocation.EQUAL)


@pytest.mark.parametrize(
    ("allocation", "expected"),
    [(Allocation.PROPORTIONAL, {"a": 18, "b": 2}), (Allocation.EQUAL, {"a": 10, "b": 10})],
)
def test_a_count_is_shared_among_the_strata(
    make_plan: MakePlan, allocation: Allocation, expected: dict[str, int]
) -> None:
    made = make_plan(folders(a=90, b=10), sample_size=20, strata=Strata(1, allocation=allocation))
    assert sampled(made) == expected
    assert made.totals.providers[TENCENT].skipped == {"out_of_sample": 80}


def test_a_share_of_the_objects_is_shared_among_the_strata(make_plan: MakePlan) -> None:
    assert sampled(make_plan(folders(a=90, b=10), sample_share=0.2, strata=Strata(1))) == {"a": 18, "b": 2}
    assert sampled(make_plan(folders(a=90, b=10), sample_share=0.2, strata=EQUAL)) == {"a": 10, "b": 10}


def test_a_small_share_still_takes_one_of_each_stratum(make_plan: MakePlan) -> None:
    """A quiet night is no reason to fail."""
    assert sampled(make_plan(folders(a=5, b=3), sample_share=0.01, strata=Strata(1))) == {"a": 1, "b": 1}


def test_a_count_below_one_of_each_stratum_is_wrong_use(make_plan: MakePlan) -> None:
    with pytest.raises(
        UsageError, match=r'sample = 2 is less than one object for each of the 3 strata of "p'
    ):
        make_plan(folders(a=5, b=3, c=1), sample_size=2, strata=Strata(1))


def test_each_stratum_is_sampled_along_the_visiting_order(make_plan: MakePlan) -> None:
    rows = folders(a=50, b=30)
    made = make_plan(rows, sample_size=20, strata=EQUAL)
    for name in ("a", "b"):
        own = sorted(
            (row for row in rows if row["key"].startswith(name)),
            key=lambda row: visiting(row["url"], ref(row).version),
        )
        asked = {question.object.key for question in made.questions() if question.object.stratum == name}
        assert asked == {row["key"] for row in own[:10]}


# --- weights ---


def test_a_weight_says_how_many_selected_objects_a_sampled_one_stands_for(make_plan: MakePlan) -> None:
    made = make_plan(folders(a=90, b=10), sample_size=20, strata=EQUAL)
    assert {question.object.stratum: question.weight for question in made.questions()} == {
        "a": 9.0,
        "b": 1.0,
    }
    assert sum(question.weight or 0 for question in made.questions()) == pytest.approx(100)


@pytest.mark.parametrize("sample", [{"sample_size": 8}, {"sample_share": 0.3}])
def test_without_strata_every_sampled_object_stands_for_as_many(
    make_plan: MakePlan, sample: dict[str, Any]
) -> None:
    made = make_plan(folders(a=25), **sample)
    weights = [question.weight for question in made.questions()]
    assert len(set(weights)) == 1
    assert sum(weight or 0 for weight in weights) == pytest.approx(25)


@pytest.mark.parametrize("selection", [{}, {"strata": Strata(1)}, {"limit": 3}])
def test_where_nothing_is_sampled_there_is_no_weight(make_plan: MakePlan, selection: dict[str, Any]) -> None:
    made = make_plan(folders(a=5, b=5), **selection)
    assert {question.weight for question in made.questions()} == {None}


def test_what_an_object_stands_for_does_not_hang_on_what_is_answered_or_listed_twice(
    make_plan: MakePlan,
) -> None:
    rows = folders(a=20)
    first = make_plan(rows, sample_size=5).questions()[0]
    answered = [ended(listed(first.object.key), TENCENT, Outcome.SCORED)]
    made = make_plan([*rows, rows[0], rows[3]], verdicts=answered, sample_size=5)
    assert [question.weight for question in made.questions()] == [4.0] * 4


# --- what a plan says of its population ---


def test_a_plan_counts_each_stratum(make_plan: MakePlan) -> None:
    rows = folders(a=30, b=10)
    answered = [
        ended(listed(question.object.key), TENCENT, Outcome.SCORED)
        for question in make_plan(rows, sample_size=4, strata=EQUAL).questions()
    ]
    made = make_plan(
        rows, verdicts=answered, sample_size=12, strata=EQUAL, providers={TENCENT: 50, ALIYUN: 50}
    )

    by_name = {each.stratum: each for each in made.totals.providers[TENCENT].strata}
    assert list(by_name) == ["a", "b"]
    assert [(each.selected, each.sampled, each.asked, each.weight) for each in by_name.values()] == [
        (30, 6, 4, 5.0),
        (10, 6, 4, pytest.approx(10 / 6)),
    ]
    assert [(each.leading, each.covered) for each in by_name.values()] == [(2, 6), (2, 6)]
    unanswered = made.totals.providers[ALIYUN].strata
    assert [(each.asked, each.leading, each.covered) for each in unanswered] == [(6, 0, 6), (6, 0, 6)]


def test_a_plan_names_the_first_place_it_leaves_out(make_plan: MakePlan) -> None:
    rows = folders(a=9)
    in_order = sorted(visiting(row["url"], ref(row).version) for row in rows)
    (limited,) = make_plan(rows, limit=4).totals.providers[TENCENT].strata
    (complete,) = make_plan(rows).totals.providers[TENCENT].strata
    assert (limited.first_left, limited.covered) == (in_order[4], 4)
    assert (complete.first_left, complete.covered) == (None, 9)


def test_the_strata_survive_as_json(make_plan: MakePlan) -> None:
    totals = make_plan(folders(a=9, b=2), sample_size=4, strata=EQUAL).totals
    document = totals.to_json()
    assert PlanTotals.from_json(document) == totals
    del document["providers"]["tencent"]["strata"]  # as plans of earlier versions have it
    assert PlanTotals.from_json(document).providers[TENCENT].strata == ()
