"""A run begins once, is worked on by one process, and is seen for what it is when that process is gone."""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from domain.errors import HomeBusy, UsageError
from domain.runs import RunStatus
from domain.verdicts import Outcome
from flows.terminal import show_summary
from tasks.records import run_record
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.lock import RunLock, this_process
from tasks.settings import Spec
from tasks.units.books import Summary, run_documents, runs_of, summary_of
from tasks.units.draft import adopt, draft_audit
from tasks.units.lifetime import abandon_run, open_run
from tests.contract.emulated_media import image
from tests.spec.test_parts import FolderBlobs


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.jpg").write_bytes(image())
    return Spec.model_validate(
        {
            "audit": {"name": "kyc", "home": str(tmp_path / "home")},
            "source": {"url": str(tmp_path / "source")},
            "providers": {"tencent": {"qps": 5, "endpoint": "http://127.0.0.1:9"}},
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.local(tmp_path / "home")


async def begin(home: Home, spec: Spec, run_id: str | None = None) -> str:
    async with draft_audit(home, spec, run_id) as draft:
        return adopt(draft).run_id


@pytest.mark.anyio
async def test_of_two_audits_planned_at_the_same_time_one_becomes_a_run(home: Home, spec: Spec) -> None:
    """Both found no unfinished run when they began to plan; two runs would pay for each question twice."""
    async with draft_audit(home, spec) as first, draft_audit(home, spec) as second:
        adopt(first)
        with pytest.raises(UsageError, match=f"run {first.run_id} .* is unfinished"):
            adopt(second)
    assert [record.run_id for record in runs_of(home)] == [first.run_id]


@pytest.mark.anyio
async def test_no_run_begins_while_another_one_does(home: Home, spec: Spec) -> None:
    async with draft_audit(home, spec) as draft:
        with RunLock(home.beginning_lock_path, "other"), pytest.raises(HomeBusy, match="is being begun by"):
            adopt(draft)
        adopt(draft)


@pytest.mark.anyio
async def test_the_id_of_a_run_that_was_killed_before_its_record_stood_can_be_used_again(
    home: Home, spec: Spec
) -> None:
    """Its listing and its plan lie in the home; without a record it never was a run."""
    await begin(home, spec, "nightly")
    (home.root / "runs" / "nightly.json").unlink()

    assert await begin(home, spec, "nightly") == "nightly"
    assert len(home.names("listings/run=nightly")) == 1


@pytest.mark.anyio
async def test_the_plan_of_a_run_that_was_worked_on_is_never_replaced(home: Home, spec: Spec) -> None:
    """Whoever lost its record has its journal still."""
    await begin(home, spec, "nightly")
    home.journal_path("nightly").parent.mkdir(exist_ok=True)
    home.journal_path("nightly").touch()
    (home.root / "runs" / "nightly.json").unlink()

    with pytest.raises(UsageError, match=r"runs/nightly\.json is gone"):
        await begin(home, spec, "nightly")
    assert len(home.names("plans/run=nightly")) > 0


class AbandonedMeanwhile(FolderBlobs):
    """A bucket in which somebody abandons the run while its record is on the way to us."""

    def __init__(self, folder: Path, abandon: Callable[[], None]) -> None:
        super().__init__(folder)
        self._abandon = abandon
        self.looked_at = 0

    def get_file(self, key: str, path: Path) -> None:
        super().get_file(key, path)
        if "/runs/" in key:
            self.looked_at += 1
            if self.looked_at == 2:
                self._abandon()


@pytest.mark.anyio
@pytest.mark.parametrize("act", ["resume", "abandon"])
async def test_a_run_that_ended_while_we_waited_for_it_is_left_alone(
    home: Home, spec: Spec, tmp_path: Path, act: str
) -> None:
    """What its record said before we had the run for ourselves is of yesterday."""
    await begin(home, spec, "r1")
    shutil.copytree(home.root, tmp_path / "bucket" / "kyc")
    shutil.rmtree(tmp_path / "bucket" / "kyc" / ".staging")
    elsewhere = Home.in_bucket(FolderBlobs(tmp_path / "bucket"), "kyc", tmp_path / "elsewhere")

    def abandon() -> None:
        record = replace(run_record.load(elsewhere, "r1"), status=RunStatus.ABANDONED)
        run_record.save(elsewhere, record)

    ours = Home.in_bucket(AbandonedMeanwhile(tmp_path / "bucket", abandon), "kyc", tmp_path / "ours")
    if act == "abandon":
        run_record.load(ours, "r1")

    async def resume() -> None:
        async with open_run(ours, "r1"):
            pass

    with pytest.raises(UsageError, match="is abandoned"):
        await (resume() if act == "resume" else abandon_run(ours, "r1"))


@pytest.mark.anyio
async def test_a_run_whose_process_is_gone_is_said_to_be_worked_on_by_nobody(home: Home, spec: Spec) -> None:
    """`running` is the last word of a process that was killed; nobody corrected it."""
    await begin(home, spec, "r1")
    running = replace(run_record.load(home, "r1"), status=RunStatus.RUNNING)
    run_record.save(home, running)

    assert summary_of(home, "r1").worked_on_by is None
    assert [each["worked_on_by"] for each in run_documents(home, runs_of(home))] == [None]
    with RunLock(home.lock_path("r1"), "r1"):
        assert (summary_of(home, "r1").worked_on_by or "").startswith("process ")
        (document,) = run_documents(home, runs_of(home))
    assert document["worked_on_by"].startswith("process ")


@pytest.mark.anyio
async def test_a_run_of_another_machine_is_worked_on_while_its_record_is_fresh(
    home: Home, spec: Spec
) -> None:
    """From the home alone: who works on it, when that was last heard, at what pace, and how long it takes."""
    await begin(home, spec, "r1")
    record = run_record.load(home, "r1")
    (books,) = record.books
    elsewhere = replace(
        record,
        status=RunStatus.RUNNING,
        worker="process 7 on a-machine-far-away",
        updated_at=datetime.now(UTC) - timedelta(seconds=20),
        books=(replace(books, cap_per_s=5, rate_per_s=0.5),),
    )
    run_record.save(home, elsewhere)

    summary = summary_of(home, "r1")
    assert (summary.worked_on_by, summary.silent_worker) == ("process 7 on a-machine-far-away", None)
    said = shown(summary)
    assert "running, worked on by process 7 on a-machine-far-away, saved 2" in said
    assert "0.50/s of 5/s, 2 s left" in said


@pytest.mark.anyio
async def test_a_run_of_another_machine_whose_record_is_old_is_said_to_be_stale(
    home: Home, spec: Spec
) -> None:
    """The machine may be dead, or its home out of reach: whoever looks must find out before they resume."""
    await begin(home, spec, "r1")
    elsewhere = replace(
        run_record.load(home, "r1"),
        status=RunStatus.RUNNING,
        worker="process 7 on a-machine-far-away",
        updated_at=datetime.now(UTC) - timedelta(hours=3),
    )
    run_record.save(home, elsewhere)

    summary = summary_of(home, "r1")
    assert (summary.worked_on_by, summary.silent_worker) == (None, "process 7 on a-machine-far-away")
    assert "running, but stale: process 7 on a-machine-far-away saved it last, 3.0 h ago." in shown(summary)
    (document,) = run_documents(home, runs_of(home))
    assert (document["worked_on_by"], document["worker"]) == (None, "process 7 on a-machine-far-away")


@pytest.mark.anyio
async def test_an_old_journal_of_this_machine_says_nothing_of_a_run_that_went_on_elsewhere(
    home: Home, spec: Spec
) -> None:
    """Its counts were newer than the record's once; the other machine's record has overtaken them."""
    await begin(home, spec, "r1")
    async with Journal(home.journal_path("r1"), "r1"):
        pass
    record = run_record.load(home, "r1")
    (books,) = record.books
    answered = replace(books, balance=replace(books.balance, outcomes={Outcome.SCORED: 1}))
    here = replace(record, status=RunStatus.RUNNING, books=(answered,))

    run_record.save(home, replace(here, worker=this_process()))
    assert runs_of(home)[0].books[0].balance.pending == 1
    run_record.save(home, replace(here, worker="process 7 on a-machine-far-away"))
    assert runs_of(home)[0].books[0].balance.pending == 0


def shown(summary: Summary) -> str:
    """What a terminal shows of a run."""
    console = Console(record=True, width=200, file=io.StringIO())
    show_summary(console, summary)
    return console.export_text()


@pytest.mark.anyio
async def test_a_run_whose_journal_was_only_begun_can_be_looked_at(home: Home, spec: Spec) -> None:
    """A process that was killed while it made the journal keeps nobody from the run."""
    await begin(home, spec, "r1")
    home.journal_path("r1").parent.mkdir(exist_ok=True)
    home.journal_path("r1").touch()
    (record,) = runs_of(home)
    assert record.books[0].balance.pending == 1
