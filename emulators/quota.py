"""One-second quotas. Time is an argument: the arrival of the call, in seconds by the service's clock."""

from bisect import bisect_left, insort
from typing import Literal

Window = Literal["fixed", "sliding"]

# Arrivals are judged after the request's body is read, so an older one may come after a younger one;
# windows older than this many seconds are forgotten.
_KEPT_S = 600


class Quota:
    """Lets `limit` calls of each owner pass in any one second; 0 lets everything pass.

    `fixed` is the documented rule of Tencent and the likeliest of Aliyun: the first N calls of each
    calendar second pass, the rest are turned away. `sliding` allows no interval of one second with
    more than N passed calls, wherever it starts. Calls turned away count for nothing.
    """

    def __init__(self, limit: int, window: Window = "fixed") -> None:
        if limit < 0:
            raise ValueError(f"a quota is 0 (no limit) or more calls a second, not {limit}")
        if window not in ("fixed", "sliding"):
            raise ValueError(f"a window is fixed or sliding, not {window}")
        self.limit, self.window = limit, window
        self._seconds: dict[str, dict[int, int]] = {}
        self._passed: dict[str, list[float]] = {}

    def admit(self, owner: str, arrived_at: float) -> bool:
        """Whether a call of `owner` that arrived then passes; if so it is counted."""
        if self.limit == 0:
            return True
        if self.window == "fixed":
            return self._admit_fixed(owner, arrived_at)
        return self._admit_sliding(owner, arrived_at)

    def _admit_fixed(self, owner: str, arrived_at: float) -> bool:
        seconds = self._seconds.setdefault(owner, {})
        second = int(arrived_at // 1)
        if seconds.get(second, 0) >= self.limit:
            return False
        seconds[second] = seconds.get(second, 0) + 1
        if len(seconds) > 2 * _KEPT_S:
            for old in [known for known in seconds if known < second - _KEPT_S]:
                del seconds[old]
        return True

    def _admit_sliding(self, owner: str, arrived_at: float) -> bool:
        passed = self._passed.setdefault(owner, [])
        insort(passed, arrived_at)
        place = bisect_left(passed, arrived_at)
        for first in range(max(0, place - self.limit), place + 1):
            last = first + self.limit
            if last < len(passed) and passed[last] - passed[first] < 1.0:
                del passed[place]
                return False
        if passed[0] < arrived_at - 2 * _KEPT_S:
            del passed[: bisect_left(passed, arrived_at - _KEPT_S)]
        return True
