"""One process per run, and one compaction per home: locks that die with their owner."""

import fcntl
import json
import os
import socket
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from domain.errors import HomeBusy


class ProcessLock:
    """While it is held, no other process of this machine (or of one sharing the folder) holds it.

    The kernel drops the lock with the process, also after kill -9, so there is no stale lock to
    clear away: the file stays, the lock does not. Use as a context manager. `work` is what is done
    while it is held, as the subject of a sentence: `run r1`.

    Raises:
        HomeBusy: another living process holds it; names the work, the process's pid and its host.
    """

    def __init__(self, path: Path, work: str) -> None:
        self.path, self.work = path, work
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise HomeBusy(
                f"{self.work} is being worked on by {holder}: wait until it ends or stop it ({self.path})"
            ) from None
        owner = {"work": self.work, "pid": os.getpid(), "host": socket.gethostname()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        self._descriptor = descriptor
        _held.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also for a child forked this moment
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)


class RunLock(ProcessLock):
    """The lock of whoever works on a run."""

    def __init__(self, path: Path, run_id: str) -> None:
        super().__init__(path, f"run {run_id}")


def _holder(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # it holds the lock and has not yet written who it is


_held: "weakref.WeakSet[ProcessLock]" = weakref.WeakSet()


def _leave_to_parent() -> None:
    # A forked child shares the lock: were it to outlive a killed parent, it would hold the run.
    for lock in list(_held):
        lock._let_go()


os.register_at_fork(after_in_child=_leave_to_parent)
