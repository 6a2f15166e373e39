"""Prefect workers as real processes on a pool of their own, and the deployment whose runs they take."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.flows.facesweep_process import ROOT
from tests.flows.patience import until

PARAMETERS: dict[str, Any] = {"type": "object", "title": "Parameters", "properties": {}}


class Worker:
    """`prefect worker start`, one flow run at a time, in a session of its own."""

    def __init__(self, name: str, pool: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "prefect", "worker", "start"),
                    *("--pool", pool, "--name", name, "--type", "process", "--limit", "1"),
                ],
                env=environment | {"PREFECT_WORKER_QUERY_SECONDS": "2"},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def descendants(self) -> list[int]:
        """The processes that it started, and those that they started."""
        return _descendants(self.process.pid)

    def kill(self) -> None:
        """SIGKILL to the worker and to all that it started, at once."""
        for process_id in [self.process.pid, *self.descendants()]:
            os.kill(process_id, signal.SIGKILL)
        self.process.wait(10)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


class Pool:
    """A work pool with workers, and a deployment of the flow `shard` on it, of the same name."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.name, self.environment, self.folder = name, environment, folder
        self.workers: list[Worker] = []
        asyncio.run(_deploy(name, environment["PREFECT_API_URL"]))

    @property
    def deployment(self) -> str:
        return f"shard/{self.name}"

    def start(self, count: int = 1) -> list[Worker]:
        """So many more workers; they are at the server's when this returns."""
        started = []
        for _ in range(count):
            number = len(self.workers) + 1
            started.append(Worker(f"w{number}", self.name, self.environment, self.folder / "workers"))
            self.workers.append(started[-1])
        names = {each.name for each in started}
        until(lambda: names - set(self.online()), lambda missing: not missing, 90)
        return started

    def online(self) -> list[str]:
        """Names of the workers that the server takes for living."""
        reply = self._ask(f"work_pools/{self.name}/workers/filter", {})
        return [each["name"] for each in reply if each["status"] == "ONLINE"]

    def runs(self) -> list[dict[str, Any]]:
        """The flow runs of the pool's deployment, oldest first."""
        chosen = {"deployments": {"name": {"any_": [self.name]}}, "sort": "START_TIME_ASC"}
        return list(self._ask("flow_runs/filter", chosen))

    def _ask(self, what: str, body: dict[str, Any]) -> Any:
        url = f"{self.environment['PREFECT_API_URL']}/{what}"
        return httpx.post(url, json=body, timeout=30).raise_for_status().json()


@contextmanager
def pool(name: str, environment: dict[str, str], folder: Path) -> Iterator[Pool]:
    """A pool whose workers end with the block. `environment` is that of `facesweep`'s processes."""
    made = Pool(name, environment, folder)
    try:
        yield made
    finally:
        for worker in made.workers:
            if worker.is_alive:
                worker.kill()


async def _deploy(name: str, url: str) -> None:
    with temporary_settings({PREFECT_API_URL: url}):
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            await client.create_deployment(
                flow_id=await client.create_flow_from_name("shard"),
                name=name,
                work_pool_name=name,
                entrypoint="flows/backfill.py:shard",
                path=str(ROOT),
                pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
                parameter_openapi_schema=PARAMETERS,
                enforce_parameter_schema=False,
            )


def _descendants(process_id: int) -> list[int]:
    """Processes that a process started, and those started in turn."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children")
    found = []
    for each in children.read_text().split() if children.exists() else []:
        found += [int(each), *_descendants(int(each))]
    return found
