"""`--reask`: what has a final verdict is asked again, for a reason, and only then."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flows import verdict_rows
from tests.flows.faces import emulated, folder_of_faces
from tests.flows.facesweep_process import Facesweep
from tests.flows.in_process import set_keys, sweep
from tests.flows.once import Telling, told_once

OBJECTS = 3
REASON = "the provider has a new model"


@pytest.fixture(scope="session")
def reask(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        source = folder_of_faces(folder / "source", OBJECTS)
        facts: dict[str, Any] = {}
        with emulated() as emulators:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                source={"url": "source"},
                tencent={"qps": 50, "endpoint": emulators.tencent_url, "price_per_call": 0.5},
            )

            def calls_of(act: Callable[[], object]) -> int:
                before = len(emulators.calls("tencent"))
                act()
                return len(emulators.calls("tencent")) - before

            def command(name: str, *arguments: object) -> None:
                facts[name] = facesweep.run(*arguments).as_json()

            facts["first_calls"] = calls_of(lambda: in_this_process(spec, "first"))
            (source / "copy.jpg").write_bytes((source / "000.jpg").read_bytes())
            command("no_reason", "audit", spec, "--reask", " ", "--yes")
            facts["plan_calls"] = calls_of(lambda: command("plan", "plan", spec, "--reask", REASON))
            facts["again_calls"] = calls_of(
                lambda: command("again", "audit", spec, "--reask", REASON, "--run-id", "again", "--yes")
            )
            facts["after_calls"] = calls_of(lambda: in_this_process(spec, "after"))
        return facts

    return told_once(shared, "reask", story)


def in_this_process(spec: Path, run_id: str) -> None:
    """An audit as usual."""
    with pytest.MonkeyPatch.context() as environment:
        set_keys(environment)
        asyncio.run(sweep(spec, run_id))


def record_of(reask: Telling, run_id: str) -> dict[str, Any]:
    (found,) = [each for each in verdict_rows.records(reask.home) if each["run_id"] == run_id]
    return found


def test_asking_again_without_saying_why_is_wrong_use(reask: Telling) -> None:
    assert reask["no_reason"]["status"] == 2
    assert "say why" in reask["no_reason"]["err"]


def test_the_plan_of_asking_again_says_what_has_been_paid_for_already(reask: Telling) -> None:
    assert reask["plan_calls"] == 0
    assert f"{OBJECTS + 1} to ask about" in reask["plan"]["out"]
    said = f"{OBJECTS} of these have been paid for already and would be paid for again"
    assert said in reask["plan"]["out"]
    assert said in reask["again"]["err"]


def test_with_a_reason_what_is_answered_is_asked_again_and_copies_still_share_a_call(reask: Telling) -> None:
    assert reask["again"]["status"] == 0, reask["again"]["err"]
    assert (reask["first_calls"], reask["again_calls"]) == (OBJECTS, OBJECTS)
    rows = verdict_rows.rows(reask.home, "again")
    assert sorted(row["outcome"] for row in rows) == ["reused", "scored", "scored", "scored"]
    first = {row["question_id"] for row in verdict_rows.rows(reask.home, "first")}
    assert {row["asked_because"] for row in rows if row["question_id"] in first} == {"reask"}
    assert {row["asked_because"] for row in rows if row["question_id"] not in first} == {"all"}


def test_the_reason_stands_in_the_runs_record_and_its_summary(reask: Telling) -> None:
    assert record_of(reask, "again")["reask"] == REASON
    assert record_of(reask, "first")["reask"] is None
    assert f"asked again: {REASON}" in reask["again"]["out"]


def test_invariant_1_a_run_that_asked_again_balances(reask: Telling) -> None:
    books = verdict_rows.books(record_of(reask, "again"))
    assert books["balanced"]
    assert (books["listed"], books["asked"], books["skipped"], books["pending"]) == (4, 4, {}, 0)
    assert books["cost"] == 0.5 * OBJECTS


def test_invariant_4_after_asking_again_the_next_audit_asks_nothing(reask: Telling) -> None:
    assert reask["after_calls"] == 0
    books = verdict_rows.books(record_of(reask, "after"))
    assert books["skipped"] == {"already_answered": OBJECTS + 1}
