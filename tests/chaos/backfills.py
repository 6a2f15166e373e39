"""A backfill over several workers in which somebody is killed every few seconds, until it is done."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import emulated, folder_of_many_faces
from tests.flows.facesweep_process import Facesweep, Running
from tests.flows.workers import Pool, Worker, pool

OBJECTS, QPS, WORKERS = 1200, 20, 3
BETWEEN_KILLS_S = (15.0, 40.0)
DONE_WITHIN_S = 1800.0

VICTIMS = ("worker and flow run", "flow run", "worker", "coordinator")


@dataclass
class Outcome:
    """What became of it."""

    kills: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0
    calls: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        killed = ", ".join(f"{count} × {name}" for name, count in sorted(self.kills.items()))
        return (
            f"a backfill of {OBJECTS:,} questions over {WORKERS} workers: {self.took_s:.0f} s, "
            f"{self.calls:,} calls; killed: {killed or 'nobody'}"
        )


def besieged(folder: Path, prefect_url: str, seed: int, tell: Callable[[str], None]) -> Outcome:
    """One backfill under fire, and which promises it broke."""
    folder.mkdir()
    folder_of_many_faces(folder / "source", OBJECTS)
    chance, outcome = random.Random(seed), Outcome()
    with emulated(latency_ms=100) as emulators:
        facesweep = Facesweep(folder, prefect_url)
        spec = facesweep.spec(
            source={"url": "source"}, tencent={"qps": QPS, "endpoint": emulators.tencent_url}
        )
        with pool(f"siege-{seed}", facesweep.environment, folder) as workers:
            workers.start(WORKERS)
            began = time.monotonic()

            def coordinator() -> Running:
                arguments = ("--run-id", f"siege-{seed}", "--shard-minutes", "0.01")
                return facesweep.start(
                    "backfill", spec, "--yes", *arguments, "--deployment", workers.deployment
                )

            _siege(coordinator, workers, chance, outcome, tell)
            outcome.took_s = time.monotonic() - began
        _judge(folder / "home", emulators, outcome)
    return outcome


def _siege(
    coordinator: Callable[[], Running],
    workers: Pool,
    chance: random.Random,
    outcome: Outcome,
    tell: Callable[[str], None],
) -> None:
    give_up_at = time.monotonic() + DONE_WITHIN_S
    running = coordinator()
    try:
        while time.monotonic() < give_up_at:
            kill_at = time.monotonic() + chance.uniform(*BETWEEN_KILLS_S)
            while running.process.poll() is None and time.monotonic() < kill_at:
                time.sleep(0.2)
            if running.process.poll() is not None:
                break
            victim = chance.choice(VICTIMS)
            tell(f"killing: {victim}")
            outcome.kills[victim] += 1
            if victim == "coordinator":
                running.signal(signal.SIGKILL)
                running.process.wait(10)
                running = coordinator()
            else:
                _kill(chance.choice([each for each in workers.workers if each.is_alive]), victim)
                missing = WORKERS - sum(each.is_alive for each in workers.workers)
                workers.start(missing)
        status = running.process.poll()
        if status != 0:
            outcome.broken.append(f"it ended with status {status}: {running.err[-500:]}")
    finally:
        running.signal(signal.SIGKILL)
        running.process.wait(10)


def _kill(worker: Worker, victim: str) -> None:
    if victim == "worker and flow run":
        worker.kill()
    elif victim == "worker":
        worker.process.kill()
        worker.process.wait(10)
    else:
        for process_id in worker.descendants():
            os.kill(process_id, signal.SIGKILL)


def _judge(home: Path, emulators: RunningEmulators, outcome: Outcome) -> None:
    calls = emulators.calls("tencent")
    outcome.calls = len(calls)
    record = verdict_rows.records(home)[0]
    books = verdict_rows.books(record)
    rows = Counter(row["question_id"] for row in verdict_rows.rows(home))
    if record["status"] != "done" or not books["balanced"] or books["pending"]:
        outcome.broken.append(f"its books: {record['status']}, {books}")
    if len(rows) != OBJECTS or set(rows.values()) != {1}:
        outcome.broken.append(f"{len(rows):,} questions have rows, {sum(rows.values()):,} rows in all")
    again = sum(count - 1 for count in Counter(each["media_sha256"] for each in calls).values())
    deaths = outcome.kills.total() - outcome.kills["coordinator"]
    if again > deaths * QPS:  # calls on the way at a death: far less than a second's
        outcome.broken.append(f"{again:,} calls were made twice after {deaths} deaths")
