"""A process that works on one shard of a backfill, without Prefect: `python -m tests.flows.shard_process`.

Its argument is a `Task` as JSON. It prints how the shard ended, by its record, or what was said no to.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

from domain.budgets import Budget
from domain.errors import FacesweepError
from domain.runs import RunKind
from domain.verdicts import Provider
from tasks.candidates import Selection, plan
from tasks.records import run_record, shard_record
from tasks.records.home import Home
from tasks.records.run_record import RunRecord
from tasks.units.draft import adopt, draft_audit
from tasks.units.opening import open_audit, open_home
from tasks.units.shard_books import Rhythm, ShardAttempt
from tasks.units.shard_work import open_shard
from tests.flows.facesweep_process import ROOT

PATIENCE_S = 60.0


class Granted:
    """A claim that nobody contests, until it is lost."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    @property
    def is_held(self) -> bool:
        return not self.lost.is_set()


@dataclass(frozen=True)
class Task:
    """What such a process does."""

    home: str
    run_id: str
    number: int
    attempt: int = 1
    home_endpoint_url: str | None = None
    calls: int | None = None
    publish_every_s: float = 60.0

    @property
    def shard(self) -> ShardAttempt:
        return ShardAttempt(
            self.run_id, Provider.TENCENT, self.number, self.attempt, Budget(calls=self.calls)
        )


async def plan_backfill(
    spec_path: Path, run_id: str, shard_size: int, provider: Provider = Provider.TENCENT
) -> RunRecord:
    """Plan a backfill whose shards have about so many questions."""
    found = open_audit(spec_path)
    async with draft_audit(found.home, found.spec, run_id) as draft:
        rmtree(draft.folder / "plan")
        listing = sorted((draft.folder / "listing").glob("*.parquet"))
        totals = plan(listing, [], {provider: shard_size}, Selection(), draft.folder / "plan")
        record = replace(adopt(replace(draft, totals=totals)), kind=RunKind.BACKFILL)
    run_record.save(found.home, record)
    return record


@contextmanager
def working(environment: dict[str, str], task: Task) -> Iterator["subprocess.Popen[str]"]:
    """A process at work; killed when the block is left, if it has not ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.flows.shard_process", json.dumps(asdict(task))],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the process printed when it ended by itself."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return dict(json.loads(out))


def work(environment: dict[str, str], task: Task) -> dict[str, Any]:
    """Work on a shard to its end."""
    with working(environment, task) as process:
        return ended(process)


async def _work(task: Task) -> dict[str, Any]:
    home: Home = open_home(task.home, task.home_endpoint_url)
    try:
        async with open_shard(home, task.shard, Granted(), Rhythm(task.publish_every_s, 1.0)) as opened:
            return shard_record.to_json(await opened.detect())
    except FacesweepError as error:
        return {"refused": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    json.dump(asyncio.run(_work(Task(**json.loads(sys.argv[1])))), sys.stdout, default=str)
