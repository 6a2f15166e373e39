"""runs/<id>/coordination.json: what the coordinator gave each shard. It alone writes it, before it acts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from domain.budgets import Budget
from domain.errors import UsageError
from domain.runs import Shard
from domain.verdicts import Provider
from tasks.records.home import Home

LEDGER_VERSION = 1

SHARD_S = 1800.0
"""Half an hour at the cap: long beside the 6 s a flow run takes to start, short beside a worker's life."""

ShardKey = tuple[Provider, int]


def key_of(shard: Shard) -> ShardKey:
    """What tells a shard from the run's other ones."""
    return shard.provider, shard.number


@dataclass(frozen=True, slots=True)
class Assignment:
    """A shard as it was given out last."""

    shard: Shard
    attempt: int  # 1, 2, …
    allowance: Budget  # calls and money over the shard's whole life
    settled: int = 0  # of its questions, when this attempt was given out
    calls: int = 0  # made for it until then
    fruitless: int = 0  # attempts before this one, one after the other, that came to nothing
    is_closed: bool = False  # how it ended is dealt with: somebody resumed the run since

    @property
    def delay_s(self) -> float:
        """How long to wait before it starts: whatever broke it twice may need a moment to heal."""
        return 30.0 * max(self.fruitless - 1, 0)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a backfill is to be worked on, the same over all its resumes."""

    shard_s: float = SHARD_S  # what a shard takes at the cap
    at_once: int = 20  # shards submitted and not ended
    deployment: str = "shard/shard"
    pool: str | None = None  # the deployment's, where none is named


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything the coordinator has promised."""

    terms: Terms
    assignments: Mapping[ShardKey, Assignment]

    def with_assignments(self, *given: Assignment) -> Self:
        """The ledger with these in the place of what it said of their shards."""
        changed = {key_of(each.shard): each for each in given}
        return replace(self, assignments={**self.assignments, **changed})


def idempotency_key(run_id: str, assignment: Assignment) -> str:
    """One for each attempt: Prefect gives the old flow run for a key it knows, also when that has ended."""
    shard = assignment.shard
    return f"{run_id}/{shard.provider}/{shard.number}/{assignment.attempt}"


def save(home: Home, run_id: str, ledger: Ledger) -> None:
    """The ledger appears whole, in the place of what it said before.

    Raises:
        HomeUnwritable: names the path and why.
    """
    terms = ledger.terms
    home.write_json(
        _path(run_id),
        {
            "ledger_version": LEDGER_VERSION,
            "shard_s": terms.shard_s,
            "at_once": terms.at_once,
            "deployment": terms.deployment,
            "pool": terms.pool,
            "shards": [
                {
                    "provider": each.shard.provider,
                    "number": each.shard.number,
                    "questions": each.shard.questions,
                    "attempt": each.attempt,
                    "calls_allowed": each.allowance.calls,
                    "money_allowed": each.allowance.money,
                    "settled": each.settled,
                    "calls": each.calls,
                    "fruitless": each.fruitless,
                    "is_closed": each.is_closed,
                }
                for each in ledger.assignments.values()
            ],
        },
    )


def load(home: Home, run_id: str) -> Ledger | None:
    """What the last coordinator promised; None where the run has had none.

    Raises:
        UsageError: the file is damaged, or a newer facesweep wrote it; names it.
    """
    document = home.find_json(_path(run_id))
    if document is None:
        return None
    try:
        return _from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{home.path(_path(run_id))} is not a backfill's ledger: {error!r}") from None


def _from_json(document: Mapping[str, Any]) -> Ledger:
    if document["ledger_version"] > LEDGER_VERSION:
        raise ValueError("a newer facesweep wrote it: upgrade")
    assignments = [
        Assignment(
            Shard(Provider(each["provider"]), each["number"], each["questions"]),
            each["attempt"],
            Budget(each["calls_allowed"], each["money_allowed"]),
            each["settled"],
            each["calls"],
            each["fruitless"],
            each["is_closed"],
        )
        for each in document["shards"]
    ]
    terms = Terms(document["shard_s"], document["at_once"], document["deployment"], document["pool"])
    return Ledger(terms, {key_of(each.shard): each for each in assignments})


def _path(run_id: str) -> str:
    return f"runs/{run_id}/coordination.json"
