"""The budget: what a call may cost is held back before it leaves, and given back only when that is known."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.budgets import Budget, BudgetChange, Spending, amount
from domain.errors import BudgetSpent, Denied, Stopped, UsageError
from domain.runs import Balance, RunStatus
from domain.verdicts import Answer, Billed, Outcome, Provider
from tasks.candidates import Coverage, Estimate, coverage
from tasks.pacing.deadline import Deadline
from tasks.pacing.lane import Lane
from tasks.pacing.retry import RetryPolicy, Tries
from tasks.pacing.settle import settle
from tasks.records import parts
from tasks.records.allowance import Spent
from tasks.records.home import Home
from tasks.records.journal import Journal, JournalFailed
from tasks.records.run_record import ProviderBooks, RunRecord
from tasks.settings import spec_of
from tasks.units.spending import (
    changed_budget,
    check_given,
    check_newest,
    how_to_go_on,
    spending_of,
    spent_before,
    unsaved_calls,
    with_budget,
)
from tests.clock import run_on_movable_clock
from tests.spec.test_journal import RUN, a_verdict, content, question
from tests.spec.test_settings import data

TENCENT, ALIYUN = Provider.TENCENT, Provider.ALIYUN
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"{RUN}.sqlite"


def priced(path: Path, money: float, price: float = 0.1) -> Journal:
    return Journal(path, RUN, Budget(money=money), {TENCENT: price, ALIYUN: 0.0})


async def intend(journal: Journal, number: int, provider: Provider = TENCENT) -> str:
    return await journal.intend(question(number), provider, 1, f"o{number}", content(number))


# --- calls ---


@pytest.mark.anyio
async def test_a_call_beyond_the_budget_is_refused_and_announces_nothing(path: Path) -> None:
    async with Journal(path, RUN, Budget(calls=2)) as journal:
        await intend(journal, 1)
        await intend(journal, 2, ALIYUN)
        with pytest.raises(BudgetSpent, match="the budget of 2 calls is spent") as refused:
            await intend(journal, 3)
        assert refused.value.limit == "calls"
        assert await journal.in_doubt_among([question(3)], 1) == {}
        assert (journal.spending.calls, journal.spending.calls_left) == (2, 0)


@pytest.mark.anyio
async def test_callers_of_one_commit_share_what_is_left(path: Path) -> None:
    async with Journal(path, RUN, Budget(calls=3)) as journal:
        ends = await asyncio.gather(*(intend(journal, n) for n in range(8)), return_exceptions=True)
    assert [isinstance(end, BudgetSpent) for end in ends] == [False] * 3 + [True] * 5


@pytest.mark.anyio
async def test_a_copy_of_what_is_being_asked_needs_no_budget(path: Path) -> None:
    async with Journal(path, RUN, Budget(calls=1)) as journal:
        await intend(journal, 1)
        assert await journal.intend(question(2), TENCENT, 1, "o2", content(1)) == question(1)


@pytest.mark.anyio
async def test_a_call_that_never_left_is_given_back_and_one_that_was_throttled_is_not(path: Path) -> None:
    async with Journal(path, RUN, Budget(calls=2)) as journal:
        await intend(journal, 1)
        journal.come_home(question(1), is_free=True)
        await journal.release(question(1), in_doubt=False)
        await intend(journal, 2)
        await journal.release(question(2), in_doubt=False, never_left=1)
        await intend(journal, 3)
        with pytest.raises(BudgetSpent):
            await intend(journal, 4)


@pytest.mark.anyio
async def test_invariant_6_what_a_process_spent_counts_in_the_next_one(path: Path) -> None:
    """Settled, turned away and in doubt alike; only a larger budget makes room."""
    async with Journal(path, RUN, Budget(calls=3)) as journal:
        await intend(journal, 1)
        await journal.settle(a_verdict(1))
        await intend(journal, 2)
        await journal.release(question(2), in_doubt=False)
        await intend(journal, 3)
    async with Journal(path, RUN, Budget(calls=3)) as journal:
        assert isinstance(journal.shortage(TENCENT), BudgetSpent)
        with pytest.raises(BudgetSpent):
            await intend(journal, 4)
    async with Journal(path, RUN, Budget(calls=4)) as journal:
        await intend(journal, 4)
        with pytest.raises(BudgetSpent):
            await intend(journal, 5)


# --- money ---


@pytest.mark.anyio
@pytest.mark.parametrize(("money", "price", "calls"), [(0.3, 0.1, 3), (1.0, 0.1, 10), (1.0, 0.3, 3)])
async def test_money_is_counted_exactly(path: Path, money: float, price: float, calls: int) -> None:
    """Three calls at 0.1 are 0.3, although in binary fractions they are more."""
    async with priced(path, money, price) as journal:
        for number in range(calls):
            await intend(journal, number)
            await journal.settle(a_verdict(number))
        with pytest.raises(BudgetSpent) as refused:
            await intend(journal, calls)
        assert refused.value.limit == "money"
        assert journal.spending.money == pytest.approx(calls * price)


@pytest.mark.anyio
async def test_what_is_left_below_a_price_is_told(path: Path) -> None:
    async with priced(path, 0.25) as journal:
        for number in (1, 2):
            await intend(journal, number)
            await journal.settle(a_verdict(number))
        sentence = "the budget of 0.25 is spent but for 0.05: the next call of tencent costs 0.10"
        with pytest.raises(BudgetSpent, match=sentence):
            await intend(journal, 3)


@pytest.mark.anyio
async def test_a_call_that_costs_nothing_needs_no_money(path: Path) -> None:
    async with priced(path, 0.1) as journal:
        await intend(journal, 1)
        await journal.settle(a_verdict(1))
        assert await intend(journal, 2, ALIYUN) == question(2)


@pytest.mark.anyio
async def test_a_call_waits_for_the_money_of_one_on_the_way_that_may_come_back(path: Path) -> None:
    async with priced(path, 0.2) as journal:
        await asyncio.gather(intend(journal, 1), intend(journal, 2))
        waiting = asyncio.create_task(intend(journal, 3))
        journal.come_home(question(1), is_free=False)
        await journal.tallies()
        assert not waiting.done()
        journal.come_home(question(2), is_free=True)
        assert await waiting == question(3)
        assert journal.spending.money == pytest.approx(0.2)


@pytest.mark.anyio
@pytest.mark.parametrize("end", ["answered", "in doubt"])
async def test_it_waits_no_longer_than_there_is_hope(path: Path, end: str) -> None:
    async with priced(path, 0.1) as journal:
        await intend(journal, 1)
        waiting = [asyncio.create_task(intend(journal, number)) for number in (2, 3)]
        if end == "answered":
            await journal.settle(a_verdict(1))
        else:
            journal.come_home(question(1), is_free=False)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, BudgetSpent) for each in ends)


@pytest.mark.anyio
async def test_money_of_calls_a_crash_cut_short_does_not_come_back(path: Path) -> None:
    async with priced(path, 0.2) as journal:
        await intend(journal, 1)
    async with priced(path, 0.2) as journal:
        await intend(journal, 1)
        journal.come_home(question(1), is_free=True)
        await intend(journal, 1)
        await journal.settle(a_verdict(1, billed=Billed.UNKNOWN))
        with pytest.raises(BudgetSpent):
            await intend(journal, 2)
        tally = (await journal.tallies())[TENCENT]
    assert (tally.calls, tally.charged) == (3, 2)


@pytest.mark.anyio
async def test_nobody_waits_for_money_when_the_journal_closes(path: Path) -> None:
    async with priced(path, 0.1) as journal:
        await intend(journal, 1)
        waiting = asyncio.create_task(intend(journal, 2))
        for _ in range(2):  # both its attempts are behind it: it waits
            await journal.prune(TENCENT)
    with pytest.raises(JournalFailed, match="closed"):
        await waiting


@pytest.mark.anyio
async def test_a_caller_cancelled_while_it_waits_for_money_has_announced_nothing(path: Path) -> None:
    async with priced(path, 0.1) as journal:
        await intend(journal, 1)
        waiting = asyncio.create_task(intend(journal, 2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await journal.release(question(1), in_doubt=False)
        assert await intend(journal, 3) == question(3)
        assert await journal.in_doubt_among([question(2)], 1) == {}


# --- a run that goes on without its first journal ---


@pytest.mark.anyio
async def test_published_parts_count_where_the_journal_is_lost(tmp_path: Path, path: Path) -> None:
    """An answer is a call that was billed; an unknown one may hide a call that a crash cut short."""
    home = Home.local(tmp_path / "home")
    async with Journal(tmp_path / "first.sqlite", RUN) as journal:
        await journal.settle(a_verdict(1, attempts=2, throttled=3))
        await journal.settle(a_verdict(2, attempts=1, billed=Billed.UNKNOWN))
        await journal.settle(a_verdict(3, attempts=1, outcome=Outcome.REFUSED, billed=Billed.NO))
        await parts.publish(journal, home, TENCENT)
    async with Journal(path, RUN, Budget(calls=8, money=1.0), {TENCENT: 0.1}) as journal:
        await parts.restore(journal, home)
        assert journal.spending == Spending(Budget(calls=8, money=1.0), 8, pytest.approx(0.3))
        with pytest.raises(BudgetSpent):
            await intend(journal, 4)


@pytest.mark.anyio
async def test_what_the_record_knows_and_no_row_shows_counts(path: Path) -> None:
    known = {TENCENT: Spent(5, 4)}
    async with Journal(path, RUN, Budget(calls=6), {TENCENT: 0.1}) as journal:
        for _ in range(2):
            await journal.catch_up(known, {})
        assert (journal.spending.calls, journal.spending.money) == (5, pytest.approx(0.4))
        await intend(journal, 1)
    async with Journal(path, RUN, Budget(calls=6), {TENCENT: 0.1}) as journal:
        await journal.catch_up(known, {})
        assert (journal.spending.calls, journal.spending.money) == (6, pytest.approx(0.5))
        tally = (await journal.tallies())[TENCENT]
        assert (tally.calls, tally.charged) == (6, 5)


@pytest.mark.anyio
async def test_calls_the_record_may_lack_count_in_a_new_journal_only(path: Path) -> None:
    known, unsaved = {TENCENT: Spent(5, 5), ALIYUN: Spent(0, 0)}, {TENCENT: 10, ALIYUN: 3}
    for _ in range(2):
        async with Journal(path, RUN) as journal:
            await journal.catch_up(known, unsaved)
            assert journal.spending.calls == 18


@pytest.mark.parametrize(
    ("status", "unsaved"), [(RunStatus.INTERRUPTED, {}), (RunStatus.RUNNING, {TENCENT: 100})]
)
def test_a_record_that_was_last_saved_while_calls_left_may_lack_some(
    status: RunStatus, unsaved: dict[Provider, int]
) -> None:
    record = a_record(status=status, books=(books(calls=40, charged=30, cap_per_s=5),))
    assert spent_before(record.books) == {TENCENT: Spent(40, 30)}
    assert unsaved_calls(record.books, was_at_work=status is RunStatus.RUNNING) == unsaved


# --- the lane ---


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], datetime]:
    began = loop.time()
    return lambda: NOON + timedelta(seconds=loop.time() - began)


def test_invariant_6_no_call_leaves_at_the_deadline_or_after_it() -> None:
    async def story() -> tuple[list[float], list[object]]:
        loop = asyncio.get_running_loop()
        began, left = loop.time(), []
        lane = Lane(5, deadline=Deadline(NOON + timedelta(seconds=3), clock_of(loop)))

        async def call() -> None:
            await lane.admit()
            left.append(loop.time() - began)

        ends = await asyncio.gather(*(call() for _ in range(40)), return_exceptions=True)
        return left, [end for end in ends if end]

    left, refused = run_on_movable_clock(story())
    assert 13 <= len(left) <= 15
    assert max(left) < 3
    assert len(left) + len(refused) == 40
    assert {(type(end), end.limit) for end in refused if isinstance(end, BudgetSpent)} == {
        (BudgetSpent, "until")
    }


def test_a_clock_that_is_set_forward_ends_the_departures_at_once() -> None:
    async def story() -> None:
        now = [NOON]
        lane = Lane(5, deadline=Deadline(NOON + timedelta(hours=1), lambda: now[0]))
        await lane.admit()
        now[0] += timedelta(hours=1)
        with pytest.raises(BudgetSpent, match="time is over"):
            await lane.admit()

    run_on_movable_clock(story())


def test_what_is_announced_still_leaves_a_lane_that_lets_nobody_new_in() -> None:
    async def story() -> tuple[list[object], object]:
        lane = Lane(5)
        lane.check_open()
        announced = [asyncio.create_task(lane.admit()) for _ in range(3)]
        backing_off = asyncio.create_task(lane.rest(600.0))
        await asyncio.sleep(0)
        lane.close(BudgetSpent("calls", "spent"), announced_may_leave=True)
        with pytest.raises(BudgetSpent):
            lane.check_open()
        ends = await asyncio.gather(*announced, backing_off, return_exceptions=True)
        return list(ends[:3]), ends[3]

    left, backed_off = run_on_movable_clock(story())
    assert left == [None, None, None]
    assert isinstance(backed_off, BudgetSpent)


def test_a_lane_that_drains_can_still_be_shut() -> None:
    async def story() -> list[object]:
        lane = Lane(5)
        lane.throttle(retry_after_s=60.0)
        announced = [asyncio.create_task(lane.admit()) for _ in range(3)]
        await asyncio.sleep(1)
        lane.close(BudgetSpent("calls", "spent"), announced_may_leave=True)
        await asyncio.sleep(1)
        lane.close(Stopped("enough"))
        return list(await asyncio.gather(*announced, return_exceptions=True))

    assert all(isinstance(end, BudgetSpent) for end in run_on_movable_clock(story()))


def test_nothing_is_announced_at_a_closed_lane() -> None:
    async def story() -> Tries:
        lane, tries = Lane(5), Tries()
        lane.close(Denied(TENCENT, "UnauthorizedOperation.Arrears", "pay"))

        async def announce(number: int) -> str:
            raise AssertionError(f"call {number} was announced")

        async def ask(order_no: str) -> Answer:
            raise AssertionError(f"{order_no} left")

        with pytest.raises(Denied):
            await settle(lane, RetryPolicy(), announce, ask, tries)
        return tries

    assert run_on_movable_clock(story()) == Tries()


# --- what a plan says ---


def estimated(provider: Provider, calls: int, hours: float, cost: float | None = None) -> Estimate:
    return Estimate(provider, calls, hours, NOON + timedelta(hours=hours), cost)


@pytest.mark.parametrize(
    ("budget", "covered"),
    [
        (Budget(), []),
        (Budget(calls=1_000), [("calls", 1_000)]),
        (Budget(calls=9_999), [("calls", 3_600)]),
        (Budget(money=100.0), [("money", 1_000)]),
        (Budget(money=0.3), [("money", 3)]),
        (Budget(money=1e9), [("money", 3_600)]),
        (Budget(until=NOON + timedelta(minutes=30)), [("until", 1_800)]),
        (Budget(until=NOON - timedelta(minutes=30)), [("until", 0)]),
        (Budget(calls=10, until=NOON + timedelta(days=9)), [("calls", 10), ("until", 3_600)]),
    ],
)
def test_a_plan_tells_what_each_bound_covers(budget: Budget, covered: list[tuple[str, int]]) -> None:
    found = coverage(budget, [estimated(TENCENT, 3_600, 1.0, 360.0)], NOON)
    assert found == tuple(Coverage(limit, calls, 3_600) for limit, calls in covered)


def test_providers_that_are_asked_side_by_side_share_a_budget() -> None:
    """One hour at 1/s and 0.1, two hours at 2/s and 0.01: after 1.5 hours 360 + 108 are spent."""
    both = [estimated(TENCENT, 3_600, 1.0, 360.0), estimated(ALIYUN, 14_400, 2.0, 144.0)]
    until = NOON + timedelta(hours=1.5)
    assert coverage(Budget(money=468.0, until=until), both, NOON) == (
        Coverage("money", 3_600 + 10_800, 18_000),
        Coverage("until", 3_600 + 10_800, 18_000),
    )
    assert coverage(Budget(money=216.0), both, NOON) == (Coverage("money", 1_800 + 3_600, 18_000),)


# --- the record ---


def books(**changes: object) -> ProviderBooks:
    balance = Balance(TENCENT, listed=50, skipped={}, asked=50, outcomes={Outcome.SCORED: 20})
    return replace(ProviderBooks(balance), **changes)  # type: ignore[arg-type]


def a_record(**changes: object) -> RunRecord:
    record = RunRecord(
        run_id="r1",
        audit="kyc",
        status=RunStatus.INTERRUPTED,
        spec=data(providers__tencent__price_per_call=0.1),
        spec_sha256="",
        versions={},
        started_at=NOON,
        updated_at=NOON,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def test_a_budget_that_changes_is_kept_with_who_set_it_and_when() -> None:
    first = with_budget(a_record(), Budget(calls=10))
    same = with_budget(first, Budget(calls=10))
    second = with_budget(same, Budget(calls=20, money=5.0))
    assert second.budget == Budget(calls=20, money=5.0)
    assert [each.budget for each in second.budget_history] == [Budget(calls=10), Budget(calls=20, money=5.0)]
    assert all(each.set_by.count("@") == 1 and each.set_at > NOON for each in second.budget_history)


def test_a_run_without_bounds_has_no_budget() -> None:
    assert with_budget(a_record(), Budget()) == a_record()
    assert spending_of(a_record()) is None


def test_bounds_that_are_not_given_stay_as_they_are() -> None:
    record = a_record(budget=Budget(calls=10, money=1.0, until=NOON))
    spec = spec_of(data(providers__tencent__price_per_call=0.1), "kyc.toml")
    assert changed_budget(record, spec, Budget(money=2.0)) == Budget(10, 2.0, NOON)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Budget(money=2.0), "--money: the run's spec has no providers.tencent.price_per_call"),
        (Budget(money=float("inf")), "--money inf: not an amount of money"),
        (Budget(until=NOON.replace(tzinfo=None)), "--until 2026-11-20 12:00:00: needs a time zone"),
    ],
)
def test_a_bound_that_cannot_be_kept_is_refused(given: Budget, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        changed_budget(a_record(), spec_of(data(), "kyc.toml"), given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Budget(calls=1_000), "--calls 1,000: the run has made 1,000 calls already"),
        (Budget(money=90.5), "--money 90.50: the run has spent 99.25 already"),
        (Budget(until=NOON), "--until 2026-11-20 12:00:00.00:00: that moment has passed"),
    ],
)
def test_a_budget_that_leaves_nothing_is_a_mistake(given: Budget, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_given(given, Spending(Budget(), 1_000, 99.25), NOON)


def test_what_is_spent_of_a_budget_is_read_from_the_books() -> None:
    record = a_record(budget=Budget(calls=100, money=10.0), books=(books(calls=40, charged=30),))
    spending = spending_of(record)
    assert spending == Spending(Budget(calls=100, money=10.0), 40, pytest.approx(3.0))
    assert spending is not None
    assert (spending.calls_left, spending.money_left) == (60, pytest.approx(7.0))


@pytest.mark.parametrize(
    ("limit", "option"),
    [("calls", "--calls N` goes on, with N over 100"), ("money", "--money X` goes on, with X over 10.00")],
)
def test_whoever_ran_out_of_budget_is_told_what_is_left_and_how_to_go_on(limit: str, option: str) -> None:
    left = Balance(TENCENT, listed=50, skipped={}, asked=20, over_budget=30)
    record = a_record(budget=Budget(calls=100, money=10.0), books=(ProviderBooks(left),) * 2)
    said = str(how_to_go_on(BudgetSpent(limit, "the budget is spent"), record))
    assert said == f"the budget is spent; 60 questions are left: `facesweep resume HOME {option}"


def test_only_the_newest_run_may_go_on_after_its_budget() -> None:
    spent = a_record(status=RunStatus.OUT_OF_BUDGET)
    later = a_record(run_id="r2", started_at=NOON + timedelta(hours=1), status=RunStatus.DONE)
    check_newest(spent, [spent])
    check_newest(later, [spent, later])
    with pytest.raises(UsageError, match="run r1 ran out of its budget and run r2 has begun since"):
        check_newest(spent, [spent, later])


def test_a_run_out_of_budget_gives_way_and_an_unfinished_one_does_not() -> None:
    assert {status for status in RunStatus if status.gives_way} == {
        RunStatus.DONE,
        RunStatus.ABANDONED,
        RunStatus.OUT_OF_BUDGET,
    }


@pytest.mark.parametrize(
    ("money", "text"), [(4.6, "4.60"), (0.125, "0.125"), (1_000_000, "1,000,000.00"), (1e-7, "0.00")]
)
def test_money_is_written_with_two_decimals_or_as_many_as_it_has(money: float, text: str) -> None:
    assert amount(money) == text


def test_a_change_of_the_budget_says_who_and_when() -> None:
    change = BudgetChange(NOON, "ops@host", Budget(calls=1))
    assert (change.set_by, change.budget.is_bounded) == ("ops@host", True)
