"""A backfill over three workers at a real Prefect server, one of which is killed -9 with all it started."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import emulated, folder_of_many_faces
from tests.flows.facesweep_process import Facesweep
from tests.flows.lateness import measured, most_within_a_second
from tests.flows.once import Telling, told_once
from tests.flows.patience import until
from tests.flows.workers import Pool, Worker, pool

OBJECTS = 620
QPS = 20
SHARDS = 7  # of a hundred, and the rest
ENOUGH = 100  # calls the provider has seen when the worker is killed
PATIENCE_S = 240
ON_THE_WAY_S = 3.0  # a call that left so shortly before the kill may not have been acknowledged


def story_of(prefect_url: str) -> Any:
    def story(folder: Path) -> dict[str, Any]:
        folder_of_many_faces(folder / "source", OBJECTS)
        with emulated(latency_ms=100) as emulators, measured() as lateness:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                source={"url": "source"}, tencent={"qps": QPS, "endpoint": emulators.tencent_url}
            )
            with pool("deaths", facesweep.environment, folder) as workers:
                workers.start(3)
                arguments = ("--run-id", "r1", "--shard-minutes", "0.01", "--deployment", workers.deployment)
                with facesweep.start("backfill", spec, "--yes", *arguments) as running:
                    until(lambda: total(emulators), lambda calls: calls >= ENOUGH, PATIENCE_S)
                    victim, number = somebody_at_work(workers, folder / "home")
                    victim.kill()
                    killed_at = time.time()
                    ended = running.ended(300)
                return {
                    "ended": ended.as_json(),
                    "number": number,
                    "killed_at": killed_at,
                    "calls": [
                        (each["media_sha256"], each["arrived_at"]) for each in emulators.calls("tencent")
                    ],
                    "most": most_within_a_second(
                        [each["arrived_at"] for each in emulators.calls("tencent")], lateness.samples
                    ),
                    "runs": sorted((each["name"], each["state_name"]) for each in workers.runs()),
                    "record": verdict_rows.records(folder / "home")[0],
                    "questions": [row["question_id"] for row in verdict_rows.rows(folder / "home")],
                    "shards": shard_records(folder / "home"),
                }

    return story


def total(emulators: RunningEmulators) -> int:
    return int(emulators.summary("tencent")["total"])


def shard_records(home: Path, run_id: str = "r1") -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(home.glob(f"runs/{run_id}/shards/*.json"))]


def somebody_at_work(workers: Pool, home: Path) -> tuple[Worker, int]:
    """A worker with a shard that has settled something, and that shard's number."""

    def look() -> tuple[Worker, int] | None:
        for record in shard_records(home):
            process_id = int(record["worker"].split()[1])
            for worker in workers.workers:
                if record["status"] == "working" and process_id in worker.descendants():
                    return worker, int(record["number"])
        return None

    found = until(look, lambda seen: seen is not None)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def deaths(shared: Path, prefect_url: str) -> Telling:
    return told_once(shared, "deaths", story_of(prefect_url))


def test_a_backfill_ends_done_and_balanced_although_a_worker_was_killed(deaths: Telling):
    books = verdict_rows.books(deaths["record"])

    assert deaths["ended"]["status"] == 0, deaths["ended"]["err"]
    assert (deaths["record"]["status"], deaths["record"]["kind"]) == ("done", "backfill")
    assert books["listed"] == books["asked"] == books["outcomes"]["scored"] == OBJECTS
    assert books["balanced"]
    assert books["pending"] == 0


def test_every_question_has_exactly_one_row(deaths: Telling):
    assert len(deaths["questions"]) == len(set(deaths["questions"])) == OBJECTS


def test_nothing_that_was_settled_is_asked_again_but_what_was_on_the_way_at_the_kill(deaths: Telling):
    first: dict[str, float] = {}
    again = []
    for media, arrived_at in deaths["calls"]:
        if media in first:
            again.append(first[media])
        first.setdefault(media, arrived_at)

    assert all(deaths["killed_at"] - arrived_at < ON_THE_WAY_S for arrived_at in again)
    assert len(first) == OBJECTS


def test_each_shard_is_finished_once_and_the_dead_worker_s_by_another(deaths: Telling):
    attempts = {each["number"]: each["attempt"] for each in deaths["shards"]}
    states = Counter(state for _, state in deaths["runs"])

    assert all(each["status"] == "done" for each in deaths["shards"])
    assert attempts == {number: 2 if number == deaths["number"] else 1 for number in range(1, SHARDS + 1)}
    assert states == {"Completed": SHARDS, "Crashed": 1}


def test_no_second_by_the_provider_s_clock_holds_more_calls_than_the_cap(deaths: Telling):
    assert deaths["most"] <= QPS
