"""What a sample will tell, said before anybody is asked."""

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import norm

from domain.errors import UsageError
from domain.verdicts import Provider
from flows import quantities
from tasks.candidates import Allocation, PlanTotals, ProviderTotals, StratumTotals, allocate
from tasks.records.home import Home
from tasks.settings import spec_of
from tasks.units.draft import Draft
from tasks.units.outlook import Expectation, Needed, known_by, known_for, needed_for

TENCENT, ALIYUN = Provider.TENCENT, Provider.ALIYUN
NOW = datetime(2026, 11, 20, 22, tzinfo=UTC)
ONE_PERCENT = Expectation(0.01, 0.95)


def stratum(
    selected: int,
    asked: int | None = None,
    *,
    name: str | None = None,
    leading: int = 0,
    covered: int | None = None,
) -> StratumTotals:
    asked = selected - leading if asked is None else asked
    covered = leading + asked if covered is None else covered
    return StratumTotals(name, selected, covered, asked, leading, covered, None)


def draft_of(
    *strata: StratumTotals,
    copies: int = 0,
    prices: tuple[float | None, float | None] = (None, None),
    aliyun: tuple[StratumTotals, ...] = (),
    **source: Any,
) -> Draft:
    """A plan for Tencent at 5 calls a second, and for Aliyun at 10 where it has strata."""
    tables: dict[str, dict[str, Any]] = {"tencent": {"qps": 5, "price_per_call": prices[0]}}
    plans = {TENCENT: strata}
    if aliyun:
        tables["aliyun"] = {"qps": 10, "price_per_call": prices[1]}
        plans[ALIYUN] = aliyun
    spec = spec_of(
        {
            "audit": {"name": "kyc"},
            "source": {"url": "/selfies", **source},
            "providers": {
                name: {key: value for key, value in table.items() if value is not None}
                for name, table in tables.items()
            },
        },
        "kyc.toml",
    )
    totals = {
        provider: ProviderTotals(
            provider,
            listed=sum(each.selected for each in own),
            skipped={},
            asked=sum(each.asked for each in own),
            copies=copies,
            bytes_to_fetch=0,
            shards=(),
            strata=own,
        )
        for provider, own in plans.items()
    }
    return Draft(Home.local(Path("nowhere")), spec, "r", Path("nowhere"), PlanTotals(totals), ())


def half_width(selected: int, drawn: float, share: float, confidence: float) -> float:
    """Half of the score interval's width, from the quadratic whose roots its ends are."""
    if drawn >= selected:
        return 0.0
    squared = norm.ppf((1 + confidence) / 2) ** 2 * (selected - drawn) / (selected - 1) / drawn
    # (p - share)^2 = squared p (1 - p)
    a, b, c = 1 + squared, -(2 * share + squared), share**2
    return float(math.sqrt(b * b - 4 * a * c) / (2 * a))


# --- how many calls for a precision ---


@pytest.mark.parametrize("selected", [40, 700, 5_000])
@pytest.mark.parametrize(
    ("precision", "share", "confidence"),
    [(0.01, 0.005, 0.95), (0.02, 0.01, 0.99), (0.05, 0.5, 0.9), (0.2, 0.1, 0.95), (0.0001, 0.01, 0.95)],
)
def test_a_precision_takes_the_smallest_sample_that_trying_every_one_finds(
    selected: int, precision: float, share: float, confidence: float
) -> None:
    (needed,) = needed_for(draft_of(stratum(selected)), precision, Expectation(share, confidence))
    assert needed.sample == next(
        drawn
        for drawn in range(1, selected + 1)
        if half_width(selected, drawn, share, confidence) <= precision
    )
    assert needed.sample <= needed.watched_sample <= selected


@pytest.mark.parametrize("allocation", list(Allocation))
def test_strata_share_the_smallest_sample_as_the_spec_says(allocation: Allocation) -> None:
    """As sure as a sample of 1 / sum(W^2 (N - n) / (N - 1) / n) objects without strata and without end."""
    sizes = {"a": 900, "b": 80, "c": 20}
    draft = draft_of(
        *(stratum(size, name=name) for name, size in sizes.items()),
        strata="prefix:1",
        allocation=allocation.value,
    )

    def reach(objects: int) -> float:
        shares = allocate(sizes, objects, allocation)
        spread = sum(
            (size / 1000) ** 2 * (size - shares[name]) / (size - 1) / shares[name]
            for name, size in sizes.items()
        )
        return half_width(10**15, 1 / spread, 0.01, 0.95) if spread else 0.0

    (needed,) = needed_for(draft, 0.02, ONE_PERCENT)

    assert needed.sample == next(objects for objects in range(3, 1001) if reach(objects) <= 0.02)


