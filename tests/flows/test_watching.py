"""What people see of a run that works: figures over HTTP, and in Prefect its name, its log, its books."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tasks.units.metrics import METRICS
from tests.flows.faces import both, emulated, folder_of_faces
from tests.flows.facesweep_process import SECRETS, Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until

OBJECTS = 30
BUDGET = 45


@pytest.fixture(scope="session")
def watched(shared: Path, prefect_url: str) -> Telling:
    """An audit that runs out of its budget while somebody scrapes, and goes on with a report at hand."""

    def story(folder: Path) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        folder_of_faces(folder / "source", OBJECTS)
        with emulated(latency_ms=100) as emulators:
            emulators.script("tencent", fault="throttled", times=1, after=2)
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                "kyc-nightly", source={"url": "source"}, budget={"calls": BUDGET}, **both(emulators, qps=10)
            )
            arguments = ("audit", spec, "--run-id", "r1", "--yes", "--metrics-port", "0")
            with facesweep.start(*arguments) as running:
                told = until(
                    lambda: re.search(r"metrics: (http://127\.0\.0\.1:\d+/metrics)", running.err),
                    lambda found: found is not None,
                )
                assert told is not None
                facts["scraped"] = until(
                    lambda: urlopen(told[1], timeout=10).read().decode(), lambda text: at_work(figures(text))
                )
                facts["ended"] = running.ended(100).as_json()
            report = folder / "home" / "reports" / "r1" / "report.html"
            report.parent.mkdir(parents=True)
            report.write_text("<p>found</p>")
            facts["resumed"] = facesweep.run("resume", folder / "home", "--calls", 1000).as_json()
        facts["flow_runs"] = [shown(prefect_url, name) for name in ("r1", "r1 · resumed")]
        return facts

    return told_once(shared, "watched", story)


def figures(text: str) -> dict[str, float]:
    """Scraped series, as `name{provider}`; outcomes added up."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = f"{sample.name}{{{sample.labels.get('provider', '')}}}"
            found[name] = found.get(name, 0) + sample.value
    return found


def at_work(found: dict[str, float]) -> bool:
    return all(found.get(f"facesweep_settled_total{{{each}}}", 0) >= 5 for each in ("tencent", "aliyun"))


def shown(prefect_url: str, name: str) -> dict[str, Any]:
    """A flow run with this end of its name, its artifacts and its log."""

    def ask(what: str, **filters: Any) -> Any:
        body = json.dumps(filters).encode()
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{prefect_url}/{what}/filter", body, headers), timeout=30) as reply:
            return json.loads(reply.read())

    (run,) = ask("flow_runs", flow_runs={"name": {"any_": [f"kyc-nightly · {name}"]}})
    log = until(
        lambda: ask("logs", logs={"flow_run_id": {"any_": [run["id"]]}}, sort="TIMESTAMP_ASC"),
        lambda lines: any(each["message"].startswith("run_ended") for each in lines),
    )
    artifacts = ask("artifacts", flow_runs={"id": {"any_": [run["id"]]}})
    return {"run": run, "log": [each["message"] for each in log], "artifacts": artifacts}


def artifact(shown: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [each for each in shown["artifacts"] if each["key"] == key]
    return dict(found)


# --- figures


def test_a_running_audit_is_scraped_over_http(watched: Telling) -> None:
    found = figures(watched["scraped"])
    for provider in ("tencent", "aliyun"):
        assert found[f"facesweep_questions{{{provider}}}"] == OBJECTS
        assert found[f"facesweep_calls_total{{{provider}}}"] >= 5
        assert found[f"facesweep_lane_cap_per_second{{{provider}}}"] == 10
        assert 0 < found[f"facesweep_lane_rate_per_second{{{provider}}}"] <= 11
        assert 0 <= found[f"facesweep_calls_in_flight{{{provider}}}"] <= 10
    assert found["facesweep_throttled_total{tencent}"] == 1
    assert 0 <= found["facesweep_budget_calls_left{}"] <= BUDGET - 10


def test_what_is_scraped_is_what_the_document_describes(watched: Telling) -> None:
    names = {
        family.name
        for family in text_string_to_metric_families(watched["scraped"])
        if not family.name.startswith("process_")
    }
    assert names <= {each.name.removesuffix("_total") for each in METRICS}


def test_invariant_8_no_figure_names_an_object_or_holds_a_credential(watched: Telling) -> None:
    text = watched["scraped"]
    assert not [each for each in (*SECRETS, ".jpg", "source") if each in text]


def test_figures_change_nothing_about_how_a_command_ends(watched: Telling) -> None:
    assert watched["ended"]["status"] == 4
    assert watched["resumed"]["status"] == 0, watched["resumed"]["err"]


# --- Prefect's UI


def test_a_run_that_ended_early_shows_its_books_as_a_table(watched: Telling) -> None:
    rows = json.loads(artifact(watched["flow_runs"][0], "kyc-nightly-balance")["data"])
    assert [row["provider"] for row in rows] == ["tencent", "aliyun"]
    assert {row["balanced"] for row in rows} == {"yes"}
    assert {row["listed"] for row in rows} == {str(OBJECTS)}
    assert sum(int(row["calls"]) for row in rows) == BUDGET
    assert sum(int(row["over budget"]) for row in rows) > 0
    assert "unfit" not in rows[0]  # nothing was: no column for it


def test_progress_says_what_is_settled_and_who_called(watched: Telling) -> None:
    said = artifact(watched["flow_runs"][1], "kyc-nightly-progress-tencent")
    assert said["data"] == 100
    assert said["description"].startswith(f"{OBJECTS} of {OBJECTS} settled · ")
    assert "throttled by this process" in said["description"]


def test_a_report_of_the_home_is_linked(watched: Telling) -> None:
    place = (watched.home / "reports" / "r1" / "report.html").as_uri()
    resumed = watched["flow_runs"][1]
    assert place in artifact(resumed, "kyc-nightly-report")["data"]
    assert f"Report: `{place}`" in artifact(resumed, "kyc-nightly-summary")["data"]
    assert not [each for each in watched["flow_runs"][0]["artifacts"] if each["key"] == "kyc-nightly-report"]


def test_the_log_tells_the_run_by_its_events(watched: Telling) -> None:
    first, resumed = (each["log"] for each in watched["flow_runs"])
    # One provider may be through before the budget is spent: no order of the two is promised.
    assert [line.split()[0] for line in first if not line.startswith(("lane_throttled", "shard_done"))] == [
        *("run_planned", "run_opened", "shard_begun", "shard_begun", "run_ended")
    ]
    assert [line for line in first if line.startswith("lane_throttled provider=tencent throttled=1 ")]
    assert f"run_planned audit=kyc-nightly run=r1 questions={2 * OBJECTS} shards=2" in first
    ended = f"run_ended audit=kyc-nightly run=r1 status=out_of_budget settled={BUDGET - 1} failed=0 "
    assert first[-1].startswith(ended)
    assert first[-1].endswith(f'reason="the budget of {BUDGET} calls is spent"')
    done = [line for line in (*first, *resumed) if line.startswith("shard_done")]
    assert sorted(line.split()[2] for line in done) == ["provider=aliyun", "provider=tencent"]
    assert all(f"questions={OBJECTS} settled={OBJECTS} failed=0" in line for line in done)


def test_invariant_8_the_log_names_no_object_and_has_no_line_for_each(watched: Telling) -> None:
    for each in watched["flow_runs"]:
        assert len(each["log"]) < 10
        assert not [line for line in each["log"] if ".jpg" in line or any(key in line for key in SECRETS)]
