"""A second audit of the same home: what has an answer is left alone, what is new or changed is asked."""

import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.flows import verdict_rows
from tests.flows.faces import both, emulated, face, folder_of_faces, know_keys, totals
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until
from tests.flows.reader import Reader

OBJECTS = 8


@pytest.fixture(scope="session")
def again(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        source = folder_of_faces(folder / "source", OBJECTS)
        facts: dict[str, Any] = {}
        with emulated() as emulators, Reader(folder / "home") as reader:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(source={"url": "source"}, **both(emulators))

            def act(name: str, *arguments: object) -> None:
                ended = facesweep.run(*arguments)
                facts[name] = {**ended.as_json(), "calls": totals(emulators)}
                emulators.reset()
                for provider in ("tencent", "aliyun"):
                    assert not emulators.calls(provider)
                know_keys(emulators)

            act("plan", "plan", spec)
            facts["after_plan"] = sorted(
                str(path.relative_to(folder / "home"))
                for path in (folder / "home").rglob("*")
                if path.is_file()
            )
            act("limited", "audit", spec, "--limit", 3, "--run-id", "limited", "--yes")
            act("rest", "audit", spec, "--run-id", "rest", "--yes")
            act("nothing", "audit", spec, "--run-id", "nothing", "--yes")
            (source / "005.jpg").write_bytes(face(90))
            act("changed", "audit", spec, "--run-id", "changed", "--yes")
            act("resumed_when_done", "resume", folder / "home")
            act("retried", "retry", folder / "home", "--yes")
        facts["damaged"], facts["opened"] = reader.damaged, reader.opened
        facts["flow_runs"] = shown_by(prefect_url, str(spec))
        return facts

    return told_once(shared, "again", story)


def shown_by(prefect_url: str, spec: str) -> dict[str, Any]:
    """What Prefect's server knows of the audits of this spec."""

    def ask(what: str, **filters: Any) -> Any:
        request = Request(
            f"{prefect_url}/{what}/filter",
            data=json.dumps(filters).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as reply:
            return json.loads(reply.read())

    flow_runs = [each for each in ask("flow_runs", limit=200) if each["parameters"].get("spec_path") == spec]
    ids = [each["id"] for each in flow_runs]
    mine = {"flow_runs": {"id": {"any_": ids}}}
    # The server writes task runs down a moment after it has heard of them.
    task_runs = until(
        lambda: ask("task_runs", **mine), lambda found: sum("publish" in each["name"] for each in found) >= 4
    )
    artifacts = ask("artifacts", **mine)
    return {"flow_runs": flow_runs, "task_runs": task_runs, "artifacts": artifacts}


def test_a_plan_asks_nobody_and_leaves_no_run(again: Telling) -> None:
    assert again["plan"]["status"] == 0
    assert again["plan"]["calls"] == {"tencent": 0, "aliyun": 0}
    assert again["after_plan"] == []


def test_a_plan_tells_the_calls_and_when_they_end(again: Telling) -> None:
    assert f"tencent: {OBJECTS} listed, {OBJECTS} to ask about" in again["plan"]["out"]
    assert "at the cap" in again["plan"]["out"]


def test_a_limit_of_n_asks_about_n_objects(again: Telling) -> None:
    assert again["limited"]["status"] == 0
    assert again["limited"]["calls"] == {"tencent": 3, "aliyun": 3}
    assert len({row["url"] for row in verdict_rows.rows(again.home, "limited")}) == 3


def test_the_books_of_a_limited_run_count_what_is_over_the_limit(again: Telling) -> None:
    record = verdict_rows.records(again.home)[0]
    assert verdict_rows.books(record)["skipped"] == {"over_limit": OBJECTS - 3}
    assert verdict_rows.books(record)["balanced"]


def test_invariant_4_the_next_run_asks_only_what_has_no_answer(again: Telling) -> None:
    assert again["rest"]["calls"] == {"tencent": OBJECTS - 3, "aliyun": OBJECTS - 3}


def test_invariant_4_an_audit_without_anything_new_asks_nothing(again: Telling) -> None:
    assert again["nothing"]["status"] == 0
    assert again["nothing"]["calls"] == {"tencent": 0, "aliyun": 0}
    assert verdict_rows.rows(again.home, "nothing") == []


def test_invariant_1_a_run_that_asks_nothing_balances_and_is_done(again: Telling) -> None:
    (record,) = [each for each in verdict_rows.records(again.home) if each["run_id"] == "nothing"]
    assert record["status"] == "done"
    assert verdict_rows.books(record)["skipped"] == {"already_answered": OBJECTS}


def test_an_object_that_changed_is_asked_again(again: Telling) -> None:
    assert again["changed"]["calls"] == {"tencent": 1, "aliyun": 1}
    assert {row["key"] for row in verdict_rows.rows(again.home, "changed")} == {"005.jpg"}


def test_every_version_of_every_object_has_one_row_for_each_provider(again: Telling) -> None:
    questions = [row["question_id"] for row in verdict_rows.rows(again.home)]
    assert len(questions) == len(set(questions)) == 2 * (OBJECTS + 1)


def test_there_is_nothing_to_resume_when_all_is_done(again: Telling) -> None:
    assert again["resumed_when_done"]["status"] == 2
    assert "no unfinished run" in again["resumed_when_done"]["err"]


def test_invariant_10_a_reader_never_sees_half_a_file(again: Telling) -> None:
    """Somebody who opens everything there is, again and again while runs work, finds whole files."""
    assert again["damaged"] == []
    assert again["opened"] > 0


def test_prefect_shows_a_run_as_a_flow_run_and_each_shard_as_one_task_run(again: Telling) -> None:
    shown = again["flow_runs"]
    assert [each["state"]["type"] for each in shown["flow_runs"]] == ["COMPLETED"] * 4
    asking = next(each for each in shown["flow_runs"] if each["parameters"]["run_id"] == "rest")
    names = sorted(each["name"] for each in shown["task_runs"] if each["flow_run_id"] == asking["id"])
    assert names == ["aliyun-shard-1", "plan", "publish", "tencent-shard-1"]


def test_prefect_calls_a_flow_run_by_its_audit_and_run(again: Telling) -> None:
    names = {each["name"] for each in again["flow_runs"]["flow_runs"]}
    assert names == {f"e2e · {each}" for each in ("limited", "rest", "nothing", "changed")}


def test_prefect_shows_progress_for_each_provider_books_and_a_summary(again: Telling) -> None:
    shown = again["flow_runs"]
    asking = next(each for each in shown["flow_runs"] if each["parameters"]["run_id"] == "rest")
    mine = [each for each in shown["artifacts"] if each["flow_run_id"] == asking["id"]]
    assert {each["key"]: each["type"] for each in mine} == {
        "e2e-progress-tencent": "progress",
        "e2e-progress-aliyun": "progress",
        "e2e-balance": "table",
        "e2e-summary": "markdown",
    }
    assert {each["data"] for each in mine if each["type"] == "progress"} == {100.0}
    (summary,) = [each["data"] for each in mine if each["type"] == "markdown"]
    assert f"{OBJECTS - 3} asked" in summary
    assert "Simulated" in summary
    assert f"tencent: complete, all {OBJECTS} objects are covered: {OBJECTS} assessed" in summary


def test_invariant_8_what_prefect_shows_names_no_object_and_holds_no_credential(again: Telling) -> None:
    shown = again["flow_runs"]
    assert all(
        set(each["parameters"]) == {"spec_path", "run_id", "limit", "reask", "sample"}
        for each in shown["flow_runs"]
    )
    assert not [each for each in shown["artifacts"] if ".jpg" in json.dumps(each["data"])]


def test_a_retry_of_a_run_that_failed_nowhere_says_that_nobody_was_asked(again: Telling) -> None:
    assert again["retried"]["status"] == 0
    assert again["retried"]["err"].splitlines()[-1] == "Nothing was asked."
    assert again["retried"]["calls"] == {"tencent": 0, "aliyun": 0}
