"""The flow of one shard at a real Prefect server: its claim, its ends, what Prefect is told of them."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domain.runs import ShardStatus, Wanted
from domain.verdicts import Provider
from tasks.records import control, shard_record
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.units.opening import open_audit
from tests.contract.emulator_process import RunningEmulators
from tests.flows.faces import folder_of_faces
from tests.flows.facesweep_process import ROOT, SECRETS, Facesweep
from tests.flows.in_process import asked_about, write_spec
from tests.flows.patience import until
from tests.flows.shard_process import plan_backfill

pytestmark = pytest.mark.anyio

RUN = "years"
STORY = """
import asyncio, json, sys
from domain.verdicts import Provider
from flows.backfill import shard
from tasks.units.backfill.claims import shard_claim
from tasks.units.leases import ensure_limit

async def main(parameters):
    name = shard_claim(parameters["run_id"], Provider(parameters["provider"]), parameters["number"])
    await ensure_limit(name)
    state = await shard(**parameters, return_state=True)
    print(json.dumps({"type": state.type, "message": state.message}))

asyncio.run(main(json.loads(sys.argv[1])))
"""


async def a_backfill(tmp_path: Path, emulators: RunningEmulators, run_id: str, qps: int = 20) -> Home:
    folder_of_faces(tmp_path / "source", 20)
    tables: dict[str, Any] = {"tencent": {"qps": qps, "endpoint": emulators.tencent_url}}
    spec = write_spec(tmp_path / "kyc.toml", source={"url": "source"}, **tables)
    await plan_backfill(spec, run_id, 10)
    return open_audit(spec).home


def start(tmp_path: Path, prefect_url: str, run_id: str, number: int, **more: Any) -> "subprocess.Popen[str]":
    parameters = {
        "home_url": str(tmp_path / "home"),
        "run_id": run_id,
        "provider": "tencent",
        "number": number,
    }
    return subprocess.Popen(
        [sys.executable, "-c", STORY, json.dumps(parameters | more)],
        cwd=ROOT,
        env=Facesweep(tmp_path, prefect_url).environment | {"PREFECT_LOGGING_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """The type of the flow run's last state, and its message."""
    out, err = process.communicate(timeout=120)
    assert out, err
    assert not any(secret in out + err for secret in SECRETS)
    state = json.loads(out.splitlines()[-1])
    return state["type"], state["message"]


async def test_the_flow_of_a_shard_ends_as_its_shard_does(
    tmp_path: Path, emulators: RunningEmulators, prefect_url: str
) -> None:
    """Done, out of its allowance, done already, paused: Prefect is told in one sentence."""
    home = await a_backfill(tmp_path, emulators, "ends")
    assert end(start(tmp_path, prefect_url, "ends", 1)) == (
        "COMPLETED",
        "shard 1 of tencent in run ends: 10 questions settled",
    )
    assert end(start(tmp_path, prefect_url, "ends", 2, calls=4)) == (
        "FAILED",
        "the budget of 4 calls is spent",
    )
    assert end(start(tmp_path, prefect_url, "ends", 1, attempt=2)) == (
        "COMPLETED",
        "shard 1 of tencent in run ends was done already",
    )
    control.save(home, "ends", Control(Wanted.PAUSE, by="ops@audit-1"))
    assert end(start(tmp_path, prefect_url, "ends", 2, attempt=2)) == (
        "CANCELLED",
        "run ends was paused by ops@audit-1",
    )
    statuses = [each.status for each in shard_record.list_shards(home, "ends")]
    assert statuses == [ShardStatus.DONE, ShardStatus.INTERRUPTED]
    assert len(asked_about(emulators)) == 14


async def test_sigterm_lets_the_calls_on_the_way_come_home_and_the_next_attempt_goes_on(
    tmp_path: Path, emulators: RunningEmulators, prefect_url: str
) -> None:
    """A worker that is shut down sends it; while the first one works, a second one waits for the claim."""
    home = await a_backfill(tmp_path, emulators, "stopped", qps=2)
    first = start(tmp_path, prefect_url, "stopped", 1)
    until(lambda: emulators.summary("tencent")["total"], lambda total: int(total) >= 2)
    second = start(tmp_path, prefect_url, "stopped", 1, attempt=2)
    until(lambda: emulators.summary("tencent")["total"], lambda total: int(total) >= 4)
    record = shard_record.load(home, "stopped", Provider.TENCENT, 1)
    assert record is not None
    assert (record.attempt, record.status) == (1, ShardStatus.WORKING)
    first.send_signal(signal.SIGTERM)
    assert end(first) == ("CANCELLED", "the run was asked to stop")
    assert end(second)[0] == "COMPLETED"
    assert len(asked_about(emulators)) == 10  # nothing cut, nothing asked twice
