"""The moment from which no call leaves any more."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.errors import BudgetSpent


def wall_clock() -> datetime:
    """Now, by the machine's clock: the one people mean when they write a time down."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Deadline:
    """A budget's `until`, held against the wall clock whenever asked: clocks are set, and machines sleep."""

    until: datetime | None  # with a time zone; None: never
    clock: Callable[[], datetime] = wall_clock

    def passed(self) -> BudgetSpent | None:
        """The end it means for the run once the moment has come; None before."""
        if self.until is None or self.clock() < self.until:
            return None
        return BudgetSpent("until", f"the budget's time is over: no call leaves from {self.until} on")