def test_few_objects_take_fewer_calls_than_the_textbooks_infinity() -> None:
    small, large = (
        needed_for(draft_of(stratum(selected)), 0.001, Expectation(0.005, 0.95))[0].sample
        for selected in (10_000, 100_000_000)
    )
    assert small < 10_000 < large
    # Cochran: n = n0 / (1 + (n0 - 1) / N)
    assert small == pytest.approx(large / (1 + (large - 1) / 10_000), abs=1)


def test_what_is_answered_already_is_taken_off_the_calls() -> None:
    (needed,) = needed_for(draft_of(stratum(10_000, leading=400)), 0.01, ONE_PERCENT)
    (fresh,) = needed_for(draft_of(stratum(10_000)), 0.01, ONE_PERCENT)
    assert (needed.sample, needed.calls) == (fresh.sample, fresh.calls - 400)


def test_calls_take_time_at_the_cap_and_money_where_a_price_is_given() -> None:
    draft = draft_of(stratum(10**6), aliyun=(stratum(10**6),), prices=(0.1, None))
    tencent, aliyun = needed_for(draft, 0.001, ONE_PERCENT)
    assert tencent.calls == aliyun.calls == tencent.sample
    assert tencent.hours == pytest.approx(tencent.calls / 5 / 3600)
    assert aliyun.hours == pytest.approx(tencent.hours / 2)
    assert tencent.cost == pytest.approx(tencent.calls * 0.1)
    assert aliyun.cost is None


@pytest.mark.parametrize(
    ("sample", "share"),
    [(12_345, "1.24%"), (1, "0.000100%"), (999_999, "100.0%"), (500_000, "50.0%"), (100_001, "10.1%")],
)
def test_a_share_for_the_spec_is_never_too_small(sample: int, share: str) -> None:
    needed = Needed(TENCENT, 10**6, sample, sample, sample, 0.0, None)
    assert needed.share == share
    written = spec_of(
        {
            "audit": {"name": "kyc"},
            "source": {"url": "/selfies", "sample": needed.share},
            "providers": {"tencent": {}},
        },
        "kyc.toml",
    )
    assert (written.source.sample_share or 0) * 10**6 >= sample * (1 - 1e-12)


# --- what a time or a sum of money buys ---


def test_by_a_time_the_cap_has_made_so_many_calls() -> None:
    draft = draft_of(stratum(10**6), aliyun=(stratum(10**6),), prices=(0.1, 0.2))
    tencent, aliyun = known_by(draft, NOW + timedelta(hours=2), NOW, ONE_PERCENT)
    assert (tencent.calls, aliyun.calls) == (36_000, 72_000)
    assert (tencent.covered, tencent.selected, tencent.is_all) == (36_000, 10**6, False)
    assert (tencent.cost, aliyun.cost) == pytest.approx((3_600, 14_400))
    assert tencent.at_one_look is not None
    assert tencent.at_any_time is not None
    assert tencent.at_one_look.half_width == pytest.approx(half_width(10**6, 36_000, 0.01, 0.95))
    assert tencent.at_one_look.half_width < tencent.at_any_time.half_width


def test_a_plan_that_ends_sooner_makes_no_more_calls_than_it_has() -> None:
    (known,) = known_by(draft_of(stratum(100)), NOW + timedelta(hours=2), NOW, ONE_PERCENT)
    assert (known.calls, known.is_all, known.covered) == (100, True, 100)
    assert known.at_one_look is not None
    assert known.at_one_look.half_width == 0


def test_a_sample_in_the_spec_bounds_what_will_be_known() -> None:
    sample = stratum(10_000, 400)
    (known,) = known_by(draft_of(sample), NOW + timedelta(hours=2), NOW, ONE_PERCENT)
    assert (known.calls, known.covered) == (400, 400)
    assert known.at_one_look is not None
    assert known.at_one_look.half_width == pytest.approx(half_width(10_000, 400, 0.01, 0.95))


def test_copies_are_covered_without_a_call() -> None:
    (known,) = known_by(
        draft_of(stratum(2_000), copies=1_000), NOW + timedelta(seconds=100), NOW, ONE_PERCENT
    )
    assert (known.calls, known.covered) == (500, 1_000)


@pytest.mark.parametrize(
    ("plan", "covered"),
    [
        (stratum(1_000, 600, leading=400, covered=1_000), 700),  # an earlier sample: the rest comes behind it
        (stratum(1_000, 600, leading=0, covered=1_000), 500),  # answered here and there: skipped over
    ],
)
def test_earlier_answers_count_where_the_order_reaches_them(plan: StratumTotals, covered: int) -> None:
    (known,) = known_by(draft_of(plan), NOW + timedelta(seconds=60), NOW, ONE_PERCENT)
    assert (known.calls, known.covered) == (300, covered)


