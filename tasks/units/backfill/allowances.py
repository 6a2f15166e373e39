"""How a budget is handed out to shards. Pure: no clock, no file, no Prefect.

An allowance is cumulative: what a shard may spend over its whole life, all attempts together. The allowances
in force never add up to more than the budget, so that machines that do not know of each other keep it.
Money is counted in fractions of the decimal numbers people write: ten calls at 0.1 are exactly 1.
"""

import math
from collections.abc import Iterable
from fractions import Fraction

from domain.budgets import Budget

SLACK_SHARE = 0.05
SLACK_LEAST = 10
"""Calls beyond one for each question: retries and throttled calls count, and starting a shard again for each
of them would cost seconds. What a shard leaves over comes back when it ends."""


def uncommitted(budget: Budget, committed: Iterable[Budget]) -> Budget:
    """What of a budget nobody holds; None for a bound it does not have. Never less than nothing."""
    calls, money = budget.calls, None if budget.money is None else exact(budget.money)
    for each in committed:
        if calls is not None:
            calls -= each.calls or 0
        if money is not None:
            money -= exact(each.money or 0.0)
    return Budget(
        None if calls is None else max(calls, 0),
        None if money is None else float(max(money, Fraction())),
        budget.until,
    )


def spent(calls: int, charged: int, price: float | None) -> Budget:
    """What a shard has used up, as the part of the budget that it keeps for good."""
    return Budget(calls, float(charged * exact(price or 0.0)))


def allowance(left: Budget, used: Budget, pending: int, price: float | None) -> Budget | None:
    """A shard's allowance from now on: what it has used, and as much of what is left as it may need.

    Args:    left: what nobody holds, what the shard itself has used already taken off.
             price: of one call; None where the spec gives none.
    Returns: None where not a single call is left for it.
    """
    wanted = pending + max(SLACK_LEAST, math.ceil(pending * SLACK_SHARE))
    calls = money = None
    if left.calls is not None:
        if left.calls < 1:
            return None
        calls = (used.calls or 0) + min(wanted, left.calls)
    if left.money is not None:
        each = exact(price or 0.0)
        affordable = math.floor(exact(left.money) / each) if each else wanted
        if affordable < 1:
            return None
        money = float(exact(used.money or 0.0) + min(wanted, affordable) * each)
    return Budget(calls, money)


def spent_bound(left: Budget) -> str:
    """Which bound leaves no further call: `calls` or `money`."""
    return "calls" if left.calls is not None and left.calls < 1 else "money"


def exact(amount: float) -> Fraction:
    """The decimal number that this amount is written as."""
    return Fraction(str(amount))
