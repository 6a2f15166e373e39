"""What a sample will tell: how many calls a precision takes, and what a time or a sum of money buys."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.errors import UsageError
from domain.verdicts import Provider
from tasks.candidates import Allocation, ProviderTotals, StratumTotals, allocate
from tasks.reports.estimate import expected_intervals
from tasks.reports.intervals import Interval
from tasks.units.draft import Draft


@dataclass(frozen=True, slots=True)
class Expectation:
    """How many objects are expected to be at risk, and how sure one wants to be."""

    share: float  # over 0 and under 1
    confidence: float


@dataclass(frozen=True, slots=True)
class Needed:
    """What one provider has to be asked for a precision."""

    provider: Provider
    selected: int
    sample: int  # objects, for one look at the end
    watched_sample: int  # objects, for whoever looks meanwhile and stops when it is enough
    calls: int  # for `sample`, at most: what is answered already is taken off, copies are not
    hours: float  # at the cap
    cost: float | None  # None where no price is given

    @property
    def share(self) -> str:
        """The sample as a share for the spec, rounded up to three figures."""
        percent = 100 * self.sample / self.selected
        digits = max(2 - math.floor(math.log10(percent)), 0)
        return f"{math.ceil(percent * 10**digits) / 10**digits:.{digits}f}%"


@dataclass(frozen=True, slots=True)
class Known:
    """What one provider's answers will tell after so many calls of a plan."""

    provider: Provider
    calls: int
    is_all: bool  # of the plan's calls
    covered: int  # objects, those answered earlier among them
    selected: int
    hours: float  # at the cap
    cost: float | None  # None where no price is given
    at_one_look: Interval | None  # None: a stratum has nothing covered yet
    at_any_time: Interval | None


def needed_for(draft: Draft, half_width: float, expected: Expectation) -> list[Needed]:
    """The smallest sample whose interval reaches that far to either side, for each provider.

    Wilson's interval at the expected share, corrected for the finite population: n draws of N know as much as
    n (N - 1) / (N - n) of a population without end. Strata share the sample as the spec says.

    Args:    half_width: of a share, e.g. 0.001 for 0.1 percentage points.
    Raises:  UsageError: the plan selects no object.
    """
    return [_needed(draft, totals, half_width, expected) for totals in _selecting(draft)]


def known_by(draft: Draft, moment: datetime, now: datetime, expected: Expectation) -> list[Known]:
    """What each provider's answers will tell at that moment, if its cap is used to the full from now on.

    Raises:  UsageError: the moment is over, or the plan selects no object.
    """
    seconds = (moment - now).total_seconds()
    if seconds <= 0:
        raise UsageError(f"--by {moment:%Y-%m-%d %H:%M %Z} is over already: name a time to come")
    return [
        _known(draft, totals, math.floor(seconds * draft.spec.asked[totals.provider].qps), expected)
        for totals in _selecting(draft)
    ]


def known_for(draft: Draft, money: float, expected: Expectation) -> list[Known]:
    """What the answers will tell that so much money buys, if each provider is asked about the same objects.

    Raises:  UsageError: a provider has no price, or the plan selects no object.
    """
    plans = _selecting(draft)
    prices = {totals.provider: draft.spec.asked[totals.provider].price_per_call for totals in plans}
    for provider, price in prices.items():
        if price is None:
            raise UsageError(
                f"--for-money needs the price of a call: add price_per_call to [providers.{provider}]"
            )

    def is_too_dear(calls: int) -> bool:
        return sum((prices[each.provider] or 0) * min(calls, each.calls) for each in plans) > money

    calls = _first(0, max(each.calls for each in plans) + 1, is_too_dear) - 1
    return [_known(draft, totals, calls, expected) for totals in plans]


def _selecting(draft: Draft) -> list[ProviderTotals]:
    plans = list(draft.totals.providers.values())
    if not all(any(each.selected for each in totals.strata) for totals in plans):
        raise UsageError("the plan selects no object, so there is no share of them to know")
    return plans


def _needed(draft: Draft, totals: ProviderTotals, half_width: float, expected: Expectation) -> Needed:
    selected = sum(each.selected for each in totals.strata)
    allocation = Allocation(draft.spec.source.allocation or Allocation.PROPORTIONAL)

    def least(look: int) -> int:
        def is_enough(objects: int) -> bool:
            intervals = expected_intervals(
                _draws(totals.strata, objects, allocation), expected.share, expected.confidence
            )
            return intervals is not None and intervals[look].half_width <= half_width

        return _first(len(totals.strata), selected, is_enough)

    sample = least(0)
    calls = sum(
        max(covered - each.leading, 0)
        for each, (_, covered) in zip(totals.strata, _draws(totals.strata, sample, allocation), strict=True)
    )
    return Needed(totals.provider, selected, sample, least(1), calls, *_takes(draft, totals, calls))


def _known(draft: Draft, totals: ProviderTotals, calls: int, expected: Expectation) -> Known:
    calls = min(calls, totals.calls)
    covered = _covered_after(totals.strata, calls / totals.calls if totals.calls else 1.0)
    draws = [(each.selected, count) for each, count in zip(totals.strata, covered, strict=True)]
    intervals = expected_intervals(draws, expected.share, expected.confidence)
    return Known(
        totals.provider,
        calls,
        calls == totals.calls,
        sum(covered),
        sum(each.selected for each in totals.strata),
        *_takes(draft, totals, calls),
        *(intervals or (None, None)),
    )


def _takes(draft: Draft, totals: ProviderTotals, calls: int) -> tuple[float, float | None]:
    """Hours at the cap, and the cost."""
    table = draft.spec.asked[totals.provider]
    return calls / table.qps / 3600, None if table.price_per_call is None else calls * table.price_per_call


def _draws(strata: Sequence[StratumTotals], objects: int, allocation: Allocation) -> list[tuple[int, int]]:
    """Objects selected and sampled of each stratum, in a sample of so many."""
    sizes = {each.stratum or "": each.selected for each in strata}
    return list(zip(sizes.values(), allocate(sizes, objects, allocation).values(), strict=True))


def _covered_after(strata: Sequence[StratumTotals], share_of_calls: float) -> list[int]:
    """How many objects of each stratum are covered once that share of a plan's calls is made.

    A plan visits its objects by their hash, which spreads those of a stratum evenly over all hashes: between
    the first open one and the first it leaves out, the calls made and the objects covered grow together.
    """
    asked = sum(each.asked for each in strata)

    def passed(each: StratumTotals, hashes: float) -> float:
        """Which share of the stratum's questions lies before that share of all hashes."""
        first, last = each.leading / each.selected, each.covered / each.selected
        return min(max((hashes - first) / (last - first), 0.0), 1.0) if last > first else 1.0

    low, high = 0.0, 1.0
    for _ in range(60):  # halvings: finer than a double
        middle = (low + high) / 2
        done = sum(each.asked * passed(each, middle) for each in strata)
        low, high = (middle, high) if done < share_of_calls * asked else (low, middle)
    return [each.leading + round((each.covered - each.leading) * passed(each, high)) for each in strata]


def _first(low: int, high: int, is_so: Callable[[int], bool]) -> int:
    """The first number from `low` on of which it is so, and then stays so; `high` where none before it is."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_so(middle) else (middle + 1, high)
    return low
