"""Runs whose home, journal included, lies on a disk that fills up; told inside tests.chaos.small_disk."""

import json
from collections.abc import Callable
from typing import Any

from tests.chaos.ledger import examine, seen
from tests.chaos.moments import Moment, Scene, wait_for
from tests.chaos.small_disk import SmallDisk
from tests.chaos.victims import Stable, Victim, stable
from tests.chaos.world import World, books_of, make_world
from tests.contract.emulator_process import RunningEmulators
from tests.flows.facesweep_process import Facesweep
from tests.flows.reader import Reader

OBJECTS, QPS = 120, 100
RUN = "r1"
ENDS_WITHIN_S = 60.0

Story = Callable[[SmallDisk, World, Stable], Victim]


def _told(disk: SmallDisk, emulators: RunningEmulators, prefect_url: str, story: Story) -> dict[str, Any]:
    """Let the disk be full as the story wants it, make room, go on to the end, and see what is there."""
    facesweep = Facesweep(disk.folder.parent, prefect_url)
    with stable(facesweep) as drivers:
        world = make_world(disk.folder, emulators, facesweep, OBJECTS, QPS, ("tencent",))
        with Reader(world.home) as reader:
            stopped = story(disk, world, drivers)
            status = stopped.ended(ENDS_WITHIN_S)
            before = emulators.under_way("tencent")["arrived"]
            kills = [seen(world, RUN, "on a full disk", stopped.kind)]
            disk.make_room(drivers.process_id)
            if not world.record(RUN).exists():
                assert _begin(drivers, world).ended(ENDS_WITHIN_S) == 0
            last = drivers.drive(do="go on", home=world.home, run_id=RUN)
            assert last.ended(ENDS_WITHIN_S) == 0, last.said
        account = examine(world, RUN, kills, reader.opened, reader.damaged)
    return {"status": status, "said": stopped.said, "asked_before": before, "broken": account.broken}


def _begin(drivers: Stable, world: World) -> Victim:
    return drivers.drive(do="begin", spec=world.spec, run_id=RUN, one_shard=True)


def _go_on(drivers: Stable, world: World) -> Victim:
    return drivers.drive(do="go on", home=world.home, run_id=RUN)


def _killed_at(world: World, victim: Victim, moment: Moment) -> None:
    scene = Scene(world, RUN, victim)
    try:
        assert wait_for(scene, moment, ENDS_WITHIN_S), victim.said
    finally:
        scene.close()


def _some_settled(scene: Scene) -> bool:
    return len(scene.journal().settled) >= 10


def _opened(scene: Scene) -> bool:
    is_running = books_of(scene.world.record(RUN))["status"] == "running"
    return is_running and not scene.journal().announced and not scene.staged("document.json")


def _part_begun(scene: Scene) -> bool:
    return any(not published for _, _, published, _ in scene.journal().parts)


def while_asking(disk: SmallDisk, world: World, drivers: Stable) -> Victim:
    """The disk fills up while the command asks: the next announcement or answer has no room."""
    assert _begin(drivers, world).ended(ENDS_WITHIN_S) == 0
    victim = drivers.command("resume", world.home)
    scene = Scene(world, RUN, victim)
    while not _some_settled(scene):
        assert victim.is_alive, victim.said
    scene.close()
    disk.fill(victim.process_id)
    return victim


def while_publishing(disk: SmallDisk, world: World, drivers: Stable) -> Victim:
    """Everything is answered; there is room for a few pages, and a part needs more."""
    assert _begin(drivers, world).ended(ENDS_WITHIN_S) == 0
    _killed_at(world, _go_on(drivers, world), Moment("part being written", _part_begun))
    disk.fill(drivers.process_id, leave_pages=14)
    return _go_on(drivers, world)


def for_the_record(disk: SmallDisk, world: World, drivers: Stable) -> Victim:
    """Opened once, the run has its journal's files: not even a small one has room beside them."""
    assert _begin(drivers, world).ended(ENDS_WITHIN_S) == 0
    _killed_at(world, _go_on(drivers, world), Moment("opened, nothing announced", _opened))
    disk.fill(drivers.process_id)
    return _go_on(drivers, world)


def for_the_journal(disk: SmallDisk, world: World, drivers: Stable) -> Victim:
    """The run has just begun: its journal is still to be made."""
    assert _begin(drivers, world).ended(ENDS_WITHIN_S) == 0
    disk.fill(drivers.process_id)
    return _go_on(drivers, world)


def for_a_claim(disk: SmallDisk, world: World, drivers: Stable) -> Victim:
    """Killed while it asked: whoever opens the journal lets go what its dead owner was asking about."""
    assert _begin(drivers, world).ended(ENDS_WITHIN_S) == 0
    _killed_at(world, _go_on(drivers, world), Moment("ten settled", _some_settled))
    disk.fill(drivers.process_id)
    return _go_on(drivers, world)


def for_the_listing(disk: SmallDisk, world: World, drivers: Stable) -> Victim:
    """Not even a listing has room."""
    disk.fill(drivers.process_id)
    return _begin(drivers, world)


def for_the_plan(disk: SmallDisk, world: World, drivers: Stable) -> Victim:
    """A listing of 120 objects has room, and the tables for planning it have not."""
    disk.fill(drivers.process_id, leave_pages=10)
    return _begin(drivers, world)


def tell(disk: SmallDisk, name: str, urls: str, prefect_url: str) -> dict[str, Any]:
    """The story of that name, for `told_on_a_small_disk`."""
    return _told(disk, RunningEmulators(json.loads(urls), 0), prefect_url, globals()[name])
