"""One cap, several processes: how much of it is used, and the most calls that arrive in any second.

Workers share a cap by leased slots (`tasks/units/sharing.py`) and, beside them, by Prefect's own
`rate_limit()`, all at one Prefect server. Each call is a datagram; whoever receives it says when it arrived.
Then one of three workers is killed, and its share watched until the others use it. About 11 minutes.
"""

import argparse
import asyncio
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT, running_prefect
from benchmarks.tables import Page

CAPS, WORKERS = (5, 50, 200), (1, 3, 5)
KILLED_AT_CAP, KILLED_OF = 50, 3
STARTS_WITHIN_S = 60.0
SETTLE_S, MEASURE_S = 12.0, 25.0
LIMIT_SETTLE_S, LIMIT_MEASURE_S = 3.0, 12.0
BIN_S = 5.0
FULL = 0.9
"""Of the cap: from here on a dead worker's share counts as used."""
TAKEN_OVER_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Score:
    """What the receiving side saw."""

    share: float  # of the cap, after all have settled
    calendar: int  # the most in one calendar second, and in any second: from the very first call on
    sliding: int


class Arrivals:
    """Receives calls and says when each arrived."""

    def __init__(self) -> None:
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._in.bind(("127.0.0.1", 0))
        self.port: int = self._in.getsockname()[1]
        self.times: list[float] = []
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while True:
            self._in.recv(16)
            self.times.append(time.time())

    def within(self, begin: float, end: float) -> int:
        """How many arrived from `begin` to `end`."""
        return sum(begin <= at < end for at in self.times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shares")
    parser.add_argument("--quick", action="store_true", help="one cap, 1 and 3 workers, no kill: 2 minutes")
    measure(parser.parse_args([]) if __name__ != "__main__" else parser.parse_args())


def measure(options: argparse.Namespace) -> None:
    page = Page("shares", "One cap shared by several processes")
    caps, workers = ((KILLED_AT_CAP,), (1, 3)) if options.quick else (CAPS, WORKERS)
    with tempfile.TemporaryDirectory() as folder, running_prefect(Path(folder)) as api_url:
        rows = []
        for cap, number in itertools.product(caps, workers):
            ours = score("shares", api_url, cap, number, SETTLE_S, MEASURE_S)
            theirs = score("rate_limit", api_url, cap, number, LIMIT_SETTLE_S, LIMIT_MEASURE_S)
            rows.append([str(cap), str(number), *cells(ours), *cells(theirs)])
        page.table(
            (
                *("cap", "workers"),
                *("shares: of the cap", "most in a calendar second", "in any second"),
                *("rate_limit(): of the cap", "most in a calendar second", "in any second"),
            ),
            rows,
        )
        page.say(
            f"Of the cap: calls that arrived within {MEASURE_S:.0f} s after {SETTLE_S:.0f} s to settle "
            f"(rate_limit(): {LIMIT_MEASURE_S:.0f} s after {LIMIT_SETTLE_S:.0f} s). Most: from the first "
            "call on, while shares move between workers too. The limit of rate_limit() has as many slots as "
            "the cap and frees as many a second. Prefect's server keeps its limits in SQLite here."
        )
        if not options.quick:
            page.say(kill(api_url))
    page.keep()


def cells(found: Score) -> list[str]:
    return [f"{found.share:.1%}", str(found.calendar), str(found.sliding)]


def score(kind: str, api_url: str, cap: int, number: int, settle_s: float, measure_s: float) -> Score:
    """Let workers call together."""
    from emulators.calls import busiest_seconds  # noqa: PLC0415 - the emulator's own measure

    arrivals = Arrivals()
    with calling(kind, api_url, cap, number, arrivals):
        time.sleep(settle_s)
        begin = time.time()
        time.sleep(measure_s)
        share = arrivals.within(begin, begin + measure_s) / (cap * measure_s)
    busiest = busiest_seconds(arrivals.times)
    return Score(share, busiest["calendar_second"], busiest["sliding_second"])


def kill(api_url: str) -> str:
    """Kill one of three workers; the sentence that says how long its share lay idle."""
    from emulators.calls import busiest_seconds  # noqa: PLC0415

    arrivals = Arrivals()
    with calling("shares", api_url, KILLED_AT_CAP, KILLED_OF, arrivals) as workers:
        time.sleep(SETTLE_S + BIN_S)
        workers[0].kill()
        killed_at = time.time()
        used: list[float] = []
        while time.time() < killed_at + TAKEN_OVER_WITHIN_S:
            time.sleep(1.0)
            now = time.time()
            if now < killed_at + BIN_S:
                continue
            used.append(arrivals.within(now - BIN_S, now) / (KILLED_AT_CAP * BIN_S))
            if len(used) > BIN_S and used[-1] >= FULL:
                break
        taken_over_s = time.time() - BIN_S - killed_at
    most = busiest_seconds(arrivals.times)["sliding_second"]
    return (
        f"One of {KILLED_OF} workers killed (-9) at a cap of {KILLED_AT_CAP}: its share was used by the "
        f"others after {taken_over_s:.0f} s; until then {statistics.median(used):.0%} of the cap was used. "
        f"Most in any second: {most}."
    )


@contextmanager
def calling(
    kind: str, api_url: str, cap: int, number: int, arrivals: Arrivals
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers that call until the block ends; they start together, and the block when all call."""
    name = f"benchmark-{kind}-{cap}-{number}-{os.getpid()}-{time.time_ns()}"
    environment = {**os.environ, "PREFECT_API_URL": api_url, "PYTHONWARNINGS": "ignore"}
    if kind == "rate_limit":
        asyncio.run(make_limit(api_url, name, cap))
    command = [sys.executable, "-m", "benchmarks.sharers", kind, name, str(cap), str(arrivals.port)]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
                )
            )
            for _ in range(number)
        ]
        try:
            give_up_at = time.time() + STARTS_WITHIN_S
            while not arrivals.times and time.time() < give_up_at:
                time.sleep(0.1)
            yield workers
        finally:
            for each in workers:
                assert each.stdin is not None
                each.stdin.close()
            for each in workers:
                try:
                    each.wait(20)
                except subprocess.TimeoutExpired:
                    each.kill()


async def make_limit(api_url: str, name: str, cap: int) -> None:
    """The limit that `rate_limit()` wants: `cap` slots, freed at `cap` a second."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    with temporary_settings({PREFECT_API_URL: api_url}):
        async with get_client() as client:
            await client.upsert_global_concurrency_limit_by_name(name, cap, float(cap))


if __name__ == "__main__":
    main()
