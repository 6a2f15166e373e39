"""Lanes: when the next call to one provider account may leave."""

import asyncio
import contextlib
import math
from collections import deque

from aiolimiter import AsyncLimiter

from tasks.pacing.deadline import Deadline

LEAST_GUARD_S = 0.020
"""The arrival jitter a lane allows for while nothing is turned away.

Without a network, arrivals spread over 16 ms at caps of 5 and 10 per second (`benchmarks/lanes.py`): that is
the event loop's and the machine's own. More would cost cap: 20 ms leave 97.5 % of it.
"""

MOST_GUARD_S = 9.0
"""A lane never falls below a tenth of its cap: one call in ten still finds out that a storm is over."""

CATCH_UP_S = 0.005
"""How late a timer may fire without the call it delays being lost for good."""

QUIET_S = 60.0
"""A lane that was not turned away for so long halves its guard."""

AT_THE_GATE_S = 0.1
"""Calls ready to leave, in seconds of the cap: enough to announce them in time, few enough to be honest.

An announced call that a crash cuts short counts as one that may have been billed.
"""

NEVER = Deadline(None)

WINDOW_S = 10.0
"""The stretch over which `recent_rate_per_s` is taken."""


class Lane:
    """The pace of one provider account: no second of the provider's clock holds more than its cap.

    We space departures; the provider counts arrivals, and the network moves them by up to the guard
    `g`. A leaky bucket of capacity `B` and leak `r` lets fewer than `r·w + B` calls through any
    stretch `w`. A provider's second collects what left within `1 + g` seconds, so the promise
    `r·(1 + g) + B <= cap + 1` keeps it at the cap or below. `B` is one call and the few that late
    timers cost (`CATCH_UP_S` of the cap), which leaves `r = cap·(1 - CATCH_UP_S) / (1 + g)`: 97.5 %
    of the cap at the least guard, at any cap. (`AsyncLimiter(cap, 1)` would let almost twice the cap
    into its first second.)

    A provider that turns calls away moves the guard: doubled at each storm, halved after each quiet
    minute. Calls leave in the order in which they asked. Belongs to the event loop it is first used in.

    `gate` is held from a call's announcement until it leaves, so that few calls are announced early.
    """

    def __init__(self, cap_per_s: int, guard_s: float = LEAST_GUARD_S, deadline: Deadline = NEVER) -> None:
        """`cap_per_s`: calls the provider accepts in a second, at least 1. `deadline`: the end of departures.

        Raises:
            ValueError: the cap or the guard is out of range.
        """
        if cap_per_s < 1:
            raise ValueError(f"a lane needs a cap of at least 1 call per second, not {cap_per_s}")
        if not 0 <= guard_s <= MOST_GUARD_S:
            raise ValueError(f"a lane's guard is 0 to {MOST_GUARD_S} s, not {guard_s}")
        self.cap_per_s = cap_per_s
        self.guard_s = guard_s
        self.admitted = 0
        self.turned_away = 0
        self._least_guard_s = guard_s
        self.gate = asyncio.Semaphore(1 + math.ceil(cap_per_s * AT_THE_GATE_S))
        self._limiter = self._bucket()
        self._turn = asyncio.Lock()
        self._paused_until = 0.0
        self._quiet_since = 0.0
        self._recent: deque[float] = deque()
        self._deadline = deadline
        self._closed = asyncio.Event()  # nobody new is let in
        self._shut = asyncio.Event()  # nobody leaves
        self._closed_by: Exception | None = None

    @property
    def rate_per_s(self) -> float:
        """The steady rate at which calls leave at the present guard."""
        return self.cap_per_s * (1 - CATCH_UP_S) / (1 + self.guard_s)

    @property
    def recent_rate_per_s(self) -> float:
        """Calls that left in the last ten seconds, per second."""
        now = asyncio.get_running_loop().time()
        self._forget(now)
        if not self._recent:
            return 0.0
        stretch_s = min(WINDOW_S, max(now - self._recent[0], 1.0))
        return len(self._recent) / stretch_s

    async def admit(self) -> None:
        """Return when the next call may leave; the caller sends it at once.

        Raises: what `close` was given, or what the deadline means: no further call may leave.
        """
        loop = asyncio.get_running_loop()
        async with self._turn:
            while True:
                await self._wait(self._shut, self._paused_until - loop.time())
                await self._narrow(loop.time())
                await self._limiter.acquire()
                if passed := self._deadline.passed():
                    self.close(passed)
                self._check(self._shut)
                if loop.time() >= self._paused_until:  # else held back while it waited: its turn comes later
                    break
            now = loop.time()
            self.admitted += 1
            self._recent.append(now)
            self._forget(now)

    def throttle(self, retry_after_s: float) -> None:
        """A call was turned away: hold everybody back for `retry_after_s` and widen the guard.

        Calls in flight together are turned away together: while the lane is already held back, a
        further one only lengthens the wait.
        """
        now = asyncio.get_running_loop().time()
        self.turned_away += 1
        if now >= self._paused_until:
            self.guard_s = min(MOST_GUARD_S, max(2 * self.guard_s, LEAST_GUARD_S))
            self._limiter = self._bucket()
        self._paused_until = max(self._paused_until, now + retry_after_s)
        self._quiet_since = self._paused_until

    def close(self, error: Exception, *, announced_may_leave: bool = False) -> None:
        """Let no further call leave: whoever waits, now or later, gets `error`. Calls on the way go on.

        With `announced_may_leave`, those who are past `check_open` still leave. The first error stays.
        """
        if self._closed_by is None:
            self._closed_by = error
        self._closed.set()
        if not announced_may_leave:
            self._shut.set()

    def check_open(self) -> None:
        """To be called before a call is announced.

        Raises: what `close` was given.
        """
        self._check(self._closed)

    async def rest(self, wait_s: float) -> None:
        """Wait, but not beyond the lane's closing.

        Raises: what `close` was given.
        """
        await self._wait(self._closed, wait_s)

    async def _wait(self, end: asyncio.Event, wait_s: float) -> None:
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), wait_s)
        self._check(end)

    def _check(self, end: asyncio.Event) -> None:
        if end.is_set() and self._closed_by is not None:
            raise self._closed_by.with_traceback(None)  # else each of a thousand waiters adds its frames

    async def _narrow(self, now: float) -> None:
        if self.guard_s > self._least_guard_s and now - self._quiet_since >= QUIET_S:
            self.guard_s = max(self._least_guard_s, self.guard_s / 2)
            self._quiet_since = now
            self._limiter = self._bucket()
            await self._limiter.acquire()  # a new bucket is empty: the call before filled the old one

    def _bucket(self) -> AsyncLimiter:
        capacity = 1 + self.cap_per_s * CATCH_UP_S
        return AsyncLimiter(capacity, capacity / self.rate_per_s)

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0] <= now - WINDOW_S:
            self._recent.popleft()

    def __repr__(self) -> str:
        return (
            f"<Lane {self.rate_per_s:.2f} of {self.cap_per_s}/s, guard {self.guard_s * 1000:.0f} ms, "
            f"{self.admitted} admitted, {self.turned_away} turned away>"
        )
