"""How late this machine wakes whoever sleeps: a busy one bunches calls behind the back of any lane."""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

SLEEP_S = 0.005
NEAR_S = 1.0


class Lateness:
    """Moments and how late a sleeper was woken at each. Made by `measured`."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []  # unix seconds, seconds too late
        self._over = threading.Event()

    def measure(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(SLEEP_S)
            self.samples.append((time.time(), time.monotonic() - began - SLEEP_S))

    def stop(self) -> None:
        self._over.set()


@contextmanager
def measured() -> Iterator[Lateness]:
    """Measured by a thread while the block runs."""
    lateness = Lateness()
    thread = threading.Thread(target=lateness.measure, daemon=True)
    thread.start()
    try:
        yield lateness
    finally:
        lateness.stop()
        thread.join()


def most_within_a_second(arrivals: Sequence[float], samples: Sequence[Sequence[float]]) -> int:
    """The most arrivals in any second that no lateness of this machine explains.

    A call may be late when it leaves and again when it is seen to arrive: of two that left a second apart the
    first may arrive twice the lateness nearer to the second.
    """
    arrivals, moments = sorted(arrivals), [at for at, _ in samples]
    most = 0
    for first, at in enumerate(arrivals):
        near = samples[bisect_left(moments, at - NEAR_S) : bisect_right(moments, at + 1 + NEAR_S)]
        late_s = 2 * max((late for _, late in near), default=0.0)
        most = max(most, bisect_left(arrivals, at + 1 - late_s) - first)
    return most
