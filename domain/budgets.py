"""Budgets: what a run may spend, over all its resumes."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """The bounds of one run, all providers and all its resumes together; None where there is none."""

    calls: int | None = None  # that leave for a provider, throttled ones and retries among them
    money: float | None = None  # in the currency of the spec's prices
    until: datetime | None = None  # with a time zone; no call leaves at this moment or after it

    @property
    def is_bounded(self) -> bool:
        """Whether there is any bound at all."""
        return not (self.calls is None and self.money is None and self.until is None)


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """A budget that came into force: the spec's when the run began, or one given to `resume`."""

    set_at: datetime
    set_by: str  # user@host
    budget: Budget


@dataclass(frozen=True, slots=True)
class Spending:
    """A budget beside what is spent of it."""

    budget: Budget
    calls: int  # announced and not known to have stayed here
    money: float | None  # of calls that are, or may be, billed; None where a provider has no price

    @property
    def calls_left(self) -> int | None:
        """Calls that may still leave; None without a bound."""
        return None if self.budget.calls is None else max(self.budget.calls - self.calls, 0)

    @property
    def money_left(self) -> float | None:
        """Money that may still be spent; None without a bound."""
        return None if self.budget.money is None else max(self.budget.money - (self.money or 0.0), 0.0)


def amount(money: float) -> str:
    """Money for people: two decimals, or as many as it has, six at most."""
    whole, _, decimals = f"{money:,.6f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"
