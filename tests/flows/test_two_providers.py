"""Two providers, one archive: cascade, split and failover by the real command."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.flows import verdict_rows
from tests.flows.faces import both, emulated, face, folder_of_faces, totals
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until

LABELS = ["genuine"] * 9 + ["recapture"] * 5 + ["swap"] * 6
SUSPECT = {"recapture": "first_says_mid", "swap": "first_says_high"}
ARREARS = "UnauthorizedOperation.Arrears"


@pytest.fixture(scope="session")
def cascade(shared: Path, prefect_url: str) -> Telling:
    """Killed in its second stage, and resumed."""

    def story(folder: Path) -> dict[str, Any]:
        (folder / "source").mkdir()
        for number, label in enumerate(LABELS):
            (folder / "source" / f"{number:03}.jpg").write_bytes(face(number, label))
        with emulated(latency_ms=100) as emulators:
            facesweep = Facesweep(folder, prefect_url)
            providers = both(emulators)
            providers["aliyun"]["qps"] = 4
            spec = facesweep.spec(source={"url": "source"}, strategy={"kind": "cascade"}, **providers)
            facts: dict[str, Any] = {"plan": facesweep.run("plan", spec).as_json()}
            with facesweep.start("audit", spec, "--yes") as running:
                until(lambda: totals(emulators), lambda calls: calls["aliyun"] >= 3)
                running.signal(signal.SIGKILL)
            facts["killed"] = totals(emulators)
            facts["resumed"] = facesweep.run("resume", folder / "home").as_json()
            facts["calls"] = totals(emulators)
            facts["again"] = facesweep.run("audit", spec, "--yes").as_json()
            facts["calls_again"] = totals(emulators)
        return facts

    return told_once(shared, "cascade", story)


def test_a_cascade_asks_the_second_only_where_the_first_is_suspicious(cascade: Telling) -> None:
    assert cascade["resumed"]["status"] == 0, cascade["resumed"]["err"]
    rows = [row for row in verdict_rows.rows(cascade.home) if row["outcome"] == "scored"]
    reasons = {
        (row["provider"], LABELS[int(row["key"].removesuffix(".jpg"))], row["asked_because"]) for row in rows
    }
    assert reasons == {("tencent", label, "first") for label in LABELS} | {
        ("aliyun", label, because) for label, because in SUSPECT.items()
    }
    assert len([row for row in rows if row["provider"] == "aliyun"]) == 11


def test_a_kill_in_the_second_stage_repeats_nothing_of_the_first(cascade: Telling) -> None:
    assert cascade["killed"]["aliyun"] < 11
    assert cascade["calls"]["tencent"] == len(LABELS)


def test_both_stages_of_a_cascade_balance(cascade: Telling) -> None:
    record = verdict_rows.records(cascade.home)[0]
    assert record["status"] == "done"
    tencent, aliyun = (verdict_rows.books(record, name) for name in ("tencent", "aliyun"))
    assert (tencent["asked"], tencent["skipped"]) == (len(LABELS), {})
    assert (aliyun["asked"], aliyun["skipped"]) == (11, {"first_says_low": 9})
    assert tencent["listed"] == aliyun["listed"] == len(LABELS)


def test_a_plan_says_that_the_second_provider_comes_later(cascade: Telling) -> None:
    assert "aliyun: asked afterwards where tencent says mid or high" in cascade["plan"]["out"]


def test_a_second_audit_of_a_cascade_asks_nobody(cascade: Telling) -> None:
    assert cascade["again"]["status"] == 0, cascade["again"]["err"]
    assert cascade["calls_again"] == cascade["calls"]


@pytest.fixture(scope="session")
def failover(shared: Path, prefect_url: str) -> Telling:
    """The first provider's account falls into arrears between two runs."""

    def story(folder: Path) -> dict[str, Any]:
        folder_of_faces(folder / "source", 10)
        with emulated() as emulators:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(source={"url": "source"}, strategy={"kind": "failover"}, **both(emulators))
            facts: dict[str, Any] = {"first": facesweep.run("audit", spec, "--yes", "--limit", 4).as_json()}
            facts["first_calls"] = totals(emulators)
            emulators.script("tencent", fault="code", code=ARREARS, times=None)
            facts["second"] = facesweep.run("audit", spec, "--yes").as_json()
            emulators.script("aliyun", fault="code", code="412", times=None)
            (folder / "source" / "new.jpg").write_bytes(face(99))
            facts["neither"] = facesweep.run("audit", spec, "--yes").as_json()
        return facts

    return told_once(shared, "failover", story)


def test_while_the_first_answers_the_second_is_not_asked(failover: Telling) -> None:
    assert failover["first"]["status"] == 0, failover["first"]["err"]
    assert failover["first_calls"] == {"tencent": 4, "aliyun": 0}


def test_the_second_takes_over_when_the_first_refuses_its_account(failover: Telling) -> None:
    assert failover["second"]["status"] == 0, failover["second"]["err"]
    record = verdict_rows.records(failover.home)[1]
    rows = verdict_rows.rows(failover.home, record["run_id"])
    assert [(row["provider"], row["outcome"], row["asked_because"]) for row in rows] == [
        ("aliyun", "scored", "first_left_it")
    ] * 6


def test_a_run_handed_over_balances_and_says_why(failover: Telling) -> None:
    record = verdict_rows.records(failover.home)[1]
    assert record["status"] == "done"
    assert ARREARS in record["handed_over"]
    tencent = verdict_rows.books(record, "tencent")
    assert (tencent["asked"], tencent["handed_over"], tencent["pending"]) == (6, 6, 0)
    assert "6 handed over to the other provider" in failover["second"]["out"]
    assert verdict_rows.books(record, "aliyun")["skipped"]["first_answered"] == 4


def test_when_both_refuse_the_run_is_denied(failover: Telling) -> None:
    assert failover["neither"]["status"] == 3, failover["neither"]["err"]
    record = verdict_rows.records(failover.home)[2]
    assert record["status"] == "denied"
    assert verdict_rows.books(record, "aliyun")["pending"] == 1


@pytest.fixture(scope="session")
def split(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        folder_of_faces(folder / "source", 30)
        with emulated() as emulators:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(source={"url": "source"}, strategy={"kind": "split"}, **both(emulators))
            ended = facesweep.run("audit", spec, "--yes").as_json()
            return {"ended": ended, "calls": totals(emulators)}

    return told_once(shared, "split", story)


def test_a_split_asks_one_provider_about_each_object(split: Telling) -> None:
    assert split["ended"]["status"] == 0, split["ended"]["err"]
    rows = verdict_rows.rows(split.home)
    assert sorted(row["key"] for row in rows) == [f"{number:03}.jpg" for number in range(30)]
    assert {row["asked_because"] for row in rows} == {"split"}
    assert split["calls"]["tencent"] + split["calls"]["aliyun"] == 30
    assert min(split["calls"].values()) > 0
