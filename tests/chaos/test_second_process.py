"""A second process on the same run, started by mistake, and the lock of an owner that is gone."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.victims import Stable, Victim, children_of, stable
from tests.chaos.world import World, make_world
from tests.contract.emulated_media import image
from tests.flows import verdict_rows
from tests.flows.faces import emulated, know_keys
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until

pytestmark = pytest.mark.long

OBJECTS, QPS = 20, 100
RUN = "r1"
ENDS_WITHIN_S = 100.0


@pytest.fixture(scope="session")
def second(shared: Path, prefect_url: str) -> Telling:
    """One process asks a provider that turns every call away; meanwhile others try their luck."""

    def story(folder: Path) -> dict[str, Any]:
        facesweep = Facesweep(folder, prefect_url)
        with emulated() as emulators, stable(facesweep) as drivers:
            world = make_world(folder, emulators, facesweep, OBJECTS, QPS, ("tencent",))
            _begin(drivers, world)
            emulators.script("tencent", fault="throttled", times=None)
            first = drivers.command("resume", world.home)
            until(lambda: emulators.under_way("tencent"), lambda seen: seen["arrived"] > 0)
            facts: dict[str, Any] = {
                "owner": f"process {first.process_id} on {socket.gethostname()}",
                "resume": facesweep.run("resume", world.home).as_json(),
                "audit": facesweep.run("audit", world.spec, "--yes").as_json(),
                "abandon": facesweep.run("abandon", world.home, "--run-id", RUN).as_json(),
                "status": facesweep.run("status", world.home).as_json(),
                "is_alive": first.is_alive,
            }
            emulators.reset()
            know_keys(emulators)
            facts["first"] = first.ended(ENDS_WITHIN_S)
            facts["asked"] = [each["media_sha256"] for each in emulators.calls("tencent")]
            facts["status_after"] = facesweep.run("status", world.home).as_json()
        return facts

    return told_once(shared, "second", story)


def _begin(drivers: Stable, world: World) -> None:
    assert drivers.drive(do="begin", spec=world.spec, run_id=RUN).ended(ENDS_WITHIN_S) == 0


@pytest.mark.parametrize("command", ["resume", "audit", "abandon"])
def test_a_second_process_is_refused_with_a_sentence_that_names_the_first(
    second: Telling, command: str
) -> None:
    assert second[command]["status"] == 2, second[command]["err"]
    sentence = second[command]["err"].splitlines()[-1]
    assert sentence.startswith(f"facesweep: run {RUN} is being worked on by {second['owner']}: ")


def test_the_first_process_goes_on_to_the_end(second: Telling) -> None:
    assert second["is_alive"]
    assert second["first"] == 0
    assert len(verdict_rows.rows(second.home)) == OBJECTS + 1
    assert len(second["asked"]) == len(set(second["asked"]))


def test_status_names_the_process_that_works_on_a_run(second: Telling) -> None:
    assert f"run {RUN}: running, worked on by {second['owner']}" in second["status"]["out"]
    assert "worked on by" not in second["status_after"]["out"]


@pytest.fixture
def orphans(tmp_path: Path) -> Iterator[tuple[World, Stable, Victim, list[int]]]:
    """A command whose server and decoder have stopped in their tracks, so that they outlive its kill."""
    facesweep = Facesweep(tmp_path)
    with emulated(latency_ms=200) as emulators, stable(facesweep) as drivers:
        world = make_world(tmp_path, emulators, facesweep, OBJECTS, 5, ("tencent",))
        (tmp_path / "source" / "photo.webp").write_bytes(image(kind="WEBP"))  # has to be decoded
        _begin(drivers, world)
        command = drivers.command("resume", world.home)
        until(lambda: emulators.under_way("tencent"), lambda seen: seen["arrived"] > 2)
        children = until(lambda: children_of(command.process_id), lambda found: len(found) >= 2)
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            yield world, drivers, command, children
        finally:
            command.kill()
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def test_the_children_of_a_killed_owner_do_not_hold_its_run(
    orphans: tuple[World, Stable, Victim, list[int]],
) -> None:
    """Neither Prefect's server nor a decoder has the lock or the journal open; the next process goes on."""
    world, drivers, command, children = orphans
    opened = [str(each.readlink()) for child in children for each in Path(f"/proc/{child}/fd").iterdir()]
    assert opened
    assert [each for each in opened if str(world.home) in each] == []

    command.kill_alone()
    assert [child for child in children if Path(f"/proc/{child}").exists()] == children
    later = drivers.drive(do="go on", home=world.home, run_id=RUN)
    assert later.ended(ENDS_WITHIN_S) == 0, later.said
