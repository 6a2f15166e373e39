"""One shard of a backfill: what it asks, what ends it, what its record and its journal say then."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from domain.budgets import Budget
from domain.errors import BudgetSpent, Denied, Stopped, UsageError
from domain.runs import RunKind, RunStatus, ShardStatus, Wanted
from domain.verdicts import Provider
from tasks.records import control, run_record, shard_record
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.records.queries import read_tallies
from tasks.records.shard_record import ShardRecord
from tasks.units.lifetime import open_run
from tasks.units.opening import open_audit
from tasks.units.shard_books import Rhythm, ShardAttempt
from tasks.units.shard_work import open_shard
from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import face, folder_of_faces
from tests.flows.in_process import asked_about, put, write_spec
from tests.flows.shard_process import Granted, plan_backfill

pytestmark = pytest.mark.anyio

RUN = "years"
TENCENT = Provider.TENCENT
CALM = Rhythm(look_every_s=0.1)
OFTEN = Rhythm(publish_every_s=0.2)


def an_attempt(number: int = 1, attempt: int = 1, **bounds: float) -> ShardAttempt:
    return ShardAttempt(RUN, TENCENT, number, attempt, Budget(**bounds))  # type: ignore[arg-type]


async def a_backfill(tmp_path: Path, emulators: RunningEmulators, size: int = 20, qps: int = 50) -> Home:
    """A run over what is in `source`, in shards of that size."""
    if not (tmp_path / "source").exists():
        folder_of_faces(tmp_path / "source", 20)
    spec = write_spec(
        tmp_path / "kyc.toml",
        source={"url": "source"},
        tencent={"qps": qps, "endpoint": emulators.tencent_url, "price_per_call": 0.5},
    )
    await plan_backfill(spec, RUN, size)
    return open_audit(spec).home


async def work(home: Home, attempt: ShardAttempt, rhythm: Rhythm = CALM) -> ShardRecord:
    async with open_shard(home, attempt, Granted(), rhythm) as opened:
        return await opened.detect()


def recorded(home: Home, number: int = 1) -> ShardRecord:
    found = shard_record.load(home, RUN, TENCENT, number)
    assert found is not None
    return found


def settled(home: Home, number: int = 1) -> int:
    path = home.shard_journal_path(RUN, TENCENT, number)
    tally = read_tallies(path).get(TENCENT) if path.exists() else None
    return 0 if tally is None else tally.settled


async def seen(look: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Return once `look()` is true."""
    async with asyncio.timeout(patience_s):
        while not look():  # noqa: ASYNC110 - it looks at files of another thread's making
            await asyncio.sleep(0.02)


