"""What a run may still spend: its budget, and the running sums of its calls and their prices.

Counted in whole numbers: calls, and money in the smallest unit in which the budget and all prices are whole.
Ten calls at 0.1 are exactly 1.
"""

import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from domain.budgets import Budget, Spending, amount
from domain.errors import BudgetSpent, FacesweepError
from domain.verdicts import Provider


class MoneyOnTheWay(FacesweepError):
    """Not enough money is free now, but calls on the way may turn out not to be billed: ask again then."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one provider's calls have used up."""

    calls: int  # announced and not known to have stayed here
    charged: int  # of these, calls that are, or may be, billed


class Allowance:
    """Says whether one more call may be announced, and keeps count; it writes nothing and waits for nobody.

    A call is charged from its announcement on. The charge ends when the provider is known not to bill the
    call (`turned_away`) or the call is known never to have left (`forget`). Of each question at most one
    call is on the way.
    """

    def __init__(self, budget: Budget, prices: Mapping[Provider, float], spent: Mapping[str, Spent]) -> None:
        exact = {str(provider): Fraction(str(price)) for provider, price in prices.items()}
        money = None if budget.money is None else Fraction(str(budget.money))
        fractions = [*exact.values(), *([] if money is None else [money])]
        self._scale = math.lcm(*(each.denominator for each in fractions))
        self._prices = dict.fromkeys(map(str, Provider), 0) | {
            provider: int(price * self._scale) for provider, price in exact.items()
        }
        self._budget = budget
        self._has_prices = bool(prices)
        self._most_money = None if money is None else int(money * self._scale)
        self._calls = 0
        self._money = 0
        self._on_the_way: dict[bytes, int] = {}
        self._money_on_the_way = 0
        for provider, each in spent.items():
            self.add(provider, each)

    @property
    def spending(self) -> Spending:
        """The budget beside what is spent of it; may be read from any thread."""
        money = float(Fraction(self._money, self._scale)) if self._has_prices else None
        return Spending(self._budget, self._calls, money)

    def shortage(self, provider: str) -> BudgetSpent | MoneyOnTheWay | None:
        """Why no call to this provider may be announced now; None when one may."""
        if self._budget.calls is not None and self._calls >= self._budget.calls:
            return BudgetSpent("calls", f"the budget of {self._budget.calls:,} calls is spent")
        if self._most_money is None or self._money + self._prices[provider] <= self._most_money:
            return None
        if self._money - self._money_on_the_way + self._prices[provider] <= self._most_money:
            return MoneyOnTheWay("calls on the way hold what is left of the budget")
        return BudgetSpent("money", self._money_sentence(provider))

    def add(self, provider: str, spent: Spent) -> None:
        """Count calls that were made and whose fate is known."""
        self._calls += spent.calls
        self._money += self._prices[provider] * spent.charged

    def reserve(self, question: bytes, provider: str) -> None:
        """A call is announced: it counts, and its price is held."""
        self.come_home(question)
        price = self._prices[provider]
        self._calls += 1
        self._money += price
        self._on_the_way[question] = price
        self._money_on_the_way += price

    def come_home(self, question: bytes) -> None:
        """The question's call on the way has ended; what it was charged stays charged."""
        self._money_on_the_way -= self._on_the_way.pop(question, 0)

    def turned_away(self, provider: str, charged: int) -> None:
        """So many charged calls are known not to be billed: their price is free again, they stay counted."""
        self._money -= self._prices[provider] * charged

    def forget(self, provider: str, spent: Spent) -> None:
        """Announced calls are known never to have left: they count as nothing."""
        self._calls -= spent.calls
        self._money -= self._prices[provider] * spent.charged

    def _money_sentence(self, provider: str) -> str:
        assert self._budget.money is not None  # noqa: S101 - only a bound can be reached
        left = Fraction(max((self._most_money or 0) - self._money, 0), self._scale)
        sentence = f"the budget of {amount(self._budget.money)} is spent"
        if not left:
            return sentence
        price = Fraction(self._prices[provider], self._scale)
        return (
            f"{sentence} but for {amount(float(left))}: the next call of {provider} costs "
            f"{amount(float(price))}"
        )


def spent_by(sql: sqlite3.Connection) -> dict[str, Spent]:
    """What each provider's calls have used up, from the running sums of a journal file."""
    rows = sql.execute(
        "SELECT provider, sum(calls), sum(charged) FROM ("
        "SELECT provider, count(*) AS calls, sum(NOT free) AS charged FROM calls GROUP BY 1 "
        "UNION ALL SELECT provider, calls, charged FROM withdrawn "
        "UNION ALL SELECT provider, sum(calls), sum(charged) FROM books GROUP BY 1) GROUP BY 1"
    )
    return {provider: Spent(calls, charged) for provider, calls, charged in rows}
