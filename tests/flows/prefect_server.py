"""A real Prefect server, shared by all test processes; the last one ends it."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from tests.contract.store_servers import unused_url
from tests.flows.once import alone

STARTS_WITHIN_S = 100

_started: list[subprocess.Popen[bytes]] = []  # may outlive this process, so nobody here waits for them


@contextmanager
def shared_server(folder: Path) -> Iterator[str]:
    """The API url of a server whose files are in `folder`; started by whoever comes first."""
    folder.mkdir(exist_ok=True)
    running = folder / "server"
    with (folder / "used").open("a") as used:
        with alone(folder / "starting"):
            fcntl.flock(used, fcntl.LOCK_SH)
            if not running.exists():
                url, process_id = _start(folder)
                running.write_text(f"{url} {process_id}")
        url, process_id_text = running.read_text().split()
        try:
            yield f"{url}/api"
        finally:
            with alone(folder / "starting"):
                try:
                    fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # somebody else still uses it
                else:
                    os.killpg(int(process_id_text), signal.SIGTERM)
                    running.unlink()


def _start(folder: Path) -> tuple[str, int]:
    url = unused_url()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # What the product's own server is told: with the defaults, rows of short runs go missing.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # How soon the slots of a dead process come back once its lease has run out; 15 s otherwise.
        "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "2",
    }
    host, port = "127.0.0.1", url.rpartition(":")[2]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", port],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _started.append(process)
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not _is_healthy(url):
        if process.poll() is not None or time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            raise RuntimeError(
                f"Prefect's server did not start: {(folder / 'server.log').read_text()[-2000:]}"
            )
        time.sleep(0.1)
    return url, process.pid


def _is_healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/api/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
