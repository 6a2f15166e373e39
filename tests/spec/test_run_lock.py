"""One process per run: who works on it, and that nobody is taken for somebody."""

import fcntl
import os
import resource
import signal
import threading
from pathlib import Path

import pytest

from domain.errors import UsageError
from tasks.records.lock import RunLock, worker_of
from tests.spec.test_journal import RUN, child


def take_without_room(path: str) -> None:
    """Takes the lock where no byte can be written, and says whether it has it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with RunLock(Path(path), RUN):
        os.write(1, b"holding" if worker_of(Path(path)) else b"not holding")


def test_nobody_works_on_a_run_that_was_never_opened(tmp_path: Path) -> None:
    assert worker_of(tmp_path / "run.lock") is None
    assert list(tmp_path.iterdir()) == []


def test_whoever_works_on_a_run_is_named(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run.lock", RUN):
        assert worker_of(tmp_path / "run.lock") == f"process {os.getpid()} on {os.uname().nodename}"
    assert worker_of(tmp_path / "run.lock") is None


def test_nobody_works_on_a_run_whose_process_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with child("tests.spec.test_journal.hold_lock", path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert worker_of(path) == f"process {holder.pid} on {os.uname().nodename}"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert worker_of(path) is None


def test_a_glance_at_a_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    """Whoever asks who works on a run holds its lock for an instant."""
    path = tmp_path / "run.lock"
    path.touch()
    with path.open() as glance:
        fcntl.flock(glance, fcntl.LOCK_SH)
        over = threading.Timer(0.05, lambda: fcntl.flock(glance, fcntl.LOCK_UN))
        over.start()
        with RunLock(path, RUN):
            over.join()


def test_a_full_disk_does_not_keep_a_run_from_being_taken(tmp_path: Path) -> None:
    """The lock counts, not the name of its owner, for which there is no room."""
    path = tmp_path / "run.lock"
    path.touch()
    with child("tests.spec.test_run_lock.take_without_room", path) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "holding"
    assert process.returncode == 0


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / ".journal").write_text("in the way")
    with pytest.raises(UsageError, match=r"\.journal/run\.lock cannot be opened"):
        RunLock(tmp_path / ".journal" / "run.lock", RUN).__enter__()
