"""Where a backfill stands, as any machine sees it that sees the home, and whoever coordinates it or not."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from domain.runs import Balance, RunStatus, ShardStatus, Wanted
from domain.verdicts import Billed, Outcome, Provider
from flows.terminal import runs_table, show_runs
from tasks.records import control, run_record, shard_record
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.records.run_record import ProviderBooks
from tasks.units.books import run_documents, run_of, runs_of, summarised, summary_of
from tasks.units.opening import open_audit
from tests.flows.faces import folder_of_faces
from tests.flows.in_process import write_spec
from tests.flows.shard_process import plan_backfill
from tests.spec.test_shard_records import a_shard

pytestmark = pytest.mark.anyio

RUN = "years"
TENCENT = Provider.TENCENT


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """A backfill of 12 questions in 3 shards, nobody at work."""
    folder_of_faces(tmp_path / "source", 12)
    tables: dict[str, Any] = {"tencent": {"qps": 5, "price_per_call": 0.5}}
    spec = write_spec(tmp_path / "kyc.toml", source={"url": "source"}, **tables)
    await plan_backfill(spec, RUN, 4)
    return open_audit(spec).home


def put(home: Home, number: int, status: ShardStatus, scored: int, **changes: Any) -> None:
    """A shard whose record says so, written just now."""
    now = datetime.now(UTC)
    books = ProviderBooks(
        Balance(TENCENT, 4, {}, 4, {Outcome.SCORED: scored}),
        calls=scored + 1,
        charged=scored,
        throttled=1,
        billed={Billed.YES: scored},
        cost=scored * 0.5,
        cap_per_s=5,
        rate_per_s=0.5 if status is ShardStatus.WORKING else 0.0,
    )
    record = a_shard(number, run_id=RUN, status=status, books=books, updated_at=now, started_at=now)
    shard_record.save(home, replace(record, **changes))


async def test_the_books_of_a_backfill_are_the_sums_of_its_shards_whatever_its_own_record_says(
    home: Home,
) -> None:
    """The coordinator died before it could save anything; two shards went on."""
    put(home, 1, ShardStatus.DONE, 4)
    put(home, 2, ShardStatus.WORKING, 1)
    (saved,) = run_record.load(home, RUN).books
    assert (saved.calls, saved.balance.pending) == (0, 12)

    (record,) = runs_of(home)

    (books,) = record.books
    assert (books.balance.outcomes, books.balance.pending, books.balance.is_balanced) == (
        {Outcome.SCORED: 5},
        7,
        True,
    )
    assert (books.calls, books.charged, books.throttled, books.cost) == (7, 5, 2, 2.5)
    assert (books.cap_per_s, books.rate_per_s) == (5, 0.5)
    assert record.simulated


async def test_status_shows_who_works_at_which_rate_who_is_gone_and_what_is_left(home: Home) -> None:
    gone = datetime.now(UTC) - timedelta(minutes=3)
    put(home, 1, ShardStatus.WORKING, 2, share_per_s=3)
    put(home, 2, ShardStatus.WORKING, 1, worker="process 9 on audit-2", updated_at=gone)
    (document,) = run_documents(home, runs_of(home))
    standing = json.loads(json.dumps(document["backfill"], default=str))
    assert (standing["planned"], standing["unbegun"], standing["stale"]) == (3, 1, 1)
    assert standing["shards"] == {"working": 2}
    assert standing["eta_s"] == {"tencent": 18.0}  # 9 questions at 0.5/s: the dead one's rate does not count
    one, two = standing["workers"]
    assert (one["worker"], one["share_per_s"], one["rate_per_s"], one["is_stale"]) == (
        "process 4711 on audit-1",
        3,
        0.5,
        False,
    )
    assert (one["settled"], one["asked"], one["number"], one["attempt"]) == (2, 4, 1, 2)
    assert (two["worker"], two["is_stale"]) == ("process 9 on audit-2", True)


async def test_people_read_the_same_in_a_few_lines(home: Home) -> None:
    put(home, 1, ShardStatus.DONE, 4)
    put(home, 2, ShardStatus.WORKING, 1)
    control.save(home, RUN, Control(Wanted.PAUSE, by="ops@audit-1"))
    printed = StringIO()
    console = Console(file=printed, width=120)
    show_runs(console, [summarised(home, each) for each in runs_of(home)])
    console.print(runs_table(runs_of(home)))
    text = printed.getvalue()
    assert "wanted: pause by ops@audit-1" in text
    assert "3 shards: 1 done, 1 working, 1 not begun" in text
    assert "process 4711 on audit-1  tencent 2  1 of 4   0.50/s  2/s" in text
    assert "tencent: 14 s left at the present rate" in text
    assert "tencent: 12 asked = 5 scored + 7 pending" in text


async def test_where_nobody_works_no_time_is_promised(home: Home) -> None:
    standing = summary_of(home).backfill
    assert standing is not None
    assert (standing.unbegun, standing.eta_s, standing.is_coordinated) == (3, {"tencent": None}, False)


async def test_a_coordinator_that_is_not_heard_of_is_said_to_be_gone(home: Home) -> None:
    now = datetime.now(UTC)
    for saved_at, is_coordinated in ((now, True), (now - timedelta(minutes=3), False)):
        record = replace(run_record.load(home, RUN), status=RunStatus.RUNNING, updated_at=saved_at)
        run_record.save(home, record)
        summary = summary_of(home)
        assert summary.backfill is not None
        assert summary.backfill.is_coordinated is is_coordinated
        printed = StringIO()
        show_runs(Console(file=printed, width=200), [summary])
        assert ("its coordinator was last heard of at" in printed.getvalue()) is not is_coordinated


async def test_the_books_of_a_backfill_that_is_over_are_its_records(home: Home) -> None:
    put(home, 1, ShardStatus.DONE, 4)
    record = replace(run_record.load(home, RUN), status=RunStatus.ABANDONED)
    run_record.save(home, record)
    assert run_of(home, RUN) == record
    assert summary_of(home).backfill is None
