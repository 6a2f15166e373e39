"""Child processes that leave Ctrl-C to us and never outlive us."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

# PR_SET_PDEATHSIG: the kernel ends the child with its parent, kill -9 of the parent included. Where there is
# no prctl the child ends with a parent that ends in an orderly way.
_UNTIL_THE_PARENT_DIES = """\
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (AttributeError, OSError):
    pass
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def start_python(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """This Python in a session of its own, ended by the kernel when the calling thread's process dies.

    To be called on the main thread: the kernel watches the thread that starts a child.
    """
    return subprocess.Popen(  # noqa: S603 - our own modules, no input of anybody's
        [sys.executable, "-c", _UNTIL_THE_PARENT_DIES, *arguments],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[bytes], patience_s: float = 5.0) -> None:
    """Ask the child to end; insist when its patience is over."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
