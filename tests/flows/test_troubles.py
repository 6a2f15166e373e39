"""An account is refused, an answer lost, an object gone: what an operator has to mend."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.flows import verdict_rows
from tests.flows.faces import emulated, folder_of_faces, know_keys
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once

OBJECTS = 6
LOST, GONE = "002.jpg", "004.jpg"
ARREARS = "UnauthorizedOperation.Arrears"


@pytest.fixture(scope="session")
def troubles(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        source = folder_of_faces(folder / "source", OBJECTS)
        lost = sha256((source / LOST).read_bytes()).hexdigest()
        with emulated() as emulators:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                source={"url": "source"},
                tencent={"qps": 50, "endpoint": emulators.tencent_url, "price_per_call": 0.25},
            )
            emulators.script("tencent", fault="code", code=ARREARS, times=None)
            facts: dict[str, Any] = {"denied": facesweep.run("audit", spec, "--yes").as_json()}
            (facts["denied_record"],) = verdict_rows.records(folder / "home")
            facts["denied_rows"] = len(verdict_rows.rows(folder / "home"))
            facts["denied_calls"] = len(emulators.calls("tencent"))

            facts["second"] = facesweep.run("audit", spec, "--yes").as_json()
            facts["second_plan"] = facesweep.run("plan", spec).as_json()

            emulators.reset()
            know_keys(emulators)
            emulators.script("tencent", fault="answers_lost", media_sha256=lost, times=None)
            (source / GONE).unlink()
            facts["resumed"] = facesweep.run("resume", folder / "home").as_json()
            facts["resumed_calls"] = [each["media_sha256"] == lost for each in emulators.calls("tencent")]

            emulators.reset()
            know_keys(emulators)
            facts["retried"] = facesweep.run(
                "retry", folder / "home", "--outcome", "failed", "--yes"
            ).as_json()
            facts["retried_calls"] = [each["media_sha256"] == lost for each in emulators.calls("tencent")]
            facts["final"] = facesweep.run("retry", folder / "home", "--outcome", "scored").as_json()
        return facts

    return told_once(shared, "troubles", story)


def run_of(troubles: Telling, *, retry: bool) -> dict[str, Any]:
    (found,) = [each for each in verdict_rows.records(troubles.home) if bool(each["retry_of"]) is retry]
    return found


# --- the account ---


def test_a_refused_account_ends_the_run_with_status_3_and_one_sentence(troubles: Telling) -> None:
    assert troubles["denied"]["status"] == 3, troubles["denied"]["err"]
    assert ARREARS in troubles["denied"]["err"]
    assert "its questions stay pending" in troubles["denied"]["err"]
    assert "Traceback" not in troubles["denied"]["err"]


def test_invariant_5_a_refused_account_marks_no_question(troubles: Telling) -> None:
    record = troubles["denied_record"]
    assert record["status"] == "denied"
    assert ARREARS in record["stop_reason"]
    assert verdict_rows.books(record)["outcomes"] == {}
    assert verdict_rows.books(record)["pending"] == OBJECTS
    assert troubles["denied_rows"] == 0


def test_the_books_of_a_refused_run_count_the_calls_that_were_made(troubles: Telling) -> None:
    assert verdict_rows.books(troubles["denied_record"])["calls"] == troubles["denied_calls"]


def test_an_audit_over_an_unfinished_run_is_refused(troubles: Telling) -> None:
    assert troubles["second"]["status"] == 2
    assert "is unfinished (denied): finish it first with `facesweep resume`" in troubles["second"]["err"]


def test_a_plan_may_be_looked_at_while_a_run_is_unfinished(troubles: Telling) -> None:
    assert troubles["second_plan"]["status"] == 0, troubles["second_plan"]["err"]


def test_invariant_5_the_run_goes_on_once_the_account_is_mended(troubles: Telling) -> None:
    assert run_of(troubles, retry=False)["status"] == "done"
    assert len(verdict_rows.rows(troubles.home, run_of(troubles, retry=False)["run_id"])) == OBJECTS


# --- single objects ---


def test_a_run_with_failed_questions_ends_with_status_1(troubles: Telling) -> None:
    assert troubles["resumed"]["status"] == 1, troubles["resumed"]["err"]


def test_invariant_5_an_object_in_trouble_is_a_row(troubles: Telling) -> None:
    rows = {
        row["key"]: row for row in verdict_rows.rows(troubles.home, run_of(troubles, retry=False)["run_id"])
    }
    assert {key: row["outcome"] for key, row in rows.items()} == {
        "000.jpg": "scored",
        "001.jpg": "scored",
        LOST: "failed",
        "003.jpg": "scored",
        GONE: "unreadable",
        "005.jpg": "scored",
    }
    assert rows[GONE]["reason"]
    assert rows[GONE]["attempts"] == 0


def test_a_lost_answer_is_paid_for_in_the_books(troubles: Telling) -> None:
    """Calls whose replies never came may be billed: the row says unknown and counts each of them."""
    (row,) = [row for row in verdict_rows.rows(troubles.home) if row["outcome"] == "failed"]
    made = sum(troubles["resumed_calls"])
    assert (row["attempts"], row["billed"], row["cost"]) == (made, "unknown", 0.25 * made)


def test_retry_asks_again_only_what_ended_so(troubles: Telling) -> None:
    assert troubles["retried"]["status"] == 0, troubles["retried"]["err"]
    assert troubles["retried_calls"] == [True]
    again = run_of(troubles, retry=True)
    assert again["retry_of"] == run_of(troubles, retry=False)["run_id"]
    assert [row["key"] for row in verdict_rows.rows(troubles.home, again["run_id"])] == [LOST]
    assert verdict_rows.books(again)["balanced"]


def test_a_final_answer_is_not_asked_again(troubles: Telling) -> None:
    assert troubles["final"]["status"] == 2
    assert "scored" in troubles["final"]["err"]
