"""A run that is stopped halfway, by a kill, by Ctrl-C or by SIGTERM: `resume` goes on where it stood."""

import signal
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import emulated, folder_of_faces
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until
from tests.flows.reader import Reader

OBJECTS = 50
AT_THE_GATE = 3  # calls announced and ready to leave, at a cap of 20/s (tasks/pacing/lane.py)
QPS = 20
ENOUGH = 15  # calls the provider has seen when the run is stopped

POLITE = ["ctrl_c", "sigterm"]


def story_of(number: int, prefect_url: str | None, to_group: bool) -> Any:
    """Stop an audit by this signal while it asks, note what was there, resume it."""

    def story(folder: Path) -> dict[str, Any]:
        folder_of_faces(folder / "source", OBJECTS)
        with emulated(latency_ms=300) as emulators, Reader(folder / "home") as reader:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                source={"url": "source"},
                tencent={"qps": QPS, "endpoint": emulators.tencent_url, "price_per_call": 0.5},
            )
            with facesweep.start("audit", spec, "--yes") as running:
                until(lambda: asked(emulators), lambda calls: len(calls) >= ENOUGH, patience_s=150)
                if to_group:
                    running.signal(number)
                else:
                    running.process.send_signal(number)
                stopped = running.ended(40)
            before = asked(emulators)
            facts = {
                "stopped": stopped.as_json(),
                "before": before,
                "delivered": [
                    each["media_sha256"] for each in emulators.calls("tencent") if each["delivered"]
                ],
                "acknowledged": acknowledged(folder / "home"),
                "record": verdict_rows.records(folder / "home")[0],
                "published": [row["question_id"] for row in verdict_rows.rows(folder / "home")],
            }
            facts["status"] = facesweep.run("status", folder / "home").as_json()
            facts["resumed"] = facesweep.run("resume", folder / "home").as_json()
            facts["after"] = asked(emulators)
        return facts | {"damaged": reader.damaged, "opened": reader.opened}

    return story


def asked(emulators: RunningEmulators) -> list[str]:
    """The media of every call so far."""
    return [each["media_sha256"] for each in emulators.calls("tencent")]


def acknowledged(home: Path) -> list[str]:
    """Questions with an answer in the journal."""
    (journal,) = (home / ".journal").glob("*.sqlite")
    sql = sqlite3.connect(journal)
    try:
        return [question.hex() for (question,) in sql.execute("SELECT question FROM answers")]
    finally:
        sql.close()


@pytest.fixture(scope="session")
def killed(shared: Path, prefect_url: str) -> Telling:
    return told_once(shared, "killed", story_of(signal.SIGKILL, prefect_url, to_group=True))


@pytest.fixture(scope="session")
def ctrl_c(shared: Path) -> Telling:
    """As a terminal sends it: to every process of the group, Prefect's short-lived server included."""
    return told_once(shared, "ctrl_c", story_of(signal.SIGINT, None, to_group=True))


@pytest.fixture(scope="session")
def sigterm(shared: Path, prefect_url: str) -> Telling:
    """As a supervisor sends it: to the command alone."""
    return told_once(shared, "sigterm", story_of(signal.SIGTERM, prefect_url, to_group=False))


def told(name: str, request: pytest.FixtureRequest) -> Telling:
    found: Telling = request.getfixturevalue(name)
    return found


# --- kill -9 ---


def test_invariant_3_after_a_kill_every_acknowledged_answer_is_in_the_verdicts(killed: Telling) -> None:
    rows = {row["question_id"]: row for row in verdict_rows.rows(killed.home)}
    assert len(killed["acknowledged"]) > 0
    assert [rows[each]["outcome"] for each in killed["acknowledged"]] == ["scored"] * len(
        killed["acknowledged"]
    )


def test_invariant_4_after_a_kill_no_acknowledged_question_is_asked_again(killed: Telling) -> None:
    times = Counter(killed["after"])
    rows = {row["question_id"]: row for row in verdict_rows.rows(killed.home)}
    assert {times[rows[each]["content_sha256"]] for each in killed["acknowledged"]} == {1}


def test_invariant_4_after_a_kill_at_most_the_calls_in_flight_are_asked_twice(killed: Telling) -> None:
    twice = [media for media, times in Counter(killed["after"]).items() if times > 1]
    in_flight = len(killed["before"]) - len(killed["acknowledged"])
    assert len(killed["after"]) - len(set(killed["after"])) == len(twice) <= in_flight


def test_invariant_4_after_a_kill_the_calls_made_twice_are_of_unknown_billing(killed: Telling) -> None:
    rows = {row["content_sha256"]: row for row in verdict_rows.rows(killed.home)}
    for media, times in Counter(killed["after"]).items():
        if times > 1:
            assert (rows[media]["billed"], rows[media]["cost"]) == ("unknown", 1.0)