def test_strata_are_visited_side_by_side_until_their_sample_is_full() -> None:
    """The small stratum of an equal sample is visited further into the order than the large one."""
    strata = (stratum(9_000, 100, name="a"), stratum(1_000, 100, name="b"))
    draft = draft_of(*strata, strata="prefix:1", allocation="equal")
    covered = [
        known_by(draft, NOW + timedelta(seconds=calls / 5), NOW, ONE_PERCENT)[0].covered
        for calls in (50, 110, 200)
    ]
    assert covered == [50, 110, 200]
    (early,) = known_by(draft, NOW + timedelta(seconds=110 / 5), NOW, ONE_PERCENT)
    (late,) = known_by(draft, NOW + timedelta(seconds=40), NOW, ONE_PERCENT)
    assert early.at_one_look is not None
    assert late.at_one_look is not None
    assert late.at_one_look.half_width < early.at_one_look.half_width


def test_while_a_stratum_has_nothing_there_is_nothing_to_know() -> None:
    strata = (stratum(9_000, 100, name="a"), stratum(10, 1, name="b"))
    (known,) = known_by(draft_of(*strata, strata="prefix:1"), NOW + timedelta(seconds=2), NOW, ONE_PERCENT)
    assert (known.at_one_look, known.at_any_time) == (None, None)


def test_money_buys_the_same_objects_from_each_provider() -> None:
    draft = draft_of(stratum(10**6), aliyun=(stratum(10**6),), prices=(0.1, 0.3))
    tencent, aliyun = known_for(draft, 2_000, ONE_PERCENT)
    assert (tencent.calls, aliyun.calls) == (5_000, 5_000)
    assert (tencent.cost, aliyun.cost) == pytest.approx((500, 1_500))


def test_money_one_provider_does_not_need_goes_to_the_other() -> None:
    draft = draft_of(stratum(10**6, 1_000), aliyun=(stratum(10**6),), prices=(0.1, 0.3))
    tencent, aliyun = known_for(draft, 1_000, ONE_PERCENT)
    assert (tencent.calls, aliyun.calls) == (1_000, 3_000)


def test_more_money_than_a_plan_costs_buys_the_plan() -> None:
    (known,) = known_for(draft_of(stratum(100), prices=(0.1, None)), 2_000, ONE_PERCENT)
    assert (known.calls, known.is_all, known.cost) == (100, True, 10.0)


def test_money_without_a_price_is_wrong_use() -> None:
    draft = draft_of(stratum(100), aliyun=(stratum(100),), prices=(0.1, None))
    with pytest.raises(UsageError, match=r"add price_per_call to \[providers.aliyun\]"):
        known_for(draft, 10, ONE_PERCENT)


def test_a_time_that_is_over_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="2026-11-20 22:00 UTC is over already"):
        known_by(draft_of(stratum(100)), NOW, NOW, ONE_PERCENT)


def test_a_plan_without_objects_has_no_share_to_know() -> None:
    for empty in (draft_of(), draft_of(stratum(0))):
        with pytest.raises(UsageError, match="selects no object"):
            needed_for(empty, 0.01, ONE_PERCENT)


# --- as people type it ---


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (quantities.points, "0.1pp", 0.001),
        (quantities.points, "2 pp", 0.02),
        (quantities.share, "0.5%", 0.005),
        (quantities.confidence, "99.9%", 0.999),
        (quantities.money, "2000", 2000),
        (quantities.money, "0.5", 0.5),
    ],
)
def test_quantities_are_typed_with_their_unit(read: Callable[[str], float], text: str, value: float) -> None:
    assert read(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (quantities.points, "0.1%", "give percentage points"),
        (quantities.points, "0pp", "over 0 and under 50"),
        (quantities.points, "50pp", "over 0 and under 50"),
        (quantities.points, "-1pp", "give percentage points"),
        (quantities.share, "0.5", "such as 0.5%"),
        (quantities.share, "0%", "over 0%"),
        (quantities.share, "100%", "under 100%"),
        (quantities.confidence, "100%", "such as 95%"),
        (quantities.confidence, "0.95", "such as 95%"),
        (quantities.money, "¥2000", "digits only"),
        (quantities.money, "0", "over 0"),
        (quantities.moment, "25:00", "give 09:00"),
        (quantities.moment, "tomorrow", "give 09:00"),
        (quantities.moment, "2026-12-01T09:00", "in which zone"),
    ],
)
def test_what_is_typed_wrongly_is_answered_with_one_sentence(
    read: Callable[[str], object], text: str, says: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        read(text)
    assert says in str(caught.value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_moment_is_the_next_time_the_clock_says_so_or_an_instant() -> None:
    now = datetime.now(UTC)
    for text in ("00:00", "9:30", "23:59"):
        found = quantities.moment(text)
        assert timedelta(0) < found - now < timedelta(hours=25.1)
        assert f"{found:%H:%M}" == f"{int(text.partition(':')[0]):02}:{text.partition(':')[2]}"
    assert quantities.moment("2026-12-01T09:00+08:00") == datetime(2026, 12, 1, 1, tzinfo=UTC)
    assert quantities.moment("2026-12-01T09:00Z") == datetime(2026, 12, 1, 9, tzinfo=UTC)
