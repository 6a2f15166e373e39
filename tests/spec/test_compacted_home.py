"""A compacted home in daily use: plans, retries, reports and queries say what they said before."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from domain.errors import Stopped
from domain.objects import ObjectRef
from domain.questions import question_id
from domain.runs import RunStatus
from domain.verdicts import Outcome, Provider
from flows.cli import _parser, run
from tasks.buckets.bucket import parse_location
from tasks.buckets.local import LocalBucket
from tasks.records import run_record
from tasks.records.home import Home
from tasks.records.parts_in_force import parts_in_force
from tasks.records.run_record import clean_spec
from tasks.records.schema import VERDICTS
from tasks.units.books import findings_of, select_verdicts
from tasks.units.compacting import compact_home, look_at_compaction
from tasks.units.draft import Draft, draft_audit, draft_retry
from tasks.units.opening import Audit, open_audit
from tests.spec.compacted_homes import ADDED, SIGNALS, a_bucket_home, put_part, row
from tests.spec.test_books import a_record

SPEC = """
[audit]
name = "kyc"
home = "home"

[source]
url = "faces"

[providers.tencent]
"""


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Thirty faces: of r1 ten are answered and five failed, r2 answered one of these; r2 is not over."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for number in range(30):
        (faces / f"{number:02}.jpg").write_bytes(b"\xff\xd8 face")
    (tmp_path / "kyc.toml").write_text(SPEC)
    found = open_audit(tmp_path / "kyc.toml")
    refs = [ref for batch in LocalBucket(parse_location(str(faces))).list_batches() for ref in batch]
    put_part(found.home, [answered("r1", number, refs[number]) for number in range(7)], 1)
    put_part(found.home, [answered("r1", number, refs[number]) for number in range(7, 10)], 2)
    failed = {"outcome": Outcome.FAILED, "risk": None, "risk_raw": None, "tags": (), "reason": "timeout"}
    put_part(found.home, [answered("r1", number, refs[number], **failed) for number in range(10, 15)], 3)
    put_part(found.home, [answered("r2", 10, refs[10], risk="low")], 1)
    for run_id, status in (("r1", RunStatus.DONE), ("r2", RunStatus.ABANDONED)):
        spec, spec_sha256 = clean_spec(found.spec.as_json())
        record = a_record(run_id, status=status, spec=spec, spec_sha256=spec_sha256, books=())
        run_record.save(found.home, record)
    return found


def answered(run_id: str, number: int, ref: ObjectRef, **changes: Any) -> Any:
    facts = {
        name: getattr(ref, name)
        for name in ("url", "store", "bucket", "key", "version_id", "etag", "size_bytes", "last_modified")
    }
    asked = question_id(ref.url, ref.version, Provider.TENCENT)
    return row(run_id, number, **{**facts, "question_id": asked, "outcome": Outcome.SCORED, **changes})


def planned(draft: Draft) -> tuple[Any, dict[str, Any]]:
    """What a draft says and holds."""
    files = {
        path.relative_to(draft.folder).as_posix(): pq.ParquetFile(path).read().to_pylist()
        for path in (draft.folder / "plan").rglob("*.parquet")
    }
    return draft.totals.to_json(), files


def everything_said(audit: Audit) -> dict[str, Any]:
    async def plans() -> list[Any]:
        async with draft_audit(audit.home, audit.spec, "r3") as first:
            one = planned(first)
        async with draft_retry(audit.home, "r1", [Outcome.FAILED]) as second:
            return [one, planned(second)]

    said: dict[str, Any] = dict(zip(("plan", "retry"), asyncio.run(plans()), strict=True))
    for run_id in ("r1", "r2"):
        said[f"findings of {run_id}"] = findings_of(audit.home, run_id)
        sql = "SELECT url, outcome, risk, raw FROM verdicts ORDER BY ALL"
        with select_verdicts(audit.home, sql, run_id) as rows:
            said[f"verdicts of {run_id}"] = rows.read_all().to_pylist()
    return said


def test_a_plan_a_retry_and_a_report_are_the_same_after_compaction(audit: Audit) -> None:
    before = everything_said(audit)
    assert before["plan"][0]["providers"]["tencent"]["skipped"] == {"already_answered": 11}
    assert before["retry"][0]["providers"]["tencent"]["asked"] == 4
    assert len(before["verdicts of r1"]) == 15

    done = compact_home(audit.home)

    assert (done.before["tencent"].files, done.after["tencent"].files) == (4, 1)
    assert everything_said(audit) == before


def test_a_bucket_s_mirror_on_another_machine_follows(tmp_path: Path) -> None:
    """What it had fetched is given up for what lies in the bucket now."""
    one, two = a_bucket_home(tmp_path, "one"), a_bucket_home(tmp_path, "two")
    for number in range(5):
        put_part(one, [row("r1", number)], number + 1)
    run_record.save(one, a_record("r1", status=RunStatus.DONE))
    sql = "SELECT count(*) AS n, count(DISTINCT question_id) AS q FROM verdicts"
    for compacted in (False, True):
        if compacted:
            compact_home(one)
        with select_verdicts(two, sql, "r1") as rows:
            assert rows.read_all().to_pylist() == [{"n": 5, "q": 5}]
    (merged,) = two.paths("verdicts/**/*.parquet")
    assert "_compacted-" in str(merged)


def test_a_query_under_way_is_answered_in_full_though_its_parts_are_swapped(audit: Audit) -> None:
    with select_verdicts(audit.home, "SELECT url FROM verdicts") as rows:
        compact_home(audit.home)
        assert rows.read_all().num_rows == 16


def test_a_look_ahead_says_what_a_compaction_does(audit: Audit) -> None:
    looked = look_at_compaction(audit.home)
    done = compact_home(audit.home)
    assert looked.before == done.before
    assert {name: each.row_count for name, each in looked.after.items()} == {"tencent": 16}


# --- the command


@pytest.fixture
def facesweep(audit: Audit, capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(_parser().parse_args([arguments[0], str(audit.home.root), *arguments[1:]]))
        return status, *capfd.readouterr()

    return call


def test_the_command_says_what_became_of_how_much(audit: Audit, facesweep: Any) -> None:
    run_record.save(audit.home, a_record("r2", status=RunStatus.INTERRUPTED))
    _, looked, _ = facesweep("compact", "--dry-run")
    status, out, _ = facesweep("compact")
    assert status == 0
    assert [line.split() for line in looked.splitlines()][1][:3] == ["tencent", "4", "16"]
    assert "would become" in looked
    assert [line.split() for line in out.splitlines()][1][:3] == ["tencent", "4", "16"]
    assert "become  2 " in out
    said = "left alone, 1 files of runs that are not over or have no record: r2"
    assert said in looked
    assert said in out


def test_a_part_without_rows_is_no_trouble_to_tell(audit: Audit, facesweep: Any) -> None:
    """The only one of its provider: afterwards there is none."""
    with audit.home.staging() as folder:
        pq.write_table(VERDICTS.empty_table(), folder / "part")
        audit.home.adopt(folder / "part", "verdicts/provider=aliyun/run=r1/part-00001.parquet")
    status, out, _ = facesweep("compact")
    assert status == 0
    assert "become  0 " in out


def test_ctrl_c_stops_a_compaction_before_it_replaces_anything(audit: Audit) -> None:
    """What Ctrl-C does to a command: its task is cancelled."""
    files = parts_in_force(audit.home)
    options = _parser().parse_args(["compact", str(audit.home.root)])

    async def story() -> None:
        task = asyncio.create_task(options.command(options))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(Stopped, match="nothing is lost"):
        asyncio.run(story())
    assert parts_in_force(audit.home) == files


def test_status_and_report_tell_a_compacted_run_as_before(facesweep: Any) -> None:
    def told() -> list[tuple[int, str, str]]:
        return [facesweep("status"), facesweep("report", "--run-id", "r1"), facesweep("report")]

    before = told()
    assert "timeout" in before[1][1]
    assert facesweep("compact")[0] == 0
    assert told() == before


def test_verdicts_of_a_compacted_run_are_its_own_and_an_unknown_run_is_named(facesweep: Any) -> None:
    facesweep("compact")
    sql = "SELECT DISTINCT run_id FROM verdicts"
    _, out, _ = facesweep("verdicts", "--run-id", "r2", "--format", "json", "--sql", sql)
    assert json.loads(out) == {"run_id": "r2"}
    status, _, err = facesweep("verdicts", "--run-id", "r9", "--sql", sql)
    assert status == 2
    assert "has no run r9; its newest are: r1, r2" in err


def test_a_home_that_may_not_be_written_is_one_sentence(audit: Audit, facesweep: Any) -> None:
    (audit.home.root / ".journal").write_text("")
    status, _, err = facesweep("compact")
    assert status == 2
    lock = audit.home.root / ".journal" / "_compaction.lock"
    assert err.splitlines()[-1] == f"facesweep: the lock {lock} cannot be opened: File exists"


def test_what_is_no_home_is_named_and_not_made_one(tmp_path: Path, capfd: Any) -> None:
    for more in ([], ["--dry-run"]):
        assert run(_parser().parse_args(["compact", str(tmp_path / "typo"), *more])) == 2
        assert "typo holds no runs: is it an audit's home?" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_parts_of_all_schema_versions_are_queried_together(tmp_path: Path) -> None:
    """Before they are compacted too."""
    home = Home.local(tmp_path)
    put_part(home, [row("r1", 1)], 1, without=ADDED)
    put_part(home, [row("r2", 2)], 1, without=SIGNALS)
    put_part(home, [row("r3", 3)], 1)
    sql = "SELECT asked_because, aigc_label FROM verdicts ORDER BY run_id"
    with select_verdicts(home, sql) as rows:
        assert rows.read_all().to_pylist() == [
            {"asked_because": None, "aigc_label": None},
            {"asked_because": "all", "aigc_label": None},
            {"asked_because": "all", "aigc_label": "generated"},
        ]