def test_invariant_4_a_call_that_waited_for_its_turn_is_not_of_unknown_billing(killed: Telling) -> None:
    """What the provider may have seen before the kill is in doubt, and the few calls at the lane's gate.

    Those were announced and ready to leave: after kill -9 nobody can say that they did not.
    """
    unknown = {row["content_sha256"] for row in verdict_rows.rows(killed.home) if row["billed"] == "unknown"}
    assert len(unknown - set(killed["before"])) <= AT_THE_GATE


def test_invariant_1_after_a_kill_and_a_resume_each_question_has_one_row(killed: Telling) -> None:
    questions = [row["question_id"] for row in verdict_rows.rows(killed.home)]
    assert len(questions) == len(set(questions)) == OBJECTS


def test_after_a_kill_the_resumed_run_is_done(killed: Telling) -> None:
    assert killed["record"]["status"] == "running"
    assert killed["resumed"]["status"] == 0, killed["resumed"]["err"]
    (record,) = verdict_rows.records(killed.home)
    assert record["status"] == "done"


def test_status_says_that_nobody_works_on_a_killed_run(killed: Telling) -> None:
    """Its record says `running`, the last word of a process that is no more."""
    assert killed["status"]["status"] == 0, killed["status"]["err"]
    said = "running, but no process of this machine works on it: `facesweep resume` goes on"
    assert said in killed["status"]["out"]


def test_the_books_count_the_calls_the_provider_counted_even_over_a_kill(killed: Telling) -> None:
    """Never fewer; the calls that stood at the lane's gate when it was killed count too."""
    (record,) = verdict_rows.records(killed.home)
    assert 0 <= verdict_rows.books(record)["calls"] - len(killed["after"]) <= AT_THE_GATE


# --- Ctrl-C and SIGTERM ---


@pytest.mark.parametrize("name", POLITE)
def test_an_interrupted_command_says_so_and_exits_130(name: str, request: pytest.FixtureRequest) -> None:
    stopped = told(name, request)["stopped"]
    assert stopped["status"] == 130, stopped["err"]
    assert "interrupted: what has an answer is safe; `facesweep resume` goes on" in stopped["err"]


@pytest.mark.parametrize("name", POLITE)
def test_an_interrupted_command_prints_no_traceback_and_no_log(
    name: str, request: pytest.FixtureRequest
) -> None:
    printed = told(name, request)["stopped"]["err"]
    for noise in ("Traceback", "| ERROR", "prefect"):
        assert noise not in printed


@pytest.mark.parametrize("name", POLITE)
def test_the_record_of_an_interrupted_run_says_interrupted(name: str, request: pytest.FixtureRequest) -> None:
    record = told(name, request)["record"]
    assert record["status"] == "interrupted"
    assert verdict_rows.books(record)["pending"] > 0
    assert verdict_rows.books(record)["balanced"]


@pytest.mark.parametrize("name", POLITE)
def test_an_interrupted_run_waits_for_its_calls_and_publishes_their_answers(
    name: str, request: pytest.FixtureRequest
) -> None:
    story = told(name, request)
    assert len(story["delivered"]) == len(story["before"]) == len(story["published"])


@pytest.mark.parametrize("name", POLITE)
def test_invariant_4_no_call_of_an_interrupted_run_is_made_twice(
    name: str, request: pytest.FixtureRequest
) -> None:
    after = told(name, request)["after"]
    assert len(after) == len(set(after)) == OBJECTS


@pytest.mark.parametrize("name", POLITE)
def test_resume_finishes_an_interrupted_run(name: str, request: pytest.FixtureRequest) -> None:
    story = told(name, request)
    assert story["resumed"]["status"] == 0, story["resumed"]["err"]
    rows = verdict_rows.rows(story.home)
    assert {(row["outcome"], row["billed"]) for row in rows} == {("scored", "yes")}
    assert len({row["question_id"] for row in rows}) == len(rows) == OBJECTS


@pytest.mark.parametrize("name", POLITE)
def test_the_books_of_an_interrupted_run_count_the_calls_that_were_made(
    name: str, request: pytest.FixtureRequest
) -> None:
    """What waited for its turn when the run was stopped has cost nothing and is no call."""
    story = told(name, request)
    assert verdict_rows.books(story["record"])["calls"] == len(story["before"])


@pytest.mark.parametrize("name", ["killed", *POLITE])
def test_invariant_10_an_interrupted_run_leaves_no_half_written_file(
    name: str, request: pytest.FixtureRequest
) -> None:
    story = told(name, request)
    assert story["damaged"] == []
    assert story["opened"] > 0
