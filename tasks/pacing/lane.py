"""Lanes: when the next call to one provider account may leave."""

import asyncio
import contextlib
import math
import sys
from collections import deque
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from tasks.pacing.deadline import Deadline
from tasks.pacing.places import Places
from tasks.pacing.steady import steady_time

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

LOOK_AGAIN_S = 1.0
"""The longest a waiting call waits without looking at the budget's time: nobody rings when it is over."""

NEVER = Deadline(None)

WINDOW_S = 10.0
"""The stretch over which `recent_rate_per_s` is taken."""


class Lane:
    """The pace of one provider account: no second of the provider's clock holds more than its cap.

    We space departures; the provider counts arrivals, and the network moves them by up to the guard
    `g`. A leaky bucket of capacity `B` and leak `r` lets fewer than `r·w + B` calls through any
    stretch `w`. A provider's second collects what left within `1 + g` seconds, so the promise
    `r·(1 + g) + B <= share + 1` keeps it at the share or below. `B` is one call and the few that late
    timers cost (`CATCH_UP_S` of the share), which leaves `r = share·(1 - CATCH_UP_S) / (1 + g)`: 97.5 %
    of the share at the least guard, at any share. (`AsyncLimiter(cap, 1)` would let almost twice the cap
    into its first second.)

    The share is the whole cap, or this process's part of it. Shares are whole calls per second, so lanes
    whose shares add up to the cap keep to the cap together. A share may change at any time: the new bucket
    is full when it takes over, so a second around the change holds no more than the larger of the two
    shares, `r·(1 + g) + B` of that one, and the change costs a call at most. A share that has passed to
    another lane must not be used there before `1 + g` seconds are over (`tasks/pacing/shares.py`).

    A provider that turns calls away moves the guard: doubled at each storm, halved after each quiet
    minute. Calls leave in the order in which they asked. Belongs to the event loop it is first used in.

    `gate` is held from a call's announcement until it leaves, so that few calls are announced early.
    """

    def __init__(
        self,
        cap_per_s: int,
        guard_s: float = LEAST_GUARD_S,
        deadline: Deadline = NEVER,
        share_per_s: int | None = None,
    ) -> None:
        """`cap_per_s`: calls the provider accepts in a second, at least 1. `deadline`: the end of departures.
        `share_per_s`: how many of them are ours, at least 0; all of them unless it is given.

        Raises:
            ValueError: the cap, the share or the guard is out of range.
        """
        if not 0 <= guard_s <= MOST_GUARD_S:
            raise ValueError(f"a lane's guard is 0 to {MOST_GUARD_S} s, not {guard_s}")
        self.cap_per_s = _cap(cap_per_s)
        self.share_per_s = _share(cap_per_s if share_per_s is None else share_per_s)
        self.guard_s = guard_s
        self.admitted = 0
        self.turned_away = 0
        self.trouble: str | None = None  # why there is no share just now, for those who watch
        self.gate = Places(self._at_the_gate)
        self._least_guard_s = guard_s
        self._usable_until = math.inf
        self._limiter = self._bucket()
        self._is_new = False  # the bucket, since a call left
        self._left_at = -math.inf
        self._turn = asyncio.Lock()
        self._bell: asyncio.Future[None] | None = None
        self._paused_until = 0.0
        self._quiet_since = 0.0
        self._recent: deque[float] = deque()
        self._waiting = 0
        self._followers: list[Callable[[], None]] = []
        self._deadline = deadline
        self._closed = asyncio.Event()  # nobody new is let in
        self._shut = asyncio.Event()  # nobody leaves
        self._closed_by: Exception | None = None

    @property
    def rate_per_s(self) -> float:
        """The steady rate at which calls leave at the present share and guard."""
        return self.share_per_s * (1 - CATCH_UP_S) / (1 + self.guard_s)

    @property
    def recent_rate_per_s(self) -> float:
        """Calls that left in the last ten seconds, per second."""
        now = asyncio.get_running_loop().time()
        self._forget(now)
        if not self._recent:
            return 0.0
        stretch_s = min(WINDOW_S, max(now - self._recent[0], 1.0))
        return len(self._recent) / stretch_s

    @property
    def waiting(self) -> int:
        """Calls that the pace alone holds back at this moment."""
        return self._waiting + self.gate.queued

    @property
    def is_held_back(self) -> bool:
        """Whether the provider asked for a pause that is not over."""
        return asyncio.get_running_loop().time() < self._paused_until

    def set_share(self, share_per_s: int, usable_until: float = math.inf) -> None:
        """From now on `share_per_s` of the cap are ours: 0 means that calls wait.

        No call leaves from `usable_until` on, by `steady_time`, unless a later moment is set before.

        Raises:
            ValueError: the share is negative.
        """
        _share(share_per_s)
        self._usable_until = usable_until
        if share_per_s != self.share_per_s:
            self.share_per_s = share_per_s
            self._change_bucket()
            self._pace_changed()
        self._ring()

    def set_cap(self, cap_per_s: int) -> None:
        """The account's cap has changed; the share stays what it is until it is set.

        Raises:
            ValueError: the cap is below 1.
        """
        self.cap_per_s = _cap(cap_per_s)
        self._pace_changed()

    def follow(self, follower: Callable[[], None]) -> None:
        """Call `follower` whenever the cap or the share has changed."""
        self._followers.append(follower)

    async def admit(self) -> None:
        """Return when the next call may leave; the caller sends it at once.

        Raises: what `close` was given, or what the deadline means: no further call may leave.
        """
        self._waiting += 1
        try:
            async with self._turn:
                await self._next_turn()
                now = asyncio.get_running_loop().time()
                self._left_at = now
                self.admitted += 1
                self._recent.append(now)
                self._forget(now)
        finally:
            self._waiting -= 1

    def throttle(self, retry_after_s: float) -> None:
        """A call was turned away: hold everybody back for `retry_after_s` and widen the guard.

        Calls in flight together are turned away together: while the lane is already held back, a
        further one only lengthens the wait.
        """
        now = asyncio.get_running_loop().time()
        self.turned_away += 1
        if now >= self._paused_until:
            self._set_guard(min(MOST_GUARD_S, max(2 * self.guard_s, LEAST_GUARD_S)))
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
        self.gate.resize(sys.maxsize)  # nobody waits for a place to hear that it is over
        self._ring()

    def check_open(self) -> None:
        """To be called before a call is announced.

        Raises: what `close` was given.
        """
        self._check(self._closed)

    async def rest(self, wait_s: float) -> None:
        """Wait, but not beyond the lane's closing.

        Raises: what `close` was given.
        """
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), wait_s)
        self._check(self._closed)

    async def _next_turn(self) -> None:
        """Return when the bucket in force has let a call through and nothing else holds it back."""
        while True:
            while (wait_s := self._wait_s()) > 0:
                await self._pause(min(wait_s, LOOK_AGAIN_S))
            limiter = self._limiter
            if self._is_new:
                self._is_new = False
                await limiter.acquire(limiter.max_rate)  # it is empty, so this returns at once
            await limiter.acquire()
            if limiter is self._limiter and self._wait_s() <= 0:
                return

    def _wait_s(self) -> float:
        """How long the next call has to wait for anything but the bucket; 0 when for nothing.

        Raises: as `admit`.
        """
        self._check(self._shut)
        now = asyncio.get_running_loop().time()
        self._narrow(now)
        if not self.share_per_s or steady_time() >= self._usable_until:
            return LOOK_AGAIN_S
        if now < self._paused_until:
            return self._paused_until - now
        if passed := self._deadline.passed():
            self.close(passed)
            self._check(self._shut)
        return 0.0

    async def _pause(self, wait_s: float) -> None:
        """Wait, but not beyond a change of pace or the lane's closing."""
        loop = asyncio.get_running_loop()
        self._bell = bell = loop.create_future()
        timer = loop.call_later(wait_s, _set, bell)
        try:
            await bell
        finally:
            timer.cancel()
            self._bell = None

    def _ring(self) -> None:
        if self._bell is not None:
            _set(self._bell)

    def _check(self, end: asyncio.Event) -> None:
        if end.is_set() and self._closed_by is not None:
            raise self._closed_by.with_traceback(None)  # else each of a thousand waiters adds its frames

    def _narrow(self, now: float) -> None:
        if self.guard_s > self._least_guard_s and now - self._quiet_since >= QUIET_S:
            self._set_guard(max(self._least_guard_s, self.guard_s / 2))
            self._quiet_since = now

    def _set_guard(self, guard_s: float) -> None:
        self.guard_s = guard_s
        self._change_bucket()

    def _change_bucket(self) -> None:
        """From now on the pace is another one."""
        self._limiter = self._bucket()
        # After a second and a guard without a call nothing is left that a later call could add up with.
        self._is_new = asyncio.get_running_loop().time() - self._left_at < 1 + self.guard_s

    def _bucket(self) -> AsyncLimiter:
        share = max(1, self.share_per_s)  # nobody asks the bucket of a share of 0
        capacity = 1 + share * CATCH_UP_S
        return AsyncLimiter(capacity, capacity * (1 + self.guard_s) / (share * (1 - CATCH_UP_S)))

    def _pace_changed(self) -> None:
        if not self._closed.is_set():
            self.gate.resize(self._at_the_gate)
        for follower in self._followers:
            follower()

    @property
    def _at_the_gate(self) -> int:
        return 1 + math.ceil(self.share_per_s * AT_THE_GATE_S) if self.share_per_s else 0

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0] <= now - WINDOW_S:
            self._recent.popleft()

    def __repr__(self) -> str:
        share = "" if self.share_per_s == self.cap_per_s else f", share {self.share_per_s}"
        return (
            f"<Lane {self.rate_per_s:.2f} of {self.cap_per_s}/s{share}, guard {self.guard_s * 1000:.0f} ms, "
            f"{self.admitted} admitted, {self.turned_away} turned away>"
        )


def _cap(cap_per_s: int) -> int:
    if cap_per_s < 1:
        raise ValueError(f"a lane needs a cap of at least 1 call per second, not {cap_per_s}")
    return cap_per_s


def _share(share_per_s: int) -> int:
    if share_per_s < 0:
        raise ValueError(f"a lane's share is 0 calls per second or more, not {share_per_s}")
    return share_per_s


def _set(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)
