"""Whatever is announced, answered, turned away, lost and restarted: a run spends no more than its budget."""

import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.budgets import Budget
from domain.errors import BudgetSpent
from domain.verdicts import Billed, Outcome, Provider
from tasks.records.allowance import MoneyOnTheWay
from tasks.records.ledger import Ledger, Settled
from tasks.records.queries import read_tallies
from tests.spec.test_journal import RUN

NUMBERS = st.integers(0, 3)
PRICES = st.sampled_from([0.0, 0.07, 0.1, 0.25, 0.3, 1.0])
MONEY = st.sampled_from([0.07, 0.3, 0.5, 1.0, 1.75, 3.0])


@dataclass
class Call:
    """One call as whoever pays for it sees it."""

    provider: Provider
    has_left: bool = False
    is_free: bool = False  # known not to be billed


class LedgerAgainstBudget(RuleBasedStateMachine):
    """The ledger, and beside it a list of every call that was announced and not taken back."""

    @initialize(
        calls=st.none() | st.integers(1, 8),
        money=st.none() | MONEY,
        prices=st.tuples(PRICES, PRICES),
    )
    def open(self, calls: int | None, money: float | None, prices: tuple[float, float]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "run.sqlite"
        self.budget = Budget(calls, money)
        self.prices = dict(zip(Provider, prices, strict=True))
        self.calls: list[Call] = []
        self.open_calls: dict[int, Call] = {}  # announced by this process, their ends not known
        self.earlier: dict[int, list[Call]] = {}  # of questions not settled, their ends known or lost
        self.settled: set[int] = set()
        self.ledger = Ledger(self.path, RUN, self.budget, self.prices)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()

    def _spent(self) -> Decimal:
        return sum((self._price(call) for call in self.calls if not call.is_free), Decimal(0))

    def _price(self, call: Call) -> Decimal:
        return Decimal(str(self.prices[call.provider]))

    @rule(number=NUMBERS)
    def announce(self, number: int) -> None:
        if number in self.settled or number in self.open_calls:
            return
        call = Call(list(Provider)[number % 2])
        (result,) = self.ledger.commit(
            [lambda ledger: ledger.intend(bytes([number]), call.provider, 1, "order", bytes([number]))]
        )
        most_calls, most_money = self.budget.calls, self.budget.money
        has_calls = most_calls is None or len(self.calls) < most_calls
        missing = Decimal(0)
        if most_money is not None:
            missing = max(self._spent() + self._price(call) - Decimal(str(most_money)), missing)
        on_the_way = sum((self._price(each) for each in self.open_calls.values()), Decimal(0))
        if isinstance(result, BudgetSpent):
            assert not has_calls if result.limit == "calls" else missing > on_the_way
        elif isinstance(result, MoneyOnTheWay):
            assert has_calls
            assert 0 < missing <= on_the_way
        else:
            assert has_calls
            assert not missing
            self.calls.append(call)
            self.open_calls[number] = call

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.open_calls[self._one_open(data)].has_left = True

    @precondition(lambda self: any(call.has_left for call in self.open_calls.values()))
    @rule(data=st.data(), is_free=st.booleans())
    def come_home_without_an_answer(self, data: st.DataObject, is_free: bool) -> None:
        """Throttled, refused or unavailable; or lost, and then nobody knows whether it is billed."""
        number = self._one_open(data, left=True)
        self.ledger.commit([lambda ledger: ledger.calls.come_home(bytes([number]), is_free)])
        self.open_calls[number].is_free = is_free
        self.earlier.setdefault(number, []).append(self.open_calls.pop(number))

    @precondition(lambda self: any(call.has_left for call in self.open_calls.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        number = self._one_open(data, left=True)
        self._settle(number, Outcome.SCORED)
        del self.open_calls[number]

    @rule(number=NUMBERS, outcome=st.sampled_from([Outcome.FAILED, Outcome.REFUSED, Outcome.UNREADABLE]))
    def end_without_an_answer(self, number: int, outcome: Outcome) -> None:
        if number not in self.open_calls and number not in self.settled:
            self._settle(number, outcome)

    def _settle(self, number: int, outcome: Outcome) -> None:
        row = Settled(
            bytes([number]), list(Provider)[number % 2].value, outcome, Billed.UNKNOWN, 0, None, b"body"
        )
        self.ledger.commit([lambda ledger: ledger.settle(row)])
        self.settled.add(number)
        self.earlier.pop(number, None)

    @precondition(lambda self: any(not call.has_left for call in self.open_calls.values()))
    @rule(data=st.data(), in_doubt=st.booleans())
    def give_up_before_it_leaves(self, data: st.DataObject, in_doubt: bool) -> None:
        """The lane was closed: the call never left; the question's earlier ones did."""
        number = self._one_open(data, left=False)
        self.ledger.commit([lambda ledger: ledger.calls.release(bytes([number]), in_doubt, 1)])
        self._forget(self.open_calls.pop(number))
        if not in_doubt:
            for call in self.earlier.pop(number, []):
                call.is_free = True

    @precondition(lambda self: any(not call.has_left for call in self.open_calls.values()))
    @rule(data=st.data())
    def cancel_before_it_leaves(self, data: st.DataObject) -> None:
        number = self._one_open(data, left=False)
        question = bytes([number])

        def cancel(ledger: Ledger) -> None:
            (seq,) = ledger._sql.execute(
                "SELECT max(seq) FROM calls WHERE question = ?", (question,)
            ).fetchone()
            ledger.calls.cancel(seq)

        self.ledger.commit([cancel])
        self._forget(self.open_calls.pop(number))

    def _forget(self, call: Call) -> None:
        self.calls = [each for each in self.calls if each is not call]

    @rule(more_calls=st.integers(0, 4), more_money=st.sampled_from([0.0, 0.1, 2.5]))
    def crash_and_resume(self, more_calls: int, more_money: float) -> None:
        """Nobody will hear of what was open: it may have left and may be billed. The budget may be larger."""
        self.ledger.close()
        for number, call in self.open_calls.items():
            self.earlier.setdefault(number, []).append(call)
        self.open_calls.clear()
        calls, money = self.budget.calls, self.budget.money
        self.budget = Budget(
            None if calls is None else calls + more_calls,
            None if money is None else float(Decimal(str(money)) + Decimal(str(more_money))),
        )
        self.ledger = Ledger(self.path, RUN, self.budget, self.prices)

    def _one_open(self, data: st.DataObject, *, left: bool | None = None) -> int:
        fitting = [
            number for number, call in self.open_calls.items() if left is None or call.has_left is left
        ]
        return data.draw(st.sampled_from(fitting))

    @invariant()
    def never_exceeds_the_budget_and_counts_exactly(self) -> None:
        if not hasattr(self, "ledger"):
            return
        spending = self.ledger.calls.allowance.spending
        assert spending.calls == len(self.calls)
        assert spending.money == float(self._spent())
        if self.budget.calls is not None:
            assert len(self.calls) <= self.budget.calls
        if self.budget.money is not None:
            assert self._spent() <= Decimal(str(self.budget.money))
        tallies = read_tallies(self.path).values()
        assert sum(tally.calls for tally in tallies) == len(self.calls)
        assert sum(tally.charged for tally in tallies) == sum(not call.is_free for call in self.calls)


def test_invariant_6_whatever_happens_calls_and_money_stay_within_the_budget() -> None:
    """And what is given back can be spent: a call is refused only where the books have no room for it."""
    run_state_machine_as_test(
        LedgerAgainstBudget,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
