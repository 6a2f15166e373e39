"""What becomes of each shard next, and when a backfill is over. Pure: it is told all, and does nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.budgets import Budget, amount
from domain.runs import RunStatus, Wanted
from domain.verdicts import Provider
from tasks.units.backfill.allowances import allowance, exact, spent_bound, uncommitted
from tasks.units.backfill.ledger import Assignment
from tasks.units.backfill.sights import Fate, Sight

FRUITLESS_AT_MOST = 3
"""Attempts that came to nothing, one after the other: what breaks a shard three times breaks it always."""

UNBOUNDED = Budget()


@dataclass(frozen=True, slots=True)
class End:
    """Why a backfill ends before its questions do."""

    status: RunStatus
    reason: str
    limit: str | None = None  # the budget's bound that was reached: calls, money or until
    provider: Provider | None = None  # who refused


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do now, in this order."""

    lost: tuple[Assignment, ...] = ()  # Prefect takes them for running: tell it that they crashed
    recall: tuple[Assignment, ...] = ()  # wait for a worker and are not wanted any more
    submit: tuple[Assignment, ...] = ()  # to be written down first
    end: End | None = None  # nothing is submitted any more; what works is to stop
    is_over: bool = False  # nothing is in flight, nothing is to be submitted
    waiting: int = 0
    working: int = 0
    done: int = 0

    @property
    def is_done(self) -> bool:
        """Whether every shard has all its answers."""
        return self.is_over and self.end is None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision depends on beside the shards."""

    now: datetime
    budget: Budget = UNBOUNDED
    prices: Mapping[Provider, float] = field(default_factory=dict)  # of one call
    wanted: Wanted = Wanted.RUN
    by: str | None = None  # who wants it
    at_once: int = 20
    end: End | None = None  # what was decided before stays decided


def decide(sights: Sequence[Sight], given: Circumstances) -> Turn:
    """What to do now that the shards are seen like this."""
    fates = [each.fate for each in sights]
    turn = Turn(
        lost=_assignments(sights, Fate.LOST),
        waiting=fates.count(Fate.WAITING),
        working=fates.count(Fate.WORKING),
        done=fates.count(Fate.DONE),
    )
    if turn.done == len(sights):
        return replace(turn, is_over=True)
    in_flight = sum(fate.is_in_flight for fate in fates)
    end = given.end or _end(sights, given)
    if end is None:
        submit = _next(sights, given, given.at_once - in_flight)
        if submit or in_flight or Fate.LAPSING in fates:
            return replace(turn, submit=submit)
        end = _spent(sights, given)
    return replace(turn, recall=_assignments(sights, Fate.WAITING), end=end, is_over=not in_flight)


def committed(sights: Iterable[Sight], given: Circumstances) -> list[Budget]:
    """The parts of the budget that the shards hold, in their order."""
    return [each.committed(given.budget, given.prices.get(each.shard.provider)) for each in sights]


def is_too_much(parts: Iterable[Budget], budget: Budget) -> bool:
    """Whether shards hold more than this budget together."""
    parts = list(parts)
    calls, money = sum(each.calls or 0 for each in parts), sum(exact(each.money or 0.0) for each in parts)
    return (budget.calls is not None and calls > budget.calls) or (
        budget.money is not None and money > exact(budget.money)
    )


def _end(sights: Iterable[Sight], given: Circumstances) -> End | None:
    """Why nothing more is to be submitted; None while nothing speaks against it."""
    by = f" by {given.by}" if given.by else ""
    if given.wanted is Wanted.CANCEL:
        return End(RunStatus.ABANDONED, f"given up{by}")
    if given.wanted is Wanted.PAUSE:
        return End(RunStatus.INTERRUPTED, f"paused{by}")
    ends = [each for each in map(_end_by, sights) if each is not None]
    for status in (RunStatus.DENIED, RunStatus.TRIPPED, RunStatus.BROKEN):
        for each in ends:
            if each.status is status:
                return each
    if given.budget.until is not None and given.budget.until <= given.now:
        sentence = f"the budget's time was over at {given.budget.until.isoformat(timespec='seconds')}"
        return End(RunStatus.OUT_OF_BUDGET, sentence, "until")
    return None


def _end_by(sight: Sight) -> End | None:
    """The end that one shard's fate means for all of them."""
    if sight.assignment is None or sight.assignment.is_closed:
        return None
    shard, said = sight.shard, sight.record.stop_reason if sight.record else None
    match sight.fate:
        case Fate.DENIED:
            return End(RunStatus.DENIED, said or f"{shard.provider} refuses", provider=shard.provider)
        case Fate.TRIPPED:
            return End(
                RunStatus.TRIPPED, said or f"most questions of {shard.provider} fail", provider=shard.provider
            )
    if sight.came_to_nothing() and sight.assignment.fruitless + 1 >= FRUITLESS_AT_MOST:
        why = "its worker died without a word" if sight.fate is Fate.DIED else said
        return End(
            RunStatus.BROKEN,
            f"shard {shard.number} of {shard.provider} came to nothing {FRUITLESS_AT_MOST} times"
            + (f": {why}" if why else ""),
        )
    return None


