"""The processes that are killed: the `facesweep` command, or a driver of the same units without Prefect."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.flows.facesweep_process import ROOT, Facesweep


class Victim:
    """One process under way, the first of its own session, and whatever it has started."""

    def __init__(self, process_id: int, kind: str, said: Path, reap: Callable[[], int]) -> None:
        """`reap` is called once it has ended, and gives its exit status."""
        self.process_id, self.kind = process_id, kind
        self._said, self._reap = said, reap
        self._end = os.pidfd_open(process_id)
        self._status: int | None = None

    @property
    def is_alive(self) -> bool:
        return self._wait(0) is None

    @property
    def said(self) -> str:
        """What it wrote to stderr."""
        return self._said.read_text()

    def freeze(self) -> None:
        """Stop it where it stands, and return once every process of its group has stopped."""
        self._signal(signal.SIGSTOP)
        while self.is_alive and any(_state(each) not in "TZX" for each in _group(self.process_id)):
            time.sleep(0)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9 to its group and to every descendant, whatever session those are in."""
        if not self.is_alive:
            return
        descendants = children_of(self.process_id)
        self._signal(signal.SIGKILL)
        for each in descendants:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._wait(10)

    def kill_alone(self) -> None:
        """kill -9 to the process itself; its children are left to themselves."""
        os.kill(self.process_id, signal.SIGKILL)
        self._wait(10)

    def ended(self, timeout_s: float) -> int:
        """Its exit status. Raises AssertionError with what it said when it does not end in time."""
        status = self._wait(timeout_s)
        if status is None:
            self.kill()
            raise AssertionError(f"still running after {timeout_s} s:\n{self.said}")
        return status

    def _wait(self, timeout_s: float) -> int | None:
        if self._status is None and select.select([self._end], [], [], timeout_s)[0]:
            os.close(self._end)
            self._status = self._reap()
        return self._status

    def _signal(self, number: int) -> None:
        if self._status is not None:  # its number may be somebody else's by now
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process_id, number)


class Stable:
    """Starts victims."""

    def __init__(self, facesweep: Facesweep) -> None:
        self.facesweep = facesweep
        self._folder = facesweep.folder / "said"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count = 0
        self._driver = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.driver"],
            cwd=ROOT,
            env=facesweep.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def process_id(self) -> int:
        """Of the process that forks the drivers."""
        return self._driver.pid

    def drive(self, **task: Any) -> Victim:
        """A process that does `task`; see tests.chaos.driver."""
        said = self._new_file("units")
        child = self._tell(said=str(said), **task)

        def reap() -> int:
            return os.waitstatus_to_exitcode(self._tell(do="reap", child=child))

        return Victim(child, "units", said, reap)

    def command(self, *arguments: object, own_server: bool = False) -> Victim:
        """`facesweep` with these arguments; perhaps with a Prefect server of its own, whatever is running."""
        environment = dict(self.facesweep.environment)
        if own_server:
            environment.pop("PREFECT_API_URL", None)
        said = self._new_file("command")
        with said.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows", *map(str, arguments)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
            )
        return Victim(process.pid, "command", said, process.wait)

    def close(self) -> None:
        self._driver.communicate()

    def _new_file(self, kind: str) -> Path:
        self._count += 1
        said = self._folder / f"{self._count:04}-{kind}"
        said.touch()
        return said

    def _tell(self, **task: Any) -> int:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(task, default=str) + "\n")
        self._driver.stdin.flush()
        return int(self._driver.stdout.readline())


@contextmanager
def stable(facesweep: Facesweep) -> Iterator[Stable]:
    """A stable that is closed when the block is left."""
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


def children_of(process_id: int) -> list[int]:
    """The process's children, and theirs."""
    processes = _processes()
    found: list[int] = []
    generation = [process_id]
    while generation:
        generation = [each for each, stat in processes.items() if int(stat[1]) in generation]
        found += generation
    return found
