"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], is_there: Callable[[T], bool], patience_s: float = 60.0) -> T:
    """What `look` sees once `is_there` is true of it. Raises AssertionError with the last sight."""
    deadline = time.monotonic() + patience_s
    while not is_there(seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not there after {patience_s} s, but: {seen}")
        time.sleep(0.05)
    return seen
