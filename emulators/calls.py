"""The arrival log: every call as the service saw it, and the most calls in any second."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

PHASES = 50  # fixed seconds are judged at every 20 ms of offset


@dataclass(slots=True)
class Call:
    """One call to the API.

    Arrival is when the service's event loop read the first byte of the request, before its headers
    were parsed and its body was read. On a busy loop that is up to one turn of the loop after the
    kernel had the byte.
    """

    number: int  # 1, 2, … in order of arrival since start or reset
    arrived_at: float  # unix seconds by the service's clock (its `clock_offset_s` included)
    arrived_monotonic: float  # seconds; the machine's monotonic clock, the same for all processes
    method: str
    action: str = ""
    key_id: str = ""
    order_no: str = ""  # Aliyun's OuterOrderNo
    delivery: str = ""  # base64 | url | encrypted; empty when the call was refused before
    media_sha256: str = ""  # of the decoded media
    media_bytes: int = 0
    label: str = ""  # the sample marker in the media, if any
    # Success or Tencent's error code; Aliyun's body code or gateway code; http_<status> and cut where a
    # script broke the way before the service; incomplete_request where the client left
    code: str = ""
    verdict: str = ""  # low | mid | high, when the engine gave one
    http_status: int = 0  # 0: no reply was begun
    throttled: bool = False
    trouble: str = ""  # the scripted fault that met this call
    billed: bool = False
    delivered: bool = False  # the whole reply was handed to an open connection
    request_id: str = ""
    replied_monotonic: float = 0.0  # when the reply was handed over, or the connection cut; 0 before


class CallLog:
    """Every call since start or reset, in order of arrival."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def open(self, arrived_at: float, arrived_monotonic: float, method: str) -> Call:
        call = Call(len(self.calls) + 1, arrived_at, arrived_monotonic, method)
        self.calls.append(call)
        return call

    def after(self, number: int) -> list[dict[str, Any]]:
        """The calls with a higher number than this, as JSON."""
        return [asdict(call) for call in self.calls[max(0, number) :]]

    def under_way(self) -> dict[str, int]:
        """How many calls have arrived, still wait for their reply, and had their whole reply delivered.

        Cheap enough to be asked again and again by whoever waits for a moment.
        """
        waiting = sum(not call.replied_monotonic and call.code != "incomplete_request" for call in self.calls)
        return {
            "arrived": len(self.calls),
            "under_way": waiting,
            "delivered": sum(call.delivered for call in self.calls),
        }

    def summary(self) -> dict[str, Any]:
        """Totals, and the most calls in any second, of all arrivals and of those that passed."""
        passed = [call.arrived_at for call in self.calls if not call.throttled]
        orders = [call.order_no for call in self.calls if call.order_no]
        return {
            "total": len(self.calls),
            "throttled": sum(call.throttled for call in self.calls),
            "billed": sum(call.billed for call in self.calls),
            "undelivered": sum(not call.delivered for call in self.calls),
            "order_no_reused": len(orders) - len(set(orders)),
            "arrived": busiest_seconds([call.arrived_at for call in self.calls]),
            "passed": busiest_seconds(passed),
        }


def busiest_seconds(arrivals: Sequence[float]) -> dict[str, int]:
    """The most arrivals in one second, counted in three ways.

    calendar_second: of whole seconds of the clock; fixed_second: of whole seconds at the worst of 50
    offsets; sliding_second: of any interval [t, t + 1 s).
    """
    slots: dict[int, int] = {}
    for arrived in arrivals:
        slot = int(arrived * PHASES // 1)
        slots[slot] = slots.get(slot, 0) + 1
    calendar: dict[int, int] = {}
    for slot, count in slots.items():
        second = slot // PHASES
        calendar[second] = calendar.get(second, 0) + count
    ordered = sorted(slots)
    fixed = within = start = 0
    for slot in ordered:
        within += slots[slot]
        while ordered[start] <= slot - PHASES:
            within -= slots[ordered[start]]
            start += 1
        fixed = max(fixed, within)
    times = sorted(arrivals)
    sliding = 0
    for index, arrived in enumerate(times):
        sliding = max(sliding, index + 1 - bisect_right(times, arrived - 1.0, 0, index + 1))
    return {
        "calendar_second": max(calendar.values(), default=0),
        "fixed_second": fixed,
        "sliding_second": sliding,
    }
