"""Processes: the emulated providers, and what a child process costs in CPU."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

SERVER_STARTS_WITHIN_S = 120.0

KEYS = {
    "TENCENTCLOUD_SECRET_ID": "AKIDEXAMPLE",
    "TENCENTCLOUD_SECRET_KEY": "EXAMPLE-secret-key-not-real",
}
"""Of the emulated account; they open nothing anywhere else."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process cost, from its start to its end."""

    own_s: float  # CPU of the process, user and system; in ticks of 10 ms
    children_s: float  # CPU of the processes it started and waited for
    output: str

    @property
    def whole_s(self) -> float:
        return self.own_s + self.children_s


def run(module: str, arguments: Sequence[object], environment: Mapping[str, str] | None = None) -> Spent:
    """Run `python -m module arguments` to its end.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **KEYS, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        # Ended and not yet reaped: only now do its own and its children's times stand still, apart.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        times = (
            Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:15]
        )
        status = process.wait()
    if status != 0:
        raise RuntimeError(f"{module} ended with status {status}:\n{output}")
    user, system, children_user, children_system = (int(ticks) / TICKS_PER_S for ticks in times)
    return Spent(user + system, children_user + children_system, output)


class Emulator:
    """The emulated Tencent service of one process."""

    def __init__(self, url: str, process_id: int) -> None:
        self.url, self._process_id = url, process_id

    def control(self, what: str) -> Any:
        with urlopen(f"{self.url}/_emulator/{what}", timeout=120) as response:
            return json.loads(response.read())

    @property
    def cpu_s(self) -> float:
        """CPU it has taken so far."""
        stat = Path(f"/proc/{self._process_id}/stat").read_text(encoding="utf-8")
        return sum(int(ticks) for ticks in stat.rpartition(")")[2].split()[11:13]) / TICKS_PER_S


@contextmanager
def running_emulator(qps: int, latency_ms: str, window: str = "fixed") -> Iterator[Emulator]:
    """The emulated Tencent service on a free port; `qps` 0 is no limit."""
    options = ["--tencent-port", "0", "--aliyun-port", "0", "--qps", str(qps), "--window", window]
    with subprocess.Popen(
        [sys.executable, "-m", "emulators", *options, "--latency-ms", latency_ms],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = ""
            for line in process.stdout:
                service, _, address = line.strip().partition(" ")
                if service == "tencent":
                    url = address
                if service == "aliyun":
                    break
            if not url:
                raise RuntimeError("the emulators did not start")
            yield Emulator(url, process.pid)
        finally:
            process.terminate()


@contextmanager
def running_prefect(folder: Path) -> Iterator[str]:
    """A Prefect server on a free port with its files in `folder`; the url of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            url, give_up_at = f"http://127.0.0.1:{port}/api", time.monotonic() + SERVER_STARTS_WITHIN_S
            while not _is_healthy(url):
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise RuntimeError(
                        f"Prefect's server did not start: {(folder / 'server.log').read_text()}"
                    )
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def _is_healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
