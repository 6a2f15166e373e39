"""An event loop whose time a test owns: waiting costs nothing and arithmetic is exact."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


TICK_S = 1e-6
"""What one turn of the loop costs: a clock that stood still would let a timer set for "now" fire for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits and no timer is set: the test would hang")
        self.now += max(timeout, 0) + TICK_S
        return super().select(0)


class MovableClockLoop(asyncio.SelectorEventLoop):
    """`asyncio.sleep(3600)` returns at once, an hour later by this loop's clock."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_on_movable_clock(story: Coroutine[Any, Any, T]) -> T:
    """Run `story` to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=MovableClockLoop) as runner:
        return runner.run(story)