def _next(sights: Iterable[Sight], given: Circumstances, room: int) -> tuple[Assignment, ...]:
    """Whom to submit, `room` at most: those that were begun before the others, providers side by side."""
    sights = list(sights)
    held = committed(sights, given)
    left = uncommitted(given.budget, held)
    begun: dict[Provider, list[tuple[Sight, Budget]]] = {}
    for sight, used in sorted(zip(sights, held, strict=True), key=lambda each: each[0].fate is Fate.UNTRIED):
        if _may_go_on(sight):
            begun.setdefault(sight.shard.provider, []).append((sight, used))
    busy = {
        provider: sum(each.fate.is_in_flight for each in sights if each.shard.provider is provider)
        for provider in begun
    }
    chosen: list[Assignment] = []
    while len(chosen) < room and begun:
        provider = min(begun, key=lambda each: busy[each])
        sight, used = begun[provider].pop(0)
        if not begun[provider]:
            del begun[provider]
        again = _again(sight, given, left, used)
        if again is None:  # not a call is left for this one
            continue
        left = uncommitted(left, [_difference(again.allowance, used)])
        busy[provider] += 1
        chosen.append(again)
    return tuple(chosen)


def _may_go_on(sight: Sight) -> bool:
    match sight.fate:
        case Fate.UNTRIED | Fate.UNSENT | Fate.OUT_OF_ALLOWANCE | Fate.INTERRUPTED | Fate.BROKEN | Fate.DIED:
            return True
        case Fate.DENIED | Fate.TRIPPED:  # somebody resumed the run: the cause may be mended
            return sight.assignment is not None and sight.assignment.is_closed
    return False


def _again(sight: Sight, given: Circumstances, left: Budget, used: Budget) -> Assignment | None:
    """The shard's next attempt; None where not a single call is left for it."""
    before = sight.assignment
    if before is not None and sight.fate is Fate.UNSENT:
        return before
    # Of one that died it is not certain what it spent: it keeps what it had, which is counted already.
    granted = (
        before.allowance
        if before is not None and not sight.is_certain(given.budget)
        else allowance(
            left, used, sight.shard.questions - sight.settled, given.prices.get(sight.shard.provider)
        )
    )
    if granted is None:
        return None
    fruitless = 0 if before is None or before.is_closed else before.fruitless
    if sight.came_to_nothing():
        fruitless += 1
    elif sight.fate is not Fate.INTERRUPTED:
        fruitless = 0
    return Assignment(
        sight.shard,
        1 + max(0 if before is None else before.attempt, 0 if sight.record is None else sight.record.attempt),
        granted,
        sight.settled,
        sight.calls,
        fruitless,
    )


def _spent(sights: Iterable[Sight], given: Circumstances) -> End:
    """The end of a run of whose budget not a call is left."""
    left = uncommitted(given.budget, committed(sights, given))
    limit = spent_bound(left)
    of = f"{given.budget.calls or 0:,} calls" if limit == "calls" else amount(given.budget.money or 0.0)
    return End(RunStatus.OUT_OF_BUDGET, f"the budget of {of} is spent", limit)


def _difference(granted: Budget, used: Budget) -> Budget:
    return Budget(
        None if granted.calls is None else granted.calls - (used.calls or 0),
        None if granted.money is None else float(exact(granted.money) - exact(used.money or 0.0)),
    )


def _assignments(sights: Iterable[Sight], fate: Fate) -> tuple[Assignment, ...]:
    return tuple(each.assignment for each in sights if each.assignment and each.fate is fate)
