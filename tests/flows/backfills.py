"""Backfills as the stories begin them, and what can be seen of them."""

import json
from pathlib import Path
from typing import Any

from tests.contract.emulator_process import RunningEmulators
from tests.flows.facesweep_process import Facesweep, Running
from tests.flows.workers import Pool

OBJECTS = 240  # in three shards
QPS = 10


def spec(facesweep: Facesweep, emulators: RunningEmulators, name: str, **tables: dict[str, Any]) -> Path:
    return facesweep.spec(
        name,
        audit={"name": name, "home": name},
        source={"url": "source"},
        tencent={"qps": QPS, "endpoint": emulators.tencent_url},
        **tables,
    )


def begin(
    facesweep: Facesweep, emulators: RunningEmulators, workers: Pool, name: str, **tables: dict[str, Any]
) -> Running:
    arguments = ("--yes", "--run-id", name, "--shard-minutes", "0.01", "--deployment", workers.deployment)
    return facesweep.start("backfill", spec(facesweep, emulators, name, **tables), *arguments)


def calls(emulators: RunningEmulators) -> int:
    return int(emulators.summary("tencent")["total"])


def states(home: Path) -> list[str]:
    """What the shards' records say."""
    paths = sorted(home.glob("runs/*/shards/*.json"))
    return [json.loads(path.read_text())["status"] for path in paths]
