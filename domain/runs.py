"""Runs, shards and their books."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

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
    BROKEN = "broken"  # stopped by an error of facesweep or its machine; resume goes on
    ABANDONED = "abandoned"  # given up by a person; its pending questions belong to later runs

    @property
    def is_over(self) -> bool:
        """Whether nothing of the run is left to do."""
        return self in (RunStatus.DONE, RunStatus.ABANDONED)


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

    @property
    def pending(self) -> int:
        """Questions without a final row yet."""
        return self.asked - sum(self.outcomes.values())

    @property
    def is_balanced(self) -> bool:
        """listed = asked + skipped, and no more final rows than questions."""
        return self.listed == self.asked + sum(self.skipped.values()) and self.pending >= 0


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
class Progress:
    """Where a run stands, for people who watch."""

    phase: str  # listing | planning | asking | publishing
    listed: int = 0
    providers: tuple[ProviderProgress, ...] = ()
    trouble: str | None = None  # why answers cannot be published just now; the journal keeps them
