"""One shard as it is seen: what it was given, what its record says, what Prefect says, what became of it."""

from dataclasses import dataclass
from enum import StrEnum

from domain.budgets import Budget
from domain.runs import Shard, ShardStatus
from tasks.records.shard_record import ShardRecord
from tasks.units.backfill.allowances import spent
from tasks.units.backfill.ledger import Assignment

VACANT_S = 60.0
"""A shard whose flow run runs while nobody holds its claim has lost its worker. One that has just begun takes
seconds to its claim, on a busy machine many."""

LET_GO_S = 15.0
"""The same where this attempt did hold it, and its record says that it works: longer than a record may be old
here, so that one that has just ended is not taken for dead."""


class Flight(StrEnum):
    """What Prefect says of the flow run of a shard's newest attempt."""

    UNKNOWN = "unknown"  # it has none: nobody submitted it yet, or its rows are gone
    WAITING = "waiting"  # for a worker
    RUNNING = "running"
    OVER = "over"  # however it ended


class Fate(StrEnum):
    """What became of a shard's newest attempt."""

    UNTRIED = "untried"
    WAITING = "waiting"
    WORKING = "working"
    LOST = "lost"  # Prefect takes a dead worker's for running
    LAPSING = "lapsing"  # ended, but its claim is still held: by a dead process for a minute, or a living one
    UNSENT = "unsent"  # promised, and Prefect knows nothing of it
    DONE = "done"
    OUT_OF_ALLOWANCE = "out_of_allowance"
    INTERRUPTED = "interrupted"
    DENIED = "denied"
    TRIPPED = "tripped"
    BROKEN = "broken"
    DIED = "died"  # without a last word

    @property
    def is_in_flight(self) -> bool:
        """Whether a flow run of it is waiting or at work."""
        return self in (Fate.WAITING, Fate.WORKING, Fate.LOST)


_LAST_WORDS = {
    ShardStatus.DONE: Fate.DONE,
    ShardStatus.OUT_OF_BUDGET: Fate.OUT_OF_ALLOWANCE,
    ShardStatus.INTERRUPTED: Fate.INTERRUPTED,
    ShardStatus.DENIED: Fate.DENIED,
    ShardStatus.TRIPPED: Fate.TRIPPED,
    ShardStatus.BROKEN: Fate.BROKEN,
    ShardStatus.WORKING: Fate.DIED,
}


@dataclass(frozen=True, slots=True)
class Sight:
    """One shard as it is seen now: what it was given, what its record says, what Prefect says."""

    shard: Shard
    assignment: Assignment | None = None
    record: ShardRecord | None = None
    flight: Flight = Flight.UNKNOWN
    is_claimed: bool = False
    vacant_s: float = 0.0  # for how long its flow run has been running while nobody held its claim

    @property
    def fate(self) -> Fate:
        """What became of its newest attempt."""
        match self.flight:
            case Flight.WAITING:
                return Fate.WAITING
            case Flight.RUNNING:
                return Fate.LOST if self.vacant_s >= self._patience_s else Fate.WORKING
        if self.record is not None and self.record.status is ShardStatus.DONE:
            return Fate.DONE
        if self.assignment is None:
            return Fate.UNTRIED
        return Fate.LAPSING if self.is_claimed else self._ended(self.assignment.attempt)

    @property
    def _patience_s(self) -> float:
        """For how long nobody may hold the claim of a shard whose flow run runs."""
        if self.assignment is None or self.record is None or self.record.attempt < self.assignment.attempt:
            return VACANT_S
        return LET_GO_S if self.record.status is ShardStatus.WORKING else VACANT_S

    def _ended(self, attempt: int) -> Fate:
        if self.record is None or self.record.attempt < attempt:
            return Fate.UNSENT if self.flight is Flight.UNKNOWN else Fate.DIED
        return _LAST_WORDS[self.record.status]

    @property
    def settled(self) -> int:
        """Questions with a final row, by the shard's record."""
        return 0 if self.record is None else sum(self.record.books.balance.outcomes.values())

    @property
    def calls(self) -> int:
        """Calls made for it, by the shard's record."""
        return 0 if self.record is None else self.record.books.calls

    def is_certain(self, budget: Budget) -> bool:
        """Whether its record tells what it spent, and it spends nothing more.

        One that died may have spent more than its record says; but where it had no allowance, because the
        run had no such bound then, its record is all that there is.
        """
        if self.assignment is None or self.fate in _CERTAIN:
            return True
        return self.fate is Fate.DIED and not self.is_bounded(budget)

    def is_bounded(self, budget: Budget) -> bool:
        """Whether its allowance has every bound that the budget has."""
        if self.assignment is None:
            return True
        allowance = self.assignment.allowance
        return (budget.calls is None or allowance.calls is not None) and (
            budget.money is None or allowance.money is not None
        )

    def committed(self, budget: Budget, price: float | None) -> Budget:
        """The part of the budget it holds: what it spent where that is certain, else what it may spend."""
        if self.assignment is not None and not self.is_certain(budget):
            return self.assignment.allowance
        return spent(self.calls, 0 if self.record is None else self.record.books.charged, price)

    def came_to_nothing(self) -> bool:
        """Whether its newest attempt settled no question; one that ran out of allowance: made no call."""
        if self.assignment is None or self.assignment.is_closed:
            return False
        if self.fate is Fate.OUT_OF_ALLOWANCE:
            return self.calls <= self.assignment.calls and self.settled <= self.assignment.settled
        return self.fate in (Fate.BROKEN, Fate.DIED) and self.settled <= self.assignment.settled


_CERTAIN = {
    Fate.DONE,
    Fate.OUT_OF_ALLOWANCE,
    Fate.INTERRUPTED,
    Fate.DENIED,
    Fate.TRIPPED,
    Fate.BROKEN,
}
