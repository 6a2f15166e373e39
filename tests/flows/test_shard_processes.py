"""Shards of one run in processes of their own: side by side, killed, and taken over here and elsewhere."""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.runs import ShardStatus
from domain.verdicts import Provider
from tasks.records import shard_record
from tasks.records.home import Home
from tasks.records.queries import read_answers
from tasks.records.shard_record import ShardRecord
from tasks.units.opening import open_audit
from tests.contract.emulator_process import RunningEmulators
from tests.contract.store_servers import Moto, running_moto
from tests.flows import verdict_rows
from tests.flows.faces import folder_of_faces
from tests.flows.facesweep_process import Facesweep
from tests.flows.in_process import asked_about, write_spec
from tests.flows.patience import until
from tests.flows.shard_process import Task, ended, plan_backfill, work, working

pytestmark = pytest.mark.anyio

FACES, SHARD = 60, 30
RUN = "years"
TENCENT = Provider.TENCENT


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as running:
        yield running


async def a_backfill(
    tmp_path: Path, emulators: RunningEmulators, qps: int = 50, **audit: Any
) -> tuple[Path, dict[str, str]]:
    """Planned, two shards of it, and the environment of a worker."""
    folder_of_faces(tmp_path / "source", FACES)
    spec = write_spec(
        tmp_path / "kyc.toml",
        audit={"name": "kyc", "home": "home", **audit},
        source={"url": "source"},
        tencent={"qps": qps, "endpoint": emulators.tencent_url, "price_per_call": 0.5},
    )
    record = await plan_backfill(spec, RUN, SHARD)
    assert [each.balance.asked for each in record.books] == [FACES]
    return spec, Facesweep(tmp_path / "worker").environment


def recorded(home: Home, number: int) -> ShardRecord:
    found = shard_record.load(home, RUN, TENCENT, number)
    assert found is not None
    return found


def settled_in(home: Home, number: int) -> dict[str, str | None]:
    """Answers that the shard's journal on this machine holds, with the provider's id of each."""
    path = home.shard_journal_path(RUN, TENCENT, number)
    if not path.exists():
        return {}
    return {each.question_id: each.request_id for rows in read_answers(path) for each in rows}


def published(home: Path) -> dict[str, str | None]:
    """The same of what readers see; each question once."""
    rows = verdict_rows.rows(home, RUN)
    found = {row["question_id"]: row["request_id"] for row in rows}
    assert len(found) == len(rows)
    return found


async def test_two_processes_work_on_two_shards_of_one_run_and_the_books_add_up(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    spec, environment = await a_backfill(tmp_path, emulators)
    home = str(tmp_path / "home")
    with (
        working(environment, Task(home, RUN, 1)) as first,
        working(environment, Task(home, RUN, 2)) as second,
    ):
        ends = [ended(first), ended(second)]

    assert [end["status"] for end in ends] == ["done", "done"]
    assert [end["books"]["outcomes"] for end in ends] == [{"scored": SHARD}] * 2
    assert set(Counter(asked_about(emulators)).values()) == {1}
    assert len(published(tmp_path / "home")) == FACES
    names = [path.name for path in verdict_rows.parts(tmp_path / "home")]
    assert {"part-10001.parquet", "part-20001.parquet"} <= set(names)
    assert {each.worker for each in shard_record.list_shards(open_audit(spec).home, RUN)} == {
        f"process {process.pid} on {ends[0]['worker'].rpartition(' ')[2]}" for process in (first, second)
    }


async def test_kill_9_of_a_worker_loses_nothing_settled_and_another_process_here_goes_on(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """At most the calls that were in flight are made twice; and while one works nobody else can."""
    spec, environment = await a_backfill(tmp_path, emulators, qps=10)
    emulators.settings("tencent", latency_ms=300)
    home = open_audit(spec).home
    task = Task(str(tmp_path / "home"), RUN, 1)
    with working(environment, task) as victim:
        until(lambda: len(settled_in(home, 1)), lambda count: count >= 8)
        victim.send_signal(signal.SIGSTOP)  # however long the other one takes to start
        second = work(environment, Task(str(tmp_path / "home"), RUN, 1, attempt=2))
        assert "HomeBusy: shard 1 of tencent in run years is being worked on by process" in second["refused"]
        victim.kill()
        victim.wait()
    settled = settled_in(home, 1)
    in_flight = int(emulators.summary("tencent")["total"]) - len(settled)
    assert len(settled) < SHARD
    assert recorded(home, 1).status is ShardStatus.WORKING

    end = work(environment, Task(str(tmp_path / "home"), RUN, 1, attempt=2))

    assert (end["status"], end["attempt"]) == ("done", 2)
    rows = published(tmp_path / "home")
    assert len(rows) == SHARD
    assert settled.items() <= rows.items()
    asked = Counter(asked_about(emulators))
    assert sum(count - 1 for count in asked.values()) <= in_flight
    assert end["books"]["calls"] >= SHARD


async def test_a_lost_machine_takes_no_more_with_it_than_the_last_stretch_between_two_publications(
    tmp_path: Path, emulators: RunningEmulators, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one without its journal asks nothing again that was published, and counts what may be spent."""
    client = moto.client()
    client.create_bucket(Bucket="audits")
    place = {"home": "s3://audits/kyc", "home_endpoint_url": moto.url}
    monkeypatch.setenv("FACESWEEP_STATE", str(tmp_path / "planner"))
    spec, environment = await a_backfill(tmp_path, emulators, qps=10, **place)
    emulators.settings("tencent", latency_ms=200)
    home = open_audit(spec).home
    task = Task("s3://audits/kyc", RUN, 1, home_endpoint_url=moto.url, publish_every_s=1.0)
    folder = f"verdicts/provider=tencent/run={RUN}"
    with working(environment, task) as victim:
        until(lambda: home.names(folder), lambda names: len(names) >= 1)
        victim.kill()
        victim.wait()
    home.refresh("verdicts")
    before = published(home.root)
    made = len(emulators.calls("tencent"))
    assert 0 < len(before) < SHARD

    elsewhere = Facesweep(tmp_path / "elsewhere").environment
    end = work(elsewhere, Task("s3://audits/kyc", RUN, 1, attempt=2, home_endpoint_url=moto.url))

    home.refresh("verdicts")
    rows = published(home.root)
    assert end["status"] == "done"
    assert len(rows) == SHARD
    assert before.items() <= rows.items()
    asked = Counter(asked_about(emulators))
    assert sum(count - 1 for count in asked.values()) <= made - len(before)
    assert end["books"]["calls"] >= sum(asked.values())  # calls nobody's record tells of count as spent
