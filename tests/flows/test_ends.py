"""How a run ends before its questions do, and what may begin then: a budget's bounds, the breaker."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.budgets import Budget
from domain.errors import BudgetSpent, HomeBusy, Tripped, UsageError
from domain.runs import RunStatus
from domain.verdicts import Outcome, Provider
from tasks.records.home import Home
from tasks.units.books import run_of
from tasks.units.draft import adopt, draft_audit
from tasks.units.lifetime import abandon_run, open_run
from tasks.units.opening import open_audit
from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import emulated, folder_of_faces, know_keys, totals
from tests.flows.facesweep_process import Facesweep
from tests.flows.in_process import set_keys
from tests.flows.sweeps import audited, resumed

OBJECTS = 30


@pytest.fixture(scope="module")
def process() -> Iterator[RunningEmulators]:
    with emulated() as running:
        yield running


@pytest.fixture
def emulators(process: RunningEmulators, monkeypatch: pytest.MonkeyPatch) -> RunningEmulators:
    set_keys(monkeypatch)
    process.reset()
    know_keys(process)
    return process


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.local(tmp_path / "home")


def a_spec(folder: Path, emulators: RunningEmulators, qps: int = 50, **tables: object) -> Path:
    source = folder / "source"
    if not source.exists():
        folder_of_faces(source, OBJECTS)
    return Facesweep(folder).spec(
        source={"url": "source"},
        tencent={"qps": qps, "endpoint": emulators.tencent_url, "price_per_call": 0.1},
        aliyun={"qps": qps, "endpoints": [emulators.aliyun_url], "price_per_call": 0.25},
        **tables,  # type: ignore[arg-type]
    )


# --- calls ---


def test_without_a_larger_budget_nobody_is_asked(
    tmp_path: Path, emulators: RunningEmulators, home: Home
) -> None:
    """Resuming as it is ends at once and for the same reason; a budget that is no larger is a mistake."""
    first, _ = asyncio.run(audited(a_spec(tmp_path, emulators, budget={"calls": 25}), "r1"))
    again, end = asyncio.run(resumed(home, "r1"))
    assert isinstance(end, BudgetSpent)
    assert str(end).startswith("the budget of 25 calls is spent; 35 questions are left: ")
    assert again.status is first.status is RunStatus.OUT_OF_BUDGET
    assert [each.balance for each in again.books] == [each.balance for each in first.books]
    _, mistake = asyncio.run(resumed(home, "r1", Budget(calls=25)))
    assert isinstance(mistake, UsageError)
    assert "--calls 25: the run has made 25 calls already" in str(mistake)
    assert sum(totals(emulators).values()) == 25


# --- money ---


def test_invariant_6_two_providers_spend_one_budget_of_money_and_no_more(
    tmp_path: Path, emulators: RunningEmulators, home: Home
) -> None:
    """To the last call that is paid for; refusals cost nothing."""
    emulators.script("tencent", fault="code", code="FailedOperation.CoveredFace", times=5)
    emulators.script("aliyun", fault="answers_lost", times=2)
    record, end = asyncio.run(audited(a_spec(tmp_path, emulators, budget={"money": 5.0}), "r1"))
    assert isinstance(end, BudgetSpent)
    assert record.status is RunStatus.OUT_OF_BUDGET
    billed = {name: emulators.summary(name)["billed"] for name in ("tencent", "aliyun")}
    spent = billed["tencent"] * 0.1 + billed["aliyun"] * 0.25
    assert 5.0 - 0.25 < spent <= 5.0


# --- until ---


def test_a_run_whose_time_is_over_at_its_start_asks_nobody(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    until = datetime.now(UTC) - timedelta(hours=1)
    record, end = asyncio.run(audited(a_spec(tmp_path, emulators, budget={"until": until.isoformat()}), "r1"))
    assert "the budget's time is over" in str(end)
    assert f"{2 * OBJECTS} questions are left: `facesweep resume HOME --until T`" in str(end)
    assert record.status is RunStatus.OUT_OF_BUDGET
    assert totals(emulators) == {"tencent": 0, "aliyun": 0}
    assert [books.balance.over_budget for books in record.books] == [OBJECTS, OBJECTS]


def test_invariant_6_no_call_arrives_after_the_budgets_time(
    tmp_path: Path, emulators: RunningEmulators, home: Home
) -> None:
    """Calls on the way when it comes are waited for, and their answers kept; a later time goes on."""
    emulators.settings("tencent", latency_ms=400)
    spec = a_spec(tmp_path, emulators, qps=8, budget={"until": "2026-01-01T00:00:00+00:00"})
    asyncio.run(audited(spec, "r1"))
    until = datetime.now(UTC) + timedelta(seconds=2)
    record, end = asyncio.run(resumed(home, "r1", Budget(until=until)))
    assert isinstance(end, BudgetSpent)
    for name in ("tencent", "aliyun"):
        calls = emulators.calls(name)
        assert calls
        assert all(call["delivered"] for call in calls)
        assert all(call["arrived_at"] < until.timestamp() + JITTER_S for call in calls)
    rows = verdict_rows.rows(tmp_path / "home")
    assert len(rows) == sum(totals(emulators).values()) < 2 * OBJECTS
    assert {row["outcome"] for row in rows} == {"scored"}

    later = Budget(until=datetime.now(UTC) + timedelta(hours=1))
    emulators.settings("tencent", latency_ms=0)
    record, end = asyncio.run(resumed(home, "r1", later))
    assert (record.status, end) == (RunStatus.DONE, None)
    assert [change.budget.until for change in record.budget_history][1:] == [until, later.until]


JITTER_S = 1.0  # between leaving here and being read there, on a machine that does other things too


# --- what comes after a run that is out of budget ---


def test_the_next_audit_asks_what_an_earlier_budget_left_over(
    tmp_path: Path, emulators: RunningEmulators, home: Home
) -> None:
    """Nothing is asked twice; the earlier run can no longer be resumed, whatever the budget."""
    first, _ = asyncio.run(audited(a_spec(tmp_path, emulators, budget={"calls": 25}), "r1"))
    second, end = asyncio.run(audited(a_spec(tmp_path, emulators), "r2"))
    assert (first.status, second.status, end) == (RunStatus.OUT_OF_BUDGET, RunStatus.DONE, None)
    assert sum(totals(emulators).values()) == 2 * OBJECTS
    questions = [row["question_id"] for row in verdict_rows.rows(tmp_path / "home")]
    assert len(questions) == len(set(questions)) == 2 * OBJECTS

    with pytest.raises(UsageError, match="has no unfinished run"):
        run_of(home, None, unfinished=True)
    _, end = asyncio.run(resumed(home, "r1", Budget(calls=1_000)))
    assert isinstance(end, UsageError)
    assert "run r1 ran out of its budget and run r2 has begun since" in str(end)
    assert sum(totals(emulators).values()) == 2 * OBJECTS


def test_a_run_that_begins_while_another_is_planned_keeps_that_one_from_beginning(
    tmp_path: Path, emulators: RunningEmulators, home: Home
) -> None:
    """A run out of budget may be resumed in the hours another audit takes to list and plan."""
    asyncio.run(audited(a_spec(tmp_path, emulators, budget={"calls": 25}), "r1"))

    async def story() -> None:
        found = open_audit(a_spec(tmp_path, emulators))
        async with (
            draft_audit(found.home, found.spec, "r2") as draft,
            open_run(home, "r1", Budget(calls=1_000)),
        ):
            adopt(draft)

    with pytest.raises(HomeBusy, match="r1 is being worked on by process"):
        asyncio.run(story())
    assert sum(totals(emulators).values()) == 25


def test_a_run_out_of_budget_can_be_given_up(tmp_path: Path, emulators: RunningEmulators, home: Home) -> None:
    asyncio.run(audited(a_spec(tmp_path, emulators, budget={"calls": 25}), "r1"))
    record = asyncio.run(abandon_run(home, "r1"))
    assert record.status is RunStatus.ABANDONED
    assert all(books.balance.is_balanced for books in record.books)
    assert sum(books.balance.pending for books in record.books) == 2 * OBJECTS - 25


def test_invariant_6_a_run_that_goes_on_without_its_journal_knows_what_it_spent(
    tmp_path: Path, emulators: RunningEmulators, home: Home
) -> None:
    """On another machine the record and the published rows tell."""
    emulators.script("tencent", fault="throttled", times=1)
    asyncio.run(audited(a_spec(tmp_path, emulators, budget={"calls": 25}), "r1"))
    for file in home.journal_path("r1").parent.glob("r1.sqlite*"):
        file.unlink()
    _, end = asyncio.run(resumed(home, "r1"))
    assert "the budget of 25 calls is spent" in str(end)
    assert sum(totals(emulators).values()) == 25
    asyncio.run(resumed(home, "r1", Budget(calls=40)))
    assert sum(totals(emulators).values()) == 40


# --- the breaker ---


def test_a_provider_that_refuses_most_questions_ends_the_run_with_the_reasons_counted(
    tmp_path: Path, emulators: RunningEmulators, home: Home
) -> None:
    emulators.settings("tencent", latency_ms=100)
    emulators.script("tencent", fault="code", code="FailedOperation.CoveredFace", times=9)
    spec = a_spec(tmp_path, emulators, qps=20, breaker={"share": "40%", "least": 10})
    record, end = asyncio.run(audited(spec, "r1"))
    assert isinstance(end, Tripped)
    assert record.status is RunStatus.TRIPPED
    assert record.stop_reason == str(end)
    assert "questions to tencent failed or were refused, more than 40 %: " in str(end)
    assert str(end).endswith("× FailedOperation.CoveredFace")
    (books,) = [each for each in record.books if each.balance.provider is Provider.TENCENT]
    assert books.balance.is_balanced
    assert books.balance.pending > 0
    assert sum(books.balance.outcomes.values()) == len(emulators.calls("tencent"))
    assert books.balance.outcomes[Outcome.REFUSED] >= 5

    async def look() -> None:
        found = open_audit(spec)
        async with draft_audit(found.home, found.spec):
            pass

    with pytest.raises(UsageError, match=r"r1 of .* is unfinished \(tripped\): finish it first"):
        asyncio.run(look())

    record, end = asyncio.run(resumed(home, "r1"))
    assert (record.status, end) == (RunStatus.DONE, None), "it counts anew: the cause is mended"


def test_a_breaker_that_is_switched_off_lets_everything_be_refused(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    for name, code in (("tencent", "FailedOperation.CoveredFace"), ("aliyun", "420")):
        emulators.script(name, fault="code", code=code, times=None)
    spec = a_spec(tmp_path, emulators, breaker={"share": "100%", "least": 1})
    record, end = asyncio.run(audited(spec, "r1"))
    assert (record.status, end) == (RunStatus.DONE, None)
    assert [books.balance.outcomes for books in record.books] == [{Outcome.REFUSED: OBJECTS}] * 2
