"""Runs that are killed again and again, at moments of every kind, keep every promise of the contract.

`make chaos` does the same with hundreds of kills and prints what became of them.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.campaign import Plan, campaign
from tests.flows.once import Telling, told_once

pytestmark = pytest.mark.long

KILLS, OF_COMMANDS = 22, 3
SEED = 20261121


@pytest.fixture(scope="session")
def killed(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        return campaign(folder, Plan(KILLS, SEED, OF_COMMANDS), prefect_url).as_json()

    return told_once(shared, "kills", story)


def test_processes_were_killed_at_moments_of_many_kinds(killed: Telling) -> None:
    """Else the other tests here would promise nothing."""
    assert sum(killed["by_moment"].values()) >= 20
    assert len(killed["by_moment"]) >= 4
    assert killed["of_commands"] == OF_COMMANDS
    assert sum(killed["in_flight"]) > 0
    assert killed["answers_journaled"] > 0


def test_invariant_3_no_delivered_answer_is_lost_however_often_a_run_is_killed(killed: Telling) -> None:
    """It is the row's, or the row says that a call of its question was lost and may have been billed."""
    assert killed["answers_delivered"] > 0
    assert killed["answers_lost"] == 0


def test_invariant_1_each_question_has_one_row_however_often_a_run_is_killed(killed: Telling) -> None:
    assert (killed["rows_twice"], killed["rows_missing"]) == (0, 0)
    assert killed["rows"] == killed["questions"] > 0


def test_invariant_4_no_more_calls_are_repeated_than_were_in_flight_at_the_kills(killed: Telling) -> None:
    assert killed["repeated_calls"] <= killed["most_repeated"]
    assert killed["most_repeated"] > 0


def test_invariant_4_every_repeated_call_is_marked(killed: Telling) -> None:
    assert killed["unmarked"] == 0
    assert killed["unknown_billing"] > 0


def test_invariant_10_no_reader_sees_half_a_file_however_often_a_run_is_killed(killed: Telling) -> None:
    assert killed["files_opened"] > 0
    assert killed["partial_files"] == 0


def test_whatever_is_killed_the_books_balance_and_cost_no_less_than_was_billed(killed: Telling) -> None:
    assert killed["broken"] == []
