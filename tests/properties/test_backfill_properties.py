"""Whatever happens to workers, the calls of all shards together never exceed the budget."""

import random
from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.budgets import Budget
from domain.runs import Balance, RunStatus, Shard, ShardStatus
from domain.verdicts import Outcome, Provider
from tasks.records.run_record import ProviderBooks
from tasks.records.shard_record import ShardRecord
from tasks.units.backfill.allowances import exact
from tasks.units.backfill.decisions import Circumstances, decide
from tasks.units.backfill.ledger import Assignment
from tasks.units.backfill.sights import Flight, Sight

NOW = datetime(2026, 11, 20, 18, tzinfo=UTC)


class Worker:
    """One shard and whoever works on it: it keeps its allowance, may die at any moment, and tells late."""

    def __init__(self, shard: Shard, price: float, mortality: float, chance: random.Random) -> None:
        self.shard, self.price, self.mortality, self.chance = shard, price, mortality, chance
        self.calls = self.charged = self.settled = 0
        self.told: ShardRecord | None = None
        self.flight = Flight.UNKNOWN
        self.assignment: Assignment | None = None

    def submit(self, assignment: Assignment) -> None:
        assert self.flight is not Flight.RUNNING, "nobody is given a shard that somebody works on"
        self.assignment, self.flight = assignment, Flight.RUNNING
        self._tell(ShardStatus.WORKING)

    def work(self) -> None:
        """Some calls, then perhaps a record, an end, or a death without a word."""
        for _ in range(self.chance.randint(0, self.shard.questions)):
            if self.settled == self.shard.questions:
                return self._end(ShardStatus.DONE)
            if not self._may_call():
                return self._end(ShardStatus.OUT_OF_BUDGET)
            self.calls += 1
            if self.chance.random() < 0.8:  # the others are turned away: not billed, and asked again
                self.charged += 1
                self.settled += 1
            if self.chance.random() < self.mortality:
                self.flight = Flight.OVER  # killed: its record lags behind
                return None
        match self.chance.choice(["tell", "break", "interrupt"]):
            case "tell":
                self._tell(ShardStatus.WORKING)
            case "break":
                self._end(ShardStatus.BROKEN)
            case "interrupt":
                self._end(ShardStatus.INTERRUPTED)
        return None

    def seen(self) -> Sight:
        return Sight(self.shard, self.assignment, self.told, self.flight, self.flight is Flight.RUNNING)

    def _may_call(self) -> bool:
        assert self.assignment is not None
        allowed = self.assignment.allowance
        money = (self.charged + 1) * exact(self.price)
        return (allowed.calls is None or self.calls < allowed.calls) and (
            allowed.money is None or money <= exact(allowed.money)
        )

    def _end(self, status: ShardStatus) -> None:
        self._tell(status)
        self.flight = Flight.OVER

    def _tell(self, status: ShardStatus) -> None:
        assert self.assignment is not None
        outcomes = {Outcome.SCORED: self.settled}
        asked = self.shard.questions
        self.told = ShardRecord(
            "r1",
            self.shard.provider,
            self.shard.number,
            status,
            self.assignment.attempt,
            "w",
            NOW,
            NOW,
            ProviderBooks(Balance(self.shard.provider, asked, {}, asked, outcomes), self.calls, self.charged),
        )


@settings(deadline=None)  # the clock is the machine's, and not what is promised here
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    calls=st.none() | st.integers(1, 400),
    cents=st.none() | st.integers(1, 4000),
    prices=st.tuples(st.sampled_from([0.0, 0.1, 0.07, 1.25]), st.sampled_from([0.1, 0.3])),
    at_once=st.integers(1, 4),
    mortality=st.sampled_from([0.0, 0.03, 0.2]),  # of a process, with each call
    seed=st.integers(0, 2**32),
)
def test_invariant_6_no_calls_beyond_the_budget_whoever_dies_and_all_is_done_or_nothing_left(
    sizes: list[int],
    calls: int | None,
    cents: int | None,
    prices: tuple[float, float],
    at_once: int,
    mortality: float,
    seed: int,
) -> None:
    chance = random.Random(seed)
    budget = Budget(calls, None if cents is None else cents / 100)
    priced = dict(zip(Provider, prices, strict=True))
    workers = [
        Worker(Shard(provider, number, size), priced[provider], mortality, chance)
        for number, size in enumerate(sizes, start=1)
        for provider in Provider
    ]
    of = {(each.shard.provider, each.shard.number): each for each in workers}

    for _ in range(5000):
        turn = decide([each.seen() for each in workers], Circumstances(NOW, budget, priced, at_once=at_once))
        if turn.is_over:
            break
        if turn.end is not None:
            for each in workers:
                if each.flight is Flight.RUNNING:
                    each._end(ShardStatus.INTERRUPTED)
        for assignment in turn.submit:
            of[assignment.shard.provider, assignment.shard.number].submit(assignment)
        running = [each for each in workers if each.flight is Flight.RUNNING]
        assert len(running) <= at_once
        for each in running:
            each.work()

        spent = sum((each.charged * exact(each.price) for each in workers), Fraction())
        assert budget.calls is None or sum(each.calls for each in workers) <= budget.calls
        assert budget.money is None or spent <= exact(budget.money)
    else:
        raise AssertionError("it never ended")

    if turn.end is None:
        assert all(each.settled == each.shard.questions for each in workers)
    else:
        assert turn.end.status in (RunStatus.OUT_OF_BUDGET, RunStatus.BROKEN)
