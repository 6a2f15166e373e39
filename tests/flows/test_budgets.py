"""A run with a budget, as an operator meets it: where it stops, what it says, how it goes on."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.flows import verdict_rows
from tests.flows.faces import emulated, folder_of_faces, totals
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until

OBJECTS = 40
CALLS, MORE_CALLS = 50, 130
PRICES = {"tencent": 0.1, "aliyun": 0.25}
AT_THE_GATES = 2 + 3  # calls announced and ready to leave at the kill, at 10/s and 20/s (pacing/lane.py)
ENOUGH = 20  # calls both providers have seen when the run is killed


@pytest.fixture(scope="session")
def budgeted(shared: Path, prefect_url: str) -> Telling:
    """Killed in the middle of its budget, resumed to the end of it, then resumed with a larger one."""

    def story(folder: Path) -> dict[str, Any]:
        folder_of_faces(folder / "source", OBJECTS)
        with emulated(latency_ms=200) as emulators:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                source={"url": "source"},
                tencent={"qps": 10, "endpoint": emulators.tencent_url, "price_per_call": PRICES["tencent"]},
                aliyun={"qps": 20, "endpoints": [emulators.aliyun_url], "price_per_call": PRICES["aliyun"]},
                budget={"calls": CALLS, "money": 1000},
            )
            emulators.script("tencent", fault="throttled", times=3, after=2)
            emulators.script("tencent", fault="http_error", http_status=500, times=3, after=12)
            emulators.script("aliyun", fault="throttled", times=3, after=4)
            with facesweep.start("audit", spec, "--yes", "--run-id", "r1") as running:
                until(lambda: sum(totals(emulators).values()), lambda calls: calls >= ENOUGH)
                running.signal(signal.SIGKILL)
                running.process.wait(10)
                facts: dict[str, Any] = {"planned": running.err}
            facts["at_kill"] = totals(emulators)

            def act(name: str, *arguments: object) -> None:
                facts[name] = facesweep.run(*arguments).as_json()
                facts[f"{name}_calls"] = totals(emulators)
                (facts[f"{name}_record"],) = verdict_rows.records(folder / "home")

            act("resumed", "resume", folder / "home")
            act("larger", "resume", folder / "home", "--calls", MORE_CALLS)
        return facts

    return told_once(shared, "budgeted", story)


def test_the_plan_says_what_the_budget_covers(budgeted: Telling) -> None:
    assert f"the budget of {CALLS} calls covers {CALLS} of {2 * OBJECTS} calls" in budgeted["planned"]
    assert f"the budget of 1,000.00 covers all {2 * OBJECTS} calls" in budgeted["planned"]


def test_invariant_6_calls_never_exceed_the_budget_across_a_kill_and_a_resume(budgeted: Telling) -> None:
    """Of two providers together, with calls throttled, calls that failed and calls the kill cut short."""
    assert sum(budgeted["at_kill"].values()) >= ENOUGH
    seen, counted = sum(budgeted["resumed_calls"].values()), books_calls(budgeted["resumed_record"])
    assert seen <= counted == CALLS
    assert counted - seen <= AT_THE_GATES


AT_THE_GATES = (
    2 + 3
)  # calls announced and ready to leave at the kill, at caps of 10/s and 20/s (pacing/lane.py)


def books_calls(record: dict[str, Any]) -> int:
    return sum(books["calls"] for books in record["books"])


def test_a_spent_budget_ends_with_status_4_and_says_how_to_go_on(budgeted: Telling) -> None:
    ended = budgeted["resumed"]
    assert ended["status"] == 4, ended["err"]
    left = sum(books["over_budget"] for books in budgeted["resumed_record"]["books"])
    assert (
        f"facesweep: the budget of {CALLS} calls is spent; {left} questions are left: "
        f"`facesweep resume HOME --calls N` goes on, with N over {CALLS}"
    ) in ended["err"]
    assert "Traceback" not in ended["err"]
    assert f"budget: 0 of {CALLS} calls left; " in ended["out"]


def test_invariant_1_what_is_over_the_budget_has_its_place_in_the_books(budgeted: Telling) -> None:
    record = budgeted["resumed_record"]
    assert record["status"] == "out_of_budget"
    assert record["stop_reason"] == f"the budget of {CALLS} calls is spent"
    rows = sum(sum(books["outcomes"].values()) for books in record["books"])
    for books in record["books"]:
        assert books["balanced"]
        assert books["listed"] == books["asked"] + books["over_budget"] == OBJECTS
        assert books["pending"] == 0
    assert rows == sum(books["asked"] for books in record["books"])


def test_a_larger_budget_takes_the_run_to_its_end(budgeted: Telling) -> None:
    assert budgeted["larger"]["status"] == 0, budgeted["larger"]["err"]
    record = budgeted["larger_record"]
    assert record["status"] == "done"
    assert {(each["asked"], each["over_budget"], each["pending"]) for each in record["books"]} == {
        (OBJECTS, 0, 0)
    }
    questions = [row["question_id"] for row in verdict_rows.rows(budgeted.home)]
    assert len(questions) == len(set(questions)) == 2 * OBJECTS


def test_the_record_keeps_every_budget_that_was_in_force(budgeted: Telling) -> None:
    record = budgeted["larger_record"]
    assert record["budget"] == {"calls": MORE_CALLS, "money": 1000.0, "until": None}
    assert [each["calls"] for each in record["budget_history"]] == [CALLS, MORE_CALLS]


def test_progress_and_summary_say_what_is_left_of_the_budget(budgeted: Telling) -> None:
    assert re.search(rf"^budget: \d+ of {MORE_CALLS} calls left; ", budgeted["larger"]["err"], re.MULTILINE)
    left = MORE_CALLS - books_calls(budgeted["larger_record"])
    (money,) = re.findall(
        rf"^budget: {left} of {MORE_CALLS} calls left; ([\d.]+) of 1,000\.00 left$",
        budgeted["larger"]["out"],
        re.MULTILINE,
    )
    spent = sum(books["charged"] * PRICES[books["provider"]] for books in budgeted["larger_record"]["books"])
    assert float(money) == pytest.approx(1000 - spent)
