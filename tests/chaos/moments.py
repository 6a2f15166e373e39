"""The moments at which a process is killed, seen from outside: the product has no hook for them.

A moment is a state of the files, the journal and the emulators' logs. Whoever waits for one looks
again and again; most are confirmed once more while the process is stopped, so that a kill is counted
at a moment only where it met it.
"""

import http.client
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.chaos.victims import Victim
from tests.chaos.world import JournalState, World, read_journal


class Scene:
    """One process at work, as somebody sees it who looks at the disk and asks the emulators."""

    def __init__(self, world: World, run_id: str, victim: Victim) -> None:
        self.world, self.run_id, self.victim = world, run_id, victim
        self._lines = [
            http.client.HTTPConnection(urlsplit(world.emulators.urls[name]).netloc, timeout=30)
            for name in world.providers
        ]
        self.began = time.monotonic()
        self.calls_before, self.journal_before = self.calls(), self.journal()

    def close(self) -> None:
        for line in self._lines:
            line.close()

    def calls(self) -> dict[str, int]:
        """Arrived, under way and delivered, of all providers together."""
        sums = {"arrived": 0, "under_way": 0, "delivered": 0}
        for line in self._lines:
            line.request("GET", "/_emulator/under_way")
            for name, count in json.loads(line.getresponse().read()).items():
                sums[name] += count
        return sums

    def journal(self) -> JournalState:
        return read_journal(self.world.journal(self.run_id))

    def staged(self, pattern: str) -> bool:
        """Whether a file of such a name lies in a staging folder."""
        return any(self.world.home.joinpath(".staging").glob(f"*/{pattern}"))


Sight = Callable[[Scene], bool]


@dataclass(frozen=True)
class Moment:
    """When to kill. `stays`: whether the state is still there once the process has been stopped."""

    name: str
    is_there: Sight
    stays: bool = True


def _opening(scene: Scene) -> bool:
    lock = scene.world.journal(scene.run_id).with_suffix(".lock")
    return lock.exists() and f'"pid": {scene.victim.process_id},' in lock.read_text()


def _journal_made(scene: Scene) -> bool:
    """The file is there and its tables are not: they come with the first bytes of the log."""
    journal = scene.world.journal(scene.run_id)
    log = journal.with_name(f"{journal.name}-wal")
    return journal.exists() and (not log.exists() or log.stat().st_size == 0)


def _announced(scene: Scene) -> bool:
    """Calls are in the journal that have not arrived. Those of killed processes never will."""
    announced = scene.journal().announced - scene.journal_before.announced
    return announced > scene.calls()["arrived"] - scene.calls_before["arrived"]


def _in_flight(scene: Scene) -> bool:
    return scene.calls()["under_way"] >= 5


def _answered(scene: Scene) -> bool:
    """More answers were delivered than questions are settled; the deliveries are counted first."""
    delivered = scene.calls()["delivered"] - scene.calls_before["delivered"]
    return delivered > len(scene.journal().settled) - len(scene.journal_before.settled)


def _part_staged(scene: Scene) -> bool:
    return scene.staged("part.parquet")


def _part_path(scene: Scene, provider: str, number: int) -> Path:
    folder = scene.world.home / "verdicts" / f"provider={provider}" / f"run={scene.run_id}"
    return folder / f"part-{number:05}.parquet"


def _part_in_place(scene: Scene) -> bool:
    """Renamed, and the journal does not say so yet."""
    return any(
        not published and _part_path(scene, provider, number).exists()
        for provider, number, published, _ in scene.journal().parts
    )


def _part_marked(scene: Scene) -> bool:
    """Published, and its answers are in the journal still."""
    return any(published and bodies for _, _, published, bodies in scene.journal().parts)


def _record_staged(scene: Scene) -> bool:
    return scene.staged("document.json")


def _listing(scene: Scene) -> bool:
    return scene.staged("listing*")


def _planning(scene: Scene) -> bool:
    return scene.staged("plan")


def _plan_without_record(scene: Scene) -> bool:
    plan = scene.world.home / "plans" / f"run={scene.run_id}"
    return plan.exists() and not scene.world.record(scene.run_id).exists()


BEGINNINGS = (
    Moment("while listing", _listing),
    Moment("while planning", _planning),
    Moment("plan in place, no record yet", _plan_without_record),
)
FIRST = Moment("while the journal is made", _journal_made)  # comes once in a run
WORKING = (
    Moment("while the run is opened", _opening),
    Moment("call announced, not arrived", _announced),
    Moment("calls in flight", _in_flight),
    # Stopped first, the process could no longer read what is delivered: the moment would be another one.
    Moment("answer delivered, not journaled", _answered, stays=False),
    Moment("part being written", _part_staged),
    Moment("part in place, not marked", _part_in_place),
    Moment("part marked, not pruned", _part_marked),
    Moment("run record being written", _record_staged),
)


def at_random(chance: random.Random, within_s: float) -> Moment:
    """Some moment of the next `within_s`."""
    wait_s = chance.uniform(0, within_s)
    return Moment("at random", lambda scene: time.monotonic() >= scene.began + wait_s, stays=False)


def wait_for(scene: Scene, moment: Moment, patience_s: float) -> bool:
    """Kill the scene's victim at the moment; False where it ended, or the time ran out, before it came."""
    deadline = time.monotonic() + patience_s
    while scene.victim.is_alive and time.monotonic() < deadline:
        if moment.is_there(scene):
            if not moment.stays:
                scene.victim.kill()
                return True
            scene.victim.freeze()
            if scene.victim.is_alive and moment.is_there(scene):
                scene.victim.kill()
                return True
            scene.victim.thaw()
        os.sched_yield()
    return False
