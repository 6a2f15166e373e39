"""One process per run, and one compaction per home: locks that die with their owner."""

import contextlib
import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from domain.errors import HomeBusy, UsageError

GLANCE_S = 0.2  # whoever asks who works on a run holds its lock for microseconds


class ProcessLock:
    """While it is held, no other process of this machine (or of one sharing the folder) holds it.

    The kernel drops the lock with the process, also after kill -9, so there is no stale lock to
    clear away: the file stays, the lock does not. Use as a context manager. `work` is what is done
    while it is held, as the subject of a sentence: `run r1`.

    Raises:
        HomeBusy: another living process holds it; names the work, the process's pid and its host.
        UsageError: the lock's file cannot be made; names it.
    """

    def __init__(self, path: Path, work: str, what: str = "") -> None:
        """`what` somebody else is doing who holds the lock; that the work is worked on, if not given."""
        self.path, self.work = path, work
        self._what = what or f"{work} is being worked on"
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"the lock {self.path} cannot be opened: {error.strerror}") from None
        if not _take(descriptor, fcntl.LOCK_EX, time.monotonic() + GLANCE_S):
            holder = _holder(descriptor)
            os.close(descriptor)
            raise HomeBusy(f"{self._what} by {holder}: wait until it ends or stop it ({self.path})")
        owner = {"work": self.work, "pid": os.getpid(), "host": socket.gethostname()}
        with contextlib.suppress(OSError):  # on a full disk the lock is held all the same
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


def this_process() -> str:
    """This process as `worker_of` names one: `process 4711 on host`."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def is_of_this_machine(worker: str) -> bool:
    """Whether a process named so is, or was, one of this machine."""
    return worker.endswith(f" on {socket.gethostname()}")


def worker_of(path: Path) -> str | None:
    """Who holds the lock in this file, such as `process 4711 on host`; None if nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _take(descriptor, fcntl.LOCK_SH) else _holder(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int, until: float = 0.0) -> bool:
    """Take the lock; whether that was possible at once, or by the moment `until` of the monotonic clock."""
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.01)
        else:
            return True


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
