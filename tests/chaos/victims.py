"""The processes that are killed: the `facesweep` command, or a driver of the same units without Prefect."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.flows.facesweep_process import ROOT, Facesweep


class Victim:
    """One process under way, and whatever it has started."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path, kind: str) -> None:
        self.process, self.kind, self._said = process, kind, said

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        """What it wrote to stderr."""
        return self._said.read_text()

    def freeze(self) -> None:
        """Stop it where it stands, and return once every process of its group has stopped."""
        self._signal(signal.SIGSTOP)
        while self.is_alive and any(_state(each) not in "TZX" for each in _group(self.process.pid)):
            time.sleep(0)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9 to its group and to every descendant, whatever session those are in."""
        descendants = _descendants(self.process.pid)
        self._signal(signal.SIGKILL)
        for each in descendants:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.process.wait(10)

    def ended(self, timeout_s: float) -> int:
        """Its exit status. Raises AssertionError with what it said when it does not end in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout_s} s:\n{self.said}") from None

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Stable:
    """Starts victims. A driver is started ahead of its time and waits: importing takes a second."""

    def __init__(self, facesweep: Facesweep) -> None:
        self.facesweep = facesweep
        self._folder = facesweep.folder / "said"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count = 0
        self._waiting: deque[tuple[subprocess.Popen[bytes], Path]] = deque()

    def drive(self, **task: Any) -> Victim:
        """A driver that does `task`; see tests.chaos.driver."""
        process, said = self._waiting.popleft() if self._waiting else self._driver()
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise AssertionError(f"the driver did not start:\n{said.read_text()}")
        process.stdin.write(json.dumps(task, default=str).encode() + b"\n")
        process.stdin.close()
        process.stdout.close()
        self._waiting.append(self._driver())
        return Victim(process, said, "units")

    def command(self, *arguments: object) -> Victim:
        """`facesweep` with these arguments."""
        return self._start("command", "-m", "flows", *map(str, arguments))

    def _driver(self) -> tuple[subprocess.Popen[bytes], Path]:
        victim = self._start("units", "-m", "tests.chaos.driver")
        return victim.process, victim._said

    def _start(self, kind: str, *arguments: str) -> Victim:
        self._count += 1
        said = self._folder / f"{self._count:04}-{kind}"
        pipe = subprocess.PIPE if kind == "units" else subprocess.DEVNULL
        with said.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.facesweep.environment,
                stdin=pipe,
                stdout=pipe,
                stderr=err,
                start_new_session=True,
            )
        return Victim(process, said, kind)

    def close(self) -> None:
        for process, _ in self._waiting:
            process.kill()
            process.communicate()


@contextmanager
def stable(facesweep: Facesweep) -> Iterator[Stable]:
    """A stable whose waiting drivers are gone when the block is left."""
    found = Stable(facesweep)
    try:
        yield found
    finally:
        found.close()


def _stat(process_id: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on: state, parent, group, …"""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return ["X", "0", "0"]
    return text.rpartition(")")[2].split()


def _state(process_id: int) -> str:
    return _stat(process_id)[0]


def _processes() -> dict[int, list[str]]:
    return {int(each.name): _stat(int(each.name)) for each in Path("/proc").iterdir() if each.name.isdigit()}


def _group(group: int) -> list[int]:
    return [each for each, stat in _processes().items() if int(stat[2]) == group]


def _descendants(process_id: int) -> list[int]:
    processes = _processes()
    found, generation = [], [process_id]
    while generation:
        generation = [each for each, stat in processes.items() if int(stat[1]) in generation]
        found += generation
    return found
