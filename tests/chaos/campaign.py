"""A campaign: runs that are killed again and again until they are done, and what became of them."""

import os
import platform
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, cycle
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Account, Kill, examine, seen
from tests.chaos.moments import BEGINNINGS, FIRST, WORKING, Moment, Scene, at_random, wait_for
from tests.chaos.victims import Stable, Victim, stable
from tests.chaos.world import World, books_of, make_world
from tests.contract.emulator_process import RunningEmulators
from tests.flows.faces import emulated, know_keys
from tests.flows.facesweep_process import Facesweep
from tests.flows.reader import Reader

LATENCY_MS = "20-200"
PATIENCE_S = 1.0  # for one moment; then the next one is waited for
ENDS_WITHIN_S = 60.0  # a run that nobody kills
OWN_SERVER_EVERY = 5  # of so many commands one brings its own Prefect server, which is killed with it


@dataclass(frozen=True)
class Plan:
    """What a campaign is to do."""

    kills: int
    seed: int
    commands: int  # kills of the `facesweep` command; the others meet a driver of the same units
    objects: int = 120  # of one run
    qps: int = 60  # of each provider
    faults: int = 1  # of each kind and provider, in each run


@dataclass
class Result:
    """What a campaign has done and found."""

    plan: Plan
    account: Account = field(default_factory=Account)
    kills: list[Kill] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def by_moment(self) -> Counter[str]:
        return Counter(kill.moment for kill in self.kills)

    @property
    def of_commands(self) -> int:
        return sum(kill.kind == "command" for kill in self.kills)

    def as_json(self) -> dict[str, Any]:
        return {
            "by_moment": dict(self.by_moment),
            "of_commands": self.of_commands,
            "in_flight": [len(kill.open_calls) for kill in self.kills],
            **self.account.as_json(),
        }


def campaign(
    folder: Path,
    plan: Plan,
    prefect_url: str | None,
    tell: Callable[[str], None] = lambda _: None,
) -> Result:
    """Kill until there are enough kills; every run is then let end, and examined.

    A run that goes on after a kill gets the next moment of a shuffled round, so that all of them come
    up equally often; those that only a beginning has are met while a run is made.
    """
    began = time.monotonic()
    result = Result(plan)
    chance = random.Random(plan.seed)
    moments = _rounds(chance)
    facesweep = Facesweep(folder, prefect_url)
    with emulated(latency_ms=LATENCY_MS, seed=plan.seed) as emulators, stable(facesweep) as drivers:
        number = 0
        while len(result.kills) < plan.kills and not result.account.broken:
            number += 1
            with _world(folder / f"world-{number:03}", emulators, facesweep, plan) as world:
                siege = _Siege(world, drivers, result, moments, chance)
                with Reader(world.home) as reader:
                    run_id = siege.lay()
                result.account += examine(world, run_id, siege.kills, reader.opened, reader.damaged)
            tell(
                f"{len(result.kills)} of {plan.kills} kills, {number} runs, {time.monotonic() - began:.0f} s"
            )
    result.took_s = time.monotonic() - began
    return result


@contextmanager
def _world(folder: Path, emulators: RunningEmulators, facesweep: Facesweep, plan: Plan) -> Iterator[World]:
    emulators.reset()
    know_keys(emulators)
    for provider in ("tencent", "aliyun"):
        for fault in ("answers_lost", "cut_mid_reply", "http_error", "cut_before_reply"):
            emulators.script(provider, fault=fault, times=plan.faults, after=10)
    yield make_world(folder, emulators, facesweep, plan.objects, plan.qps)
    shutil.rmtree(folder)


def _rounds(chance: random.Random) -> Iterator[Moment]:
    """Every moment of a working run and twice a random one, shuffled, for ever."""
    while True:
        round_ = [*WORKING, at_random(chance, 1.5), at_random(chance, 1.5)]
        chance.shuffle(round_)
        yield from round_


class _Siege:
    """One run of one world, killed until the campaign has enough or the run is done."""

    def __init__(
        self, world: World, drivers: Stable, result: Result, moments: Iterator[Moment], chance: random.Random
    ) -> None:
        self._world, self._drivers, self._result = world, drivers, result
        self._moments, self._chance = moments, chance
        self.kills: list[Kill] = []

    def lay(self) -> str:
        """The id of the run, which is done when this returns."""
        for moment in cycle([self._chance.choice(BEGINNINGS), None]):
            run_id = f"run-{len(self.kills)}"
            self._begin(run_id, moment)
            if self._world.record(run_id).exists():
                break
        moments = chain([FIRST], self._moments)
        while books_of(self._world.record(run_id))["status"] != "done":
            self._go_on(run_id, moments)
            moments = self._moments
        return run_id

    @property
    def _wanted(self) -> int:
        return self._result.plan.kills - len(self._result.kills)

    def _begin(self, run_id: str, moment: Moment | None) -> None:
        victim = self._drivers.drive(do="begin", spec=self._world.spec, run_id=run_id)
        self._meet(victim, run_id, iter([moment] if moment else []))

    def _go_on(self, run_id: str, moments: Iterator[Moment]) -> None:
        if self._wanted and self._result.of_commands < self._result.plan.commands:
            with_server = self._result.of_commands % OWN_SERVER_EVERY == OWN_SERVER_EVERY - 1
            victim = self._drivers.command("resume", self._world.home, own_server=with_server)
        else:
            victim = self._drivers.drive(do="go on", home=self._world.home, run_id=run_id)
        self._meet(victim, run_id, moments if self._wanted else iter([]))

    def _meet(self, victim: Victim, run_id: str, moments: Iterator[Moment]) -> None:
        """Kill the victim at the first of the moments that comes; if none does, wait for its end."""
        scene = Scene(self._world, run_id, victim)
        try:
            while victim.is_alive and (moment := next(moments, None)):
                if wait_for(scene, moment, PATIENCE_S):
                    self._note(victim, run_id, moment)
                    return
        finally:
            scene.close()
        status = victim.ended(ENDS_WITHIN_S)
        if status != 0:
            raise AssertionError(f"a process that was not killed ended with status {status}:\n{victim.said}")

    def _note(self, victim: Victim, run_id: str, moment: Moment) -> None:
        kill = seen(self._world, run_id, moment.name, victim.kind)
        self.kills.append(kill)
        self._result.kills.append(kill)


def table(result: Result) -> str:
    """The summary as lines of text."""
    found = result.account
    rows: list[tuple[str, object]] = [
        *sorted(result.by_moment.items()),
        ("kills", len(result.kills)),
        ("  of these, of the facesweep command", result.of_commands),
        ("runs", found.runs),
        ("questions", found.questions),
        ("rows", found.rows),
        ("calls", found.calls),
        ("answers delivered", found.answers_delivered),
        ("calls in flight at the kills", found.most_repeated),
        ("calls repeated", found.repeated_calls),
        ("rows with billed = unknown", found.unknown_billing),
        ("files read meanwhile", found.files_opened),
        ("answers lost", found.answers_lost),
        ("questions with two rows", found.rows_twice),
        ("questions without a row", found.rows_missing),
        ("repeated and not marked", found.unmarked),
        ("partial files seen", found.partial_files),
        ("promises broken", len(found.broken)),
        ("seed", result.plan.seed),
        ("time", f"{result.took_s:.0f} s"),
        ("machine", f"{os.cpu_count()} CPUs, {platform.platform()}, Python {platform.python_version()}"),
        ("date", f"{datetime.now(UTC):%Y-%m-%d}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
