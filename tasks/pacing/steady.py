"""A clock for promises to others: it neither jumps when people set the time nor stands still in a sleep."""

import asyncio
import time


def steady_time() -> float:
    """Seconds by the running loop's clock, and those the machine slept meanwhile.

    A lease runs out on the server while a laptop's lid is closed; the loop's clock alone would not know.
    """
    return asyncio.get_running_loop().time() + _slept_s()


def _slept_s() -> float:
    if not hasattr(time, "CLOCK_BOOTTIME"):  # only Linux counts the time asleep
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
