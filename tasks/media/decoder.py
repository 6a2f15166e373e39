"""The child's side of `workers`: reads jobs from stdin, a socket, until it ends; answers each.

A message is its length in 8 bytes, most significant first, and a pickle. A job is
`(memory_bytes, alarm_s, job, args)`; an answer is `(result, None)` or `(None, exception)`.
"""

import contextlib
import os
import pickle
import resource
import signal
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from domain.errors import Unfit

LENGTH_BYTES = 8
_NICENESS = 10


def answer() -> None:
    """The job that only asks whether a child lives."""


def serve() -> None:
    """Answer jobs until the parent closes the socket or is gone."""
    os.nice(_NICENESS)
    warnings.simplefilter("ignore")  # decoders warn about foreign bytes; here these become rows, not lines
    Image.MAX_IMAGE_PIXELS = None  # pictures.check_pixels counts, and knows draft scaling
    base_bytes = _address_space_bytes()
    with (
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
        socket.socket(fileno=0) as line,
        line.makefile("rwb") as messages,
    ):
        while header := messages.read(LENGTH_BYTES):
            request = messages.read(int.from_bytes(header))
            if len(request) < int.from_bytes(header):
                return
            reply = _answer(request, base_bytes)
            messages.write(len(reply).to_bytes(LENGTH_BYTES) + reply)
            messages.flush()


def _answer(request: bytes, base_bytes: int) -> bytes:
    memory_bytes, alarm_s, job, args = pickle.loads(request)  # noqa: S301 -- from our parent
    answer: tuple[object, Exception | None]
    try:
        answer = (_bounded(base_bytes + memory_bytes, alarm_s, job, args), None)
    except MemoryError:
        answer = (None, _out_of_memory(memory_bytes))
    except Exception as error:
        answer = (None, error)
    return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)


def _bounded(
    address_space_bytes: int, alarm_s: float, job: Callable[..., object], args: tuple[object, ...]
) -> object:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):  # not every system bounds address space
        resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, hard))
    signal.setitimer(signal.ITIMER_REAL, alarm_s)  # unhandled, SIGALRM ends the process
    try:
        return job(*args)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _out_of_memory(memory_bytes: int) -> Unfit:
    return Unfit("out_of_memory", f"decoding takes more than {memory_bytes // 1024**2} MiB")


def _address_space_bytes() -> int:
    """What the child takes for itself, before any job; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
