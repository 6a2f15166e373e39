"""How much of a plan a budget allows, before anybody is asked."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.budgets import Budget
from tasks.candidates.estimate import Estimate

_SECONDS_PER_HOUR = 3600
_ROUNDING = 1e-6  # of a call: what floating point may have lost of a whole one


@dataclass(frozen=True, slots=True)
class Coverage:
    """The calls of a plan that one bound of its budget allows, if each succeeds at once."""

    limit: str  # calls | money | until
    calls: int
    planned: int


def coverage(budget: Budget, estimates: Sequence[Estimate], now: datetime) -> tuple[Coverage, ...]:
    """One for each bound of the budget, in the order calls, money, until.

    Providers are asked side by side, each at its cap, until the bound is reached. Calls that fail and are
    made again count too, so a run may get less far.
    """
    planned = sum(each.calls for each in estimates)
    found = []
    if budget.calls is not None:
        found.append(Coverage("calls", min(budget.calls, planned), planned))
    if budget.money is not None:
        time_s = _time_until(budget.money, estimates, lambda each: each.cost or 0.0)
        found.append(Coverage("money", _calls_within(time_s, estimates), planned))
    if budget.until is not None:
        time_s = max((budget.until - now).total_seconds(), 0.0)
        found.append(Coverage("until", _calls_within(time_s, estimates), planned))
    return tuple(found)


def _calls_within(time_s: float, estimates: Iterable[Estimate]) -> int:
    """Calls that leave in so many seconds, each provider at its cap."""
    return sum(math.floor(each.calls * _share(time_s, each) + _ROUNDING) for each in estimates)


def _time_until(bound: float, estimates: Sequence[Estimate], total: Callable[[Estimate], float]) -> float:
    """Seconds until the totals, each growing evenly until its calls are made, add up to `bound`."""
    ends = sorted({_seconds(each) for each in estimates})
    before_s, before = 0.0, 0.0
    for end_s in ends:
        reached = sum(total(each) * _share(end_s, each) for each in estimates)
        if reached > bound:
            return before_s + (end_s - before_s) * (bound - before) / (reached - before)
        before_s, before = end_s, reached
    return math.inf


def _share(time_s: float, estimate: Estimate) -> float:
    seconds = _seconds(estimate)
    return 1.0 if time_s >= seconds else time_s / seconds


def _seconds(estimate: Estimate) -> float:
    return estimate.hours * _SECONDS_PER_HOUR
