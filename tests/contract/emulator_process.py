"""The emulated services as a real process, for tests: start, script, read the log, stop.

with running_emulators(qps=0) as emulators:
    emulators.script("tencent", fault="throttled", times=2)
    ...                                         # the product asks emulators.tencent_url
    assert emulators.summary("tencent")["billed"] == 3
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]


class RunningEmulators:
    """Urls of the services of one process, and its control endpoints. `provider` is a service's name."""

    def __init__(self, urls: dict[str, str], process_id: int) -> None:
        self.urls = urls
        self.process_id = process_id

    @property
    def tencent_url(self) -> str:
        return self.urls["tencent"]

    @property
    def aliyun_url(self) -> str:
        return self.urls["aliyun"]

    def calls(self, provider: str, after: int = 0) -> list[dict[str, Any]]:
        """Every call since start or reset in order of arrival; the fields of emulators.calls.Call."""
        answer = self.control(provider, "GET", f"calls?after={after}")
        return cast("list[dict[str, Any]]", answer["calls"])

    def summary(self, provider: str) -> dict[str, Any]:
        """Totals and the busiest seconds, as emulators.calls.CallLog.summary."""
        return self.control(provider, "GET", "summary")

    def under_way(self, provider: str) -> dict[str, int]:
        """How many calls arrived, wait for their reply, had it delivered; for waiting in a loop."""
        return cast("dict[str, int]", self.control(provider, "GET", "under_way"))

    def script(self, provider: str, **rule: Any) -> None:
        """Add a fault; the fields of emulators.trouble.Trouble, e.g. fault="throttled", times=2."""
        self.control(provider, "POST", "script", rule)

    def settings(self, provider: str, **changes: Any) -> dict[str, Any]:
        """Change qps, window, latency_ms or clock_offset_s while the service runs."""
        return self.control(provider, "PUT", "settings", changes)

    def account(self, provider: str, **fields: Any) -> None:
        """Add or replace a key; the fields of emulators.accounts.Account."""
        self.control(provider, "PUT", "accounts", fields)

    def reset(self) -> None:
        """Both services as they started: empty logs, no script, first settings and keys."""
        for provider in ("tencent", "aliyun"):
            self.control(provider, "POST", "reset")

    def control(self, provider: str, method: str, what: str, value: Any = None) -> dict[str, Any]:
        """One control call. Raises ValueError with the service's sentence when it refuses."""
        body = None if value is None else json.dumps(value).encode()
        request = Request(f"{self.urls[provider]}/_emulator/{what}", data=body, method=method)
        try:
            with urlopen(request, timeout=30) as response:
                return cast("dict[str, Any]", json.loads(response.read()) or {})
        except HTTPError as error:
            with error:
                raise ValueError(json.loads(error.read())["error"]) from None


@contextmanager
def running_emulators(**options: Any) -> Iterator[RunningEmulators]:
    """Start `python -m emulators` on free ports, yield once both listen, stop it at the end.

    Options are those of the command line: `qps=50`, `latency_ms="150-800"`, `window="sliding"`.
    Without any there is no quota and no latency; with `oss_port=0` there is `urls["oss"]`, too.
    Raises RuntimeError with the process's stderr when it does not start or does not end cleanly.
    """
    chosen = {"tencent_port": 0, "aliyun_port": 0, "qps": 0, "latency_ms": 0} | options
    if {"tencent_qps", "aliyun_qps"} & set(options) and "qps" not in options:
        del chosen["qps"]
    arguments = [
        text for name, value in chosen.items() for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            [sys.executable, "-m", "emulators", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        expected = {"tencent", "aliyun"} | ({"oss"} if "oss_port" in options else set())
        urls: dict[str, str] = {}
        try:
            while not expected <= set(urls):
                line = process.stdout.readline()
                if not line:
                    complaints.seek(0)
                    raise RuntimeError(f"the emulators did not start: {complaints.read()}")
                name, url = line.split()
                urls[name] = url
            yield RunningEmulators(urls, process.pid)
        finally:
            process.terminate()
            status = process.wait(10)
        complaints.seek(0)
        text = complaints.read()
        if status != 0 or text:
            raise RuntimeError(f"the emulators ended with status {status}: {text}")
