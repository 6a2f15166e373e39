"""One cap, several processes: two backfills, then an audit, then a cap that is raised, all at one server."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.emulator_process import RunningEmulators
from tests.flows.faces import emulated, face, folder_of_faces, totals
from tests.flows.facesweep_process import ROOT, Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until

CAP, RAISED = 20, 60
QUESTIONS = 60
TOGETHER = 3 * CAP  # calls watched while two processes share
JITTER_S = 0.1  # what a machine that runs a test suite may add to the way of a call


@contextmanager
def calling(facesweep: Facesweep, spec: Path, priority: str) -> Iterator[subprocess.Popen[str]]:
    """A process that calls as often as its share allows, from its first call until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.flows.lane_caller", str(spec), priority],
        cwd=ROOT,
        env={**facesweep.environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "calling\n"
            yield process
        finally:
            process.stdin.close()
            process.wait(60)


@pytest.fixture(scope="session")
def one_cap(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        facesweep = Facesweep(folder, prefect_url)
        source = folder_of_faces(folder / "faces", QUESTIONS + 2)
        (source / "001.jpg").unlink()  # the face that the other processes show
        with emulated() as emulators:
            table = {"qps": CAP, "endpoint": emulators.tencent_url, "account": "night"}
            spec = facesweep.spec(source={"url": str(source)}, tencent=table)
            facts: dict[str, Any] = {}
            with calling(facesweep, spec, "backfill"):
                with calling(facesweep, spec, "backfill") as other:
                    _wait_for_calls(emulators, TOGETHER)
                facts["other"] = other.returncode
                facts["audit"] = facesweep.run("audit", spec, "--yes").as_json()
                _wait_for_calls(emulators, CAP)
                facts["at_the_cap"] = emulators.calls("tencent")
                facts["cap"] = facesweep.run("cap", spec, "--provider", "tencent", RAISED).as_json()
                facts["doctor"] = facesweep.run("doctor", spec).as_json()
                until(
                    lambda: _most(_times(emulators.calls("tencent")[-3 * RAISED :])), lambda most: most > CAP
                )
            facts["raised"] = emulators.calls("tencent")[len(facts["at_the_cap"]) :]
        return facts

    return told_once(shared, "one_cap", story)


def _wait_for_calls(emulators: RunningEmulators, more: int) -> None:
    seen = totals(emulators)["tencent"]
    until(lambda: totals(emulators)["tencent"], lambda total: total >= seen + more)


def _times(calls: list[dict[str, Any]]) -> list[float]:
    return [call["arrived_at"] for call in calls]


def _most(times: list[float]) -> int:
    """The most arrivals in any second, but for what a busy machine moves them by."""
    times = sorted(times)
    return max(sum(at <= each < at + 1 - JITTER_S for each in times) for at in times)


def _of_the_audit(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    theirs = hashlib.sha256(face(1)).hexdigest()
    return [call for call in calls if call["media_sha256"] not in ("", theirs)]


def test_invariant_2_no_second_of_the_providers_clock_holds_more_than_the_cap(one_cap: Telling) -> None:
    assert _most(_times(one_cap["at_the_cap"])) <= CAP


def test_an_audit_has_the_cap_to_itself_from_its_first_call_to_its_last(one_cap: Telling) -> None:
    assert one_cap["audit"]["status"] == 0, one_cap["audit"]["err"]
    calls = [call for call in one_cap["at_the_cap"] if call["media_sha256"]]
    audit = _of_the_audit(calls)
    assert len(audit) == QUESTIONS + 1
    between = [
        call for call in calls if audit[0]["arrived_at"] <= call["arrived_at"] <= audit[-1]["arrived_at"]
    ]
    assert between == audit


def test_a_backfill_takes_up_what_an_audit_leaves(one_cap: Telling) -> None:
    calls = one_cap["at_the_cap"]
    last = _of_the_audit(calls)[-1]
    assert sum(call["arrived_at"] > last["arrived_at"] for call in calls) >= CAP


def test_a_process_that_ends_gives_its_share_back(one_cap: Telling) -> None:
    assert one_cap["other"] == 0


def test_a_cap_that_is_raised_is_used_without_a_restart(one_cap: Telling) -> None:
    assert one_cap["cap"]["status"] == 0, one_cap["cap"]["err"]
    assert f"{RAISED} calls per second, was {CAP}" in one_cap["cap"]["out"]
    assert CAP < _most(_times(one_cap["raised"])) <= RAISED


def test_the_doctor_says_which_lane_and_whose_cap(one_cap: Telling) -> None:
    said = one_cap["doctor"]["out"]
    assert "lane facesweep-tencent-night-127.0.0.1:" in said
    assert f"{RAISED} calls per second by Prefect's limit of that name (the spec says {CAP})" in said
    assert "by 1 × backfill" in said
