"""Runs, shards and their books."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from domain.budgets import Spending
from domain.verdicts import Outcome, Provider

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_run_id(now: datetime) -> str:
    """A sortable id such as `20261120T180712Z-3f9a`: the start in UTC and 16 random bits."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class RunStatus(StrEnum):
    """Where a run stands; only `done` promises balanced books without pending questions."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"  # stopped by a person or a signal; resume goes on
    DENIED = "denied"  # stopped by a provider account; resume goes on once it is mended
    OUT_OF_BUDGET = (
        "out_of_budget"  # what it did not ask belongs to whoever comes first: resume or a later run
    )
    TRIPPED = "tripped"  # most questions failed or were refused; resume goes on once the cause is mended
    BROKEN = "broken"  # stopped by an error of facesweep or its machine; resume goes on
    ABANDONED = "abandoned"  # given up by a person; its pending questions belong to later runs

    @property
    def is_over(self) -> bool:
        """Whether nothing of the run is left to do."""
        return self in (RunStatus.DONE, RunStatus.ABANDONED)

    @property
    def gives_way(self) -> bool:
        """Whether another run may begin: what this one has not asked is free to be asked there."""
        return self.is_over or self is RunStatus.OUT_OF_BUDGET


class RunKind(StrEnum):
    """Who asks a run's questions."""

    AUDIT = "audit"  # one process, all of them
    BACKFILL = "backfill"  # many processes, a shard each


class ShardStatus(StrEnum):
    """Where one shard of a backfill stands; a shard without a record was never begun."""

    WORKING = "working"  # or its process is gone: then its record is stale
    DONE = "done"  # every question has its final row, published: final
    INTERRUPTED = "interrupted"  # asked to stop, paused, cancelled, or its claim was lost
    DENIED = "denied"  # the provider's account or the store refuses
    OUT_OF_BUDGET = "out_of_budget"  # its allowance is spent, or the budget's `until` is over
    TRIPPED = "tripped"  # most questions failed or were refused
    BROKEN = "broken"  # an error of facesweep or its machine


class Wanted(StrEnum):
    """What people want of a backfill."""

    RUN = "run"
    PAUSE = "pause"  # no further call leaves; it goes on when `run` is wanted again
    CANCEL = "cancel"  # no further call leaves, for good


@dataclass(frozen=True, slots=True)
class Shard:
    """A slice of a run's questions for one provider: the unit of work, of retry and of display."""

    provider: Provider
    number: int  # 1, 2, … in visiting order
    questions: int


@dataclass(frozen=True, slots=True)
class Balance:
    """The books of one provider in one run: every listed object is in exactly one place."""

    provider: Provider
    listed: int
    skipped: Mapping[str, int]  # by reason, out of sample and over the limit among them
    asked: int
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    handed_over: int = 0  # questions without a row that the other provider took over
    over_budget: int = 0  # planned, and left unasked when the budget was spent

    @property
    def pending(self) -> int:
        """Questions without a final row yet, and nobody else's."""
        return self.asked - sum(self.outcomes.values()) - self.handed_over

    @property
    def is_balanced(self) -> bool:
        """listed = asked + skipped + over budget, and no more final rows than questions."""
        placed = self.asked + sum(self.skipped.values()) + self.over_budget
        return self.listed == placed and self.pending >= 0


@dataclass(frozen=True, slots=True)
class ProviderProgress:
    """Where one provider's part of a run stands, for people who watch."""

    provider: Provider
    asked: int  # questions
    outcomes: Mapping[Outcome, int]
    cap_per_s: int
    rate_per_s: float  # calls that left in the last ten seconds, per second
    throttled: int  # calls turned away since this process began
    cost: float | None

    @property
    def settled(self) -> int:
        """Questions with a final row."""
        return sum(self.outcomes.values())

    @property
    def eta_s(self) -> float:
        """Seconds until the last question, if each open one takes a call at the present rate."""
        return (self.asked - self.settled) / max(self.rate_per_s or self.cap_per_s, 0.01)


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """How many shards of a backfill are where."""

    total: int
    done: int
    working: int  # a worker has them
    waiting: int  # for a worker

    def __str__(self) -> str:
        return (
            f"{self.done:,} of {self.total:,} shards done, {self.working:,} at work, "
            f"{self.waiting:,} waiting for a worker"
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, for people who watch."""

    phase: str  # listing | planning | asking | publishing
    listed: int = 0
    providers: tuple[ProviderProgress, ...] = ()
    spending: Spending | None = None  # None where nothing bounds the run
    trouble: str | None = None  # why answers cannot be published, or calls leave, just now; nothing is lost
    shards: ShardCounts | None = None  # of a backfill, as seen by its coordinator