async def test_a_shard_asks_its_own_questions_publishes_them_and_says_so(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    home = await a_backfill(tmp_path, emulators, size=8)
    record = await work(home, an_attempt(2))
    assert record == recorded(home, 2)
    assert (record.status, record.attempt, record.stop_reason, record.share_per_s) == (
        ShardStatus.DONE,
        1,
        None,
        None,
    )
    assert record.simulated
    assert (record.books.balance.asked, record.books.balance.pending, record.books.calls) == (8, 0, 8)
    assert record.books.cost == 4.0
    assert len(asked_about(emulators)) == 8
    assert [each.name for each in verdict_rows.parts(tmp_path / "home")] == ["part-20001.parquet"]
    assert run_record.load(home, RUN).status is RunStatus.PLANNED  # the run's record is the coordinator's


async def test_while_it_asks_a_shard_publishes_again_and_again_and_its_record_says_working(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    home = await a_backfill(tmp_path, emulators, qps=10)
    async with open_shard(home, an_attempt(), Granted(), OFTEN) as opened:
        assert recorded(home).status is ShardStatus.WORKING
        detecting = asyncio.create_task(opened.detect())
        await seen(lambda: len(verdict_rows.parts(tmp_path / "home")) >= 2)
        assert not detecting.done()
        await detecting
    names = [path.name for path in verdict_rows.parts(tmp_path / "home")]
    assert names == [f"part-{10001 + number}.parquet" for number in range(len(names))]
    assert len(verdict_rows.rows(tmp_path / "home")) == 20


@pytest.mark.parametrize(
    ("wanted", "said"), [(Wanted.PAUSE, "was paused by ops@a"), (Wanted.CANCEL, "was cancelled by ops@a")]
)
async def test_a_pause_or_a_cancellation_ends_the_calls_and_what_is_settled_is_published(
    tmp_path: Path, emulators: RunningEmulators, wanted: Wanted, said: str
) -> None:
    home = await a_backfill(tmp_path, emulators, qps=5)
    detecting = asyncio.create_task(work(home, an_attempt()))
    await seen(lambda: settled(home) >= 3)
    control.save(home, RUN, Control(wanted, by="ops@a"))
    with pytest.raises(Stopped, match=said):
        await detecting
    record = recorded(home)
    assert record.status is ShardStatus.INTERRUPTED
    assert said in (record.stop_reason or "")
    assert len(verdict_rows.rows(tmp_path / "home")) == settled(home) < 20

    calls = len(emulators.calls("tencent"))
    with pytest.raises(Stopped, match=said):
        await work(home, an_attempt(attempt=2))
    assert (len(emulators.calls("tencent")), recorded(home).attempt) == (calls, 2)

    control.save(home, RUN, Control(Wanted.RUN))
    assert (await work(home, an_attempt(attempt=3))).books.calls == 20


async def test_a_lost_claim_ends_the_calls_and_nothing_is_written_into_the_home_any_more(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """The journal keeps what is settled; whoever holds the claim then goes on with it."""
    home = await a_backfill(tmp_path, emulators, qps=5)
    claim = Granted()

    async def lose_it() -> None:
        async with open_shard(home, an_attempt(), claim) as opened:
            detecting = asyncio.create_task(opened.detect())
            await seen(lambda: settled(home) >= 3)
            claim.lost.set()
            await detecting

    with pytest.raises(Stopped, match="claim of shard 1 of tencent in run years is lost"):
        await lose_it()
    assert recorded(home).status is ShardStatus.WORKING
    assert verdict_rows.parts(tmp_path / "home") == []
    calls, kept = len(emulators.calls("tencent")), settled(home)
    assert 3 <= kept == calls < 20

    record = await work(home, an_attempt(attempt=2))
    assert (record.status, record.books.calls) == (ShardStatus.DONE, 20)
    assert len(asked_about(emulators)) == 20


async def test_a_claim_that_is_not_held_opens_no_shard(tmp_path: Path, emulators: RunningEmulators) -> None:
    home = await a_backfill(tmp_path, emulators)
    claim = Granted()
    claim.lost.set()
    with pytest.raises(Stopped, match="claim"):
        async with open_shard(home, an_attempt(), claim):
            pass
    assert shard_record.list_shards(home, RUN) == []


async def test_a_spent_allowance_ends_a_shard_and_a_larger_one_goes_on(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Allowances count over the shard's whole life; its questions stay its own."""
    home = await a_backfill(tmp_path, emulators)
    with pytest.raises(BudgetSpent):
        await work(home, an_attempt(calls=7))
    record = recorded(home)
    assert (record.status, record.books.calls) == (ShardStatus.OUT_OF_BUDGET, 7)
    assert (record.books.balance.pending, record.books.balance.over_budget) == (13, 0)
    with pytest.raises(BudgetSpent):
        await work(home, an_attempt(attempt=2, money=5.0))
    assert (recorded(home).books.calls, recorded(home).books.charged) == (10, 10)
    assert (await work(home, an_attempt(attempt=3, calls=20))).status is ShardStatus.DONE
    assert len(asked_about(emulators)) == 20


async def test_calls_that_a_lost_machine_may_have_made_count_against_the_allowance(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Its record is 15 s old at most: so long it may have called at the cap."""
    home = await a_backfill(tmp_path, emulators, qps=50)
    async with open_shard(home, an_attempt(), Granted()) as opened:
        pass
    lost = replace(opened.record, status=ShardStatus.WORKING, books=replace(opened.record.books, calls=30))
    shard_record.save(home, lost)
    home.shard_journal_path(RUN, TENCENT, 1).unlink()

    with pytest.raises(BudgetSpent):
        await work(home, an_attempt(attempt=2, calls=30 + 20 * 50 + 4))
    assert len(asked_about(emulators)) == 4
    assert recorded(home).books.calls == 30 + 20 * 50 + 4


async def test_what_may_be_spent_is_not_forgotten_by_an_attempt_that_could_not_even_open(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    home = await a_backfill(tmp_path, emulators, qps=50)
    async with open_shard(home, an_attempt(), Granted()) as opened:
        pass
    shard_record.save(home, replace(opened.record, status=ShardStatus.WORKING))
    journal = home.shard_journal_path(RUN, TENCENT, 1)
    journal.write_bytes(b"no journal of anybody's" * 100)

    with pytest.raises(UsageError, match="damaged"):
        await work(home, an_attempt(attempt=2))

    record = recorded(home)
    assert (record.status, record.attempt, record.books.calls) == (ShardStatus.BROKEN, 2, 20 * 50)
    assert "damaged" in (record.stop_reason or "")


async def test_a_provider_that_refuses_the_account_ends_the_shard_as_denied(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    home = await a_backfill(tmp_path, emulators)
    emulators.script("tencent", fault="code", code="UnauthorizedOperation.Arrears", times=None)
    with pytest.raises(Denied):
        await work(home, an_attempt())
    assert recorded(home).status is ShardStatus.DENIED
    assert recorded(home).books.balance.outcomes == {}


async def test_a_shard_that_is_done_or_given_to_somebody_later_is_not_worked_on(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    home = await a_backfill(tmp_path, emulators, size=10)
    await work(home, an_attempt(attempt=2))
    with pytest.raises(UsageError, match="shard 1 of tencent in run years is done"):
        await work(home, an_attempt(attempt=3))
    with pytest.raises(BudgetSpent):
        await work(home, an_attempt(2, attempt=2, calls=3))
    with pytest.raises(UsageError, match=r"given to process \d+ on .* since \(attempt 2\): attempt 1 comes"):
        await work(home, an_attempt(2, attempt=1))
    assert recorded(home, 2).status is ShardStatus.OUT_OF_BUDGET


async def test_only_a_planned_shard_of_an_unfinished_backfill_is_worked_on(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    home = await a_backfill(tmp_path, emulators)
    record = run_record.load(home, RUN)
    with pytest.raises(UsageError, match="shard 9 of tencent in run years is not in its plan"):
        await work(home, an_attempt(9))
    run_record.save(home, replace(record, kind=RunKind.AUDIT))
    with pytest.raises(UsageError, match="run years is no backfill"):
        await work(home, an_attempt())
    run_record.save(home, replace(record, status=RunStatus.ABANDONED))
    with pytest.raises(UsageError, match="run years is abandoned"):
        await work(home, an_attempt())
    run_record.save(home, record)
    with pytest.raises(UsageError, match="run years is a backfill"):
        async with open_run(home, RUN):
            pass
    assert asked_about(emulators) == []


async def test_invariant_4_bytes_that_another_shard_had_answered_are_not_asked_about_again(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Under two keys, in two shards: the second one repeats what the first one published."""
    put(tmp_path / "source", a=face(1, "swap"), b=face(1, "swap"))
    home = await a_backfill(tmp_path, emulators, size=1)
    await work(home, an_attempt(1))
    record = await work(home, an_attempt(2))
    assert asked_about(emulators) == [sha256(face(1, "swap")).hexdigest()]
    assert (record.books.balance.outcomes, record.books.calls) == ({"reused": 1}, 0)
    one, two = sorted(verdict_rows.rows(tmp_path / "home"), key=lambda row: str(row["outcome"]))
    assert (one["outcome"], two["outcome"]) == ("reused", "scored")
    assert one["reused_from"] == two["question_id"]


async def test_what_cannot_be_published_now_is_published_later_and_ends_nothing(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    home = await a_backfill(tmp_path, emulators, qps=10)
    in_the_way = tmp_path / "home" / "verdicts"
    in_the_way.write_text("no folder")
    async with open_shard(home, an_attempt(), Granted(), OFTEN) as opened:
        detecting = asyncio.create_task(opened.detect())
        await seen(lambda: (opened.progress().trouble or "").startswith("not published yet"))
        in_the_way.unlink()
        await detecting
    assert len(verdict_rows.rows(tmp_path / "home")) == 20
