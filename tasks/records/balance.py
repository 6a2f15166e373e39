"""The books of a run: every listed object in exactly one place. Pure functions, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from domain.runs import Balance
from domain.verdicts import Billed, Outcome


@dataclass(frozen=True, slots=True)
class Tally:
    """What a journal holds for one provider."""

    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    billed: Mapping[Billed, int] = field(default_factory=dict)  # questions settled, by billing
    calls: int = 0  # calls that were announced, whatever became of them
    charged: int = 0  # of these, calls that are, or may be, billed
    open_calls: int = 0  # of these, calls whose question is not settled
    throttled: int = 0  # of settled questions
    cost: float | None = None  # None until a question had a price

    @property
    def settled(self) -> int:
        """Questions with a final row."""
        return sum(self.outcomes.values())


def balance_of(planned: Balance, tally: Tally) -> Balance:
    """One provider's books: what the plan promised, with the final rows the journal holds."""
    return replace(planned, outcomes={name: count for name, count in tally.outcomes.items() if count})


def over_budget(balance: Balance) -> Balance:
    """The books of a run whose budget is spent: what has no row is in its place, and pending no more."""
    return replace(
        balance, asked=balance.asked - balance.pending, over_budget=balance.over_budget + balance.pending
    )


def as_planned(balance: Balance) -> Balance:
    """The books before anything was found to be over the budget."""
    return replace(balance, asked=balance.asked + balance.over_budget, over_budget=0)


def explain(balance: Balance) -> list[str]:
    """The books as lines for people; a line that does not add up ends in what is wrong with it."""
    skipped = sum(balance.skipped.values())
    listed = f"{balance.provider}: {_sum(balance.listed, 'listed')} = " + " + ".join(
        [
            _sum(balance.asked, "asked"),
            *([_sum(balance.over_budget, "over budget")] if balance.over_budget else []),
            *(_sum(count, f"skipped ({reason})") for reason, count in balance.skipped.items()),
        ]
    )
    missing = balance.listed - balance.asked - balance.over_budget - skipped
    if missing > 0:
        listed += f": does not balance, {missing:,} listed but in no place"
    elif missing < 0:
        listed += f": does not balance, {-missing:,} in more than one place"

    outcomes = [_sum(balance.outcomes[name], name) for name in Outcome if balance.outcomes.get(name)]
    if balance.handed_over:
        outcomes.append(_sum(balance.handed_over, "handed over to the other provider"))
    pending = max(balance.pending, 0)
    asked = f"{balance.provider}: {_sum(balance.asked, 'asked')} = " + " + ".join(
        [*outcomes, _sum(pending, "pending")]
    )
    if balance.pending < 0:
        asked += f": does not balance, {-balance.pending:,} final rows more than questions"
    return [listed, asked]


def _sum(count: int, name: str) -> str:
    return f"{count:,} {name}"
