"""A backfill that loses its coordinator, is paused, resumed, cancelled and given up."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.backfills import OBJECTS, begin, calls, spec, states
from tests.flows.faces import emulated, folder_of_many_faces
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until
from tests.flows.workers import Pool, pool

pytestmark = pytest.mark.long

PATIENCE_S = 240


def story_of(prefect_url: str) -> Any:
    def story(folder: Path) -> dict[str, Any]:
        folder_of_many_faces(folder / "source", OBJECTS)
        with emulated(latency_ms=50) as emulators:
            facesweep = Facesweep(folder, prefect_url)
            with pool("stops", facesweep.environment, folder) as workers:
                refused = {
                    "without_server": without_server(facesweep, emulators),
                    "without_deployment": facesweep.run(
                        "backfill", spec(facesweep, emulators, "none"), "--yes", "--deployment", "shard/none"
                    ).as_json(),
                }
                killed = killed_and_resumed(facesweep, emulators, workers)
                cancelled = cancelled_and_given_up(facesweep, emulators, workers)
        return {"refused": refused, "killed": killed, "cancelled": cancelled}

    return story


def without_server(facesweep: Facesweep, emulators: RunningEmulators) -> dict[str, Any]:
    url = facesweep.environment.pop("PREFECT_API_URL")
    try:
        return facesweep.run("backfill", spec(facesweep, emulators, "none"), "--yes").as_json()
    finally:
        facesweep.environment["PREFECT_API_URL"] = url


def killed_and_resumed(facesweep: Facesweep, emulators: RunningEmulators, workers: Pool) -> dict[str, Any]:
    """Nobody is there to work; then two are, the coordinator is killed, somebody pauses, and resumes."""
    home = facesweep.folder / "killed"
    with begin(facesweep, emulators, workers, "killed") as coordinator:
        until(lambda: coordinator.err, lambda said: "no worker" in said, PATIENCE_S)
        said_without_workers = coordinator.err
        workers.start(2)
        until(lambda: calls(emulators), lambda seen: seen >= 20, PATIENCE_S)
        coordinator.signal(signal.SIGKILL)
        at_kill = calls(emulators)
        until(lambda: calls(emulators), lambda seen: seen >= at_kill + 10, PATIENCE_S)
    paused = facesweep.run("pause", home, timeout_s=150)
    at_pause = {"calls": calls(emulators), "rows": len(verdict_rows.rows(home)), "states": states(home)}
    resumed = facesweep.run("resume", home, timeout_s=300)
    media = [each["media_sha256"] for each in emulators.calls("tencent")]
    return {
        "said_without_workers": said_without_workers,
        "at_kill": at_kill,
        "paused": paused.as_json(),
        "at_pause": at_pause,
        "resumed": resumed.as_json(),
        "asked_twice": sum(count - 1 for count in Counter(media).values()),
        "rows": len(verdict_rows.rows(home)),
        "states": states(home),
        "record": verdict_rows.records(home)[0],
        "keys": [each["idempotency_key"] for each in workers.runs()],
    }


def cancelled_and_given_up(
    facesweep: Facesweep, emulators: RunningEmulators, workers: Pool
) -> dict[str, Any]:
    """Somebody cancels the coordinator's flow run in Prefect's UI; then the run is given up."""
    home, before = facesweep.folder / "cancelled", calls(emulators)
    with begin(facesweep, emulators, workers, "cancelled") as coordinator:
        until(lambda: calls(emulators), lambda seen: seen >= before + 10, PATIENCE_S)
        cancel(facesweep.environment["PREFECT_API_URL"])
        ended = coordinator.ended(150)
    stopped = {"states": states(home), "record": verdict_rows.records(home)[0]}
    given_up = facesweep.run("abandon", home, "--run-id", "cancelled", timeout_s=150)
    return {
        "ended": ended.as_json(),
        "stopped": stopped,
        "given_up": given_up.as_json(),
        "record": verdict_rows.records(home)[0],
        "rows": len(verdict_rows.rows(home)),
        "again": facesweep.run("pause", home).as_json(),
        "elsewhere": facesweep.run(
            "backfill",
            spec(facesweep, emulators, "elsewhere"),
            "--yes",
            "--run-id",
            "cancelled",
            "--deployment",
            workers.deployment,
        ).as_json(),
    }


def cancel(url: str) -> None:
    """As a button of Prefect's UI does."""
    running = {
        "flows": {"name": {"any_": ["backfill"]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
    }
    found = httpx.post(f"{url}/flow_runs/filter", json=running, timeout=30).json()
    newest = max(found, key=lambda each: str(each["start_time"]))
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    httpx.post(f"{url}/flow_runs/{newest['id']}/set_state", json=state, timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def stops(shared: Path, prefect_url: str) -> Telling:
    return told_once(shared, "stops", story_of(prefect_url))


def test_a_backfill_says_in_one_sentence_what_it_lacks(stops: Telling):
    for lack, word in {"without_server": "PREFECT_API_URL", "without_deployment": "facesweep deploy"}.items():
        assert stops["refused"][lack]["status"] == 2
        assert word in stops["refused"][lack]["err"].splitlines()[-1]


def test_a_backfill_without_workers_says_so(stops: Telling):
    assert "no worker of pool stops is online" in stops["killed"]["said_without_workers"]


def test_shards_go_on_while_their_coordinator_is_dead_and_a_pause_stops_them_all(stops: Telling):
    killed = stops["killed"]

    assert killed["paused"]["status"] == 0, killed["paused"]["err"]
    assert "working" not in killed["at_pause"]["states"]
    assert killed["at_kill"] < killed["at_pause"]["calls"] < OBJECTS


def test_a_pause_loses_nothing_and_asks_nothing_twice(stops: Telling):
    killed = stops["killed"]

    assert killed["at_pause"]["rows"] == killed["at_pause"]["calls"]
    assert killed["asked_twice"] == 0


def test_a_resumed_backfill_ends_done_and_submits_no_attempt_twice(stops: Telling):
    killed = stops["killed"]
    books = verdict_rows.books(killed["record"])

    assert killed["resumed"]["status"] == 0, killed["resumed"]["err"]
    assert set(killed["states"]) == {"done"}
    assert (killed["record"]["status"], books["outcomes"], books["pending"]) == (
        "done",
        {"scored": OBJECTS},
        0,
    )
    assert killed["rows"] == OBJECTS
    assert len(killed["keys"]) == len(set(killed["keys"]))


def test_whoever_cancels_the_flow_run_stops_the_shards(stops: Telling):
    cancelled = stops["cancelled"]

    assert cancelled["ended"]["status"] == 130, cancelled["ended"]["err"]
    assert "cancelled its flow run" in cancelled["ended"]["err"]
    assert "working" not in cancelled["stopped"]["states"]
    assert cancelled["stopped"]["record"]["status"] == "interrupted"


def test_a_backfill_that_is_given_up_keeps_what_it_settled(stops: Telling):
    cancelled = stops["cancelled"]
    books = verdict_rows.books(cancelled["record"])

    assert cancelled["given_up"]["status"] == 0, cancelled["given_up"]["err"]
    assert cancelled["record"]["status"] == "abandoned"
    assert books["outcomes"]["scored"] == cancelled["rows"] > 0
    assert books["balanced"]
    assert cancelled["again"]["status"] == 2


def test_an_id_that_another_home_s_backfill_has_is_refused(stops: Telling):
    elsewhere = stops["cancelled"]["elsewhere"]

    assert elsewhere["status"] == 2
    assert "choose another --run-id" in elsewhere["err"]
