"""How much of a cap an audit uses, and the most calls that the provider counts in any second.

The real `audit` command asks an emulated provider that enforces the cap by calendar seconds, answers after
150 to 800 ms (lognormal) and logs each arrival; scored by that log. Beside it: AsyncLimiter(cap, 1).
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from benchmarks.audits import audit, newest_home
from benchmarks.pictures import write_pictures
from benchmarks.processes import run, running_emulator
from benchmarks.tables import Page

LATENCY_MS = "150-800"
STRETCHES = {5: 60, 10: 60, 50: 30, 200: 30}  # seconds at each cap
NAIVE_CAP = 50
STARTING_S = 3.0  # while all trips set out at once and compete with the first calls for the processor


@dataclass(frozen=True, slots=True)
class Score:
    """What the provider's log says of one stretch of calls."""

    calls: int
    share: float  # of the cap, from the first arrival to the last
    steady: float  # the same without the first `STARTING_S`
    calendar: int  # the most arrivals in one calendar second, in a fixed one at the worst phase, in any
    fixed: int
    sliding: int
    turned_away: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lanes")
    parser.add_argument("--caps", type=int, nargs="+", default=list(STRETCHES))
    parser.add_argument("--seconds", type=int, help="at each cap, instead of 60 (5, 10) and 30 (50, 200)")
    measure(parser.parse_args([]) if __name__ != "__main__" else parser.parse_args())


def measure(options: argparse.Namespace) -> None:
    page = Page("lanes", "Use of a cap, pictures of 150 KB, latency 150-800 ms")
    stretches = {cap: options.seconds or STRETCHES.get(cap, 30) for cap in options.caps}
    rows: list[list[str]] = []
    delays: list[list[str]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        most = max(cap * seconds for cap, seconds in stretches.items())
        pictures = write_pictures(folder / "pictures", most)
        for cap, seconds in stretches.items():
            if cap == NAIVE_CAP:
                with running_emulator(cap, LATENCY_MS) as emulator:
                    run("benchmarks.clients", ("naive", emulator.url, cap * seconds, cap))
                    rows.append(
                        line("AsyncLimiter(cap, 1)", cap, score(cap, emulator.control("calls")["calls"]))
                    )
            with running_emulator(cap, LATENCY_MS) as emulator:
                spent = audit(folder, str(pictures), emulator.url, cap, limit=cap * seconds)
                calls = emulator.control("calls")["calls"]
            rows.append(line("audit", cap, score(cap, calls)))
            late = [value * 1000 for value in lateness_s(newest_home(folder), calls)]
            delays.append(
                [
                    str(cap),
                    *(f"{value:.1f}" for value in (*quantiles(late), max(late))),
                    f"{max(late) - min(late):.1f}",
                    f"{spent.own_s:.1f}",
                    f"{spent.children_s:.1f}",
                ]
            )
    page.table(
        (
            "who",
            "cap",
            "calls",
            "of the cap",
            "after 3 s",
            "most in a calendar second",
            "in a fixed second, worst phase",
            "in any second",
            "turned away",
        ),
        rows,
    )
    page.say(
        "Of the cap: calls after the first, by the time from the first arrival to the last. A fixed second "
        "is tried at 50 phases; any second is one that starts with any call."
    )
    page.table(
        ("cap", "p50 ms", "p99 ms", "most ms", "spread ms", "CPU s, audit", "CPU s, its Prefect server"),
        delays,
    )
    page.say(
        "From the moment the lane let a call go to its first byte at the provider. The lane's guard is "
        "20 ms: a spread beyond it can put one call too many into some second. CPU from start to end."
    )
    page.keep()


def score(cap: int, calls: Sequence[dict[str, Any]]) -> Score:
    """Score a log of arrivals."""
    from emulators.calls import busiest_seconds  # noqa: PLC0415 - the emulator's own measure

    arrivals = sorted(call["arrived_at"] for call in calls)
    busiest = busiest_seconds(arrivals)
    return Score(
        len(arrivals),
        rate_per_s(arrivals) / cap,
        rate_per_s([moment for moment in arrivals if moment - arrivals[0] >= STARTING_S]) / cap,
        busiest["calendar_second"],
        busiest["fixed_second"],
        busiest["sliding_second"],
        sum(call["throttled"] for call in calls),
    )


def rate_per_s(arrivals: Sequence[float]) -> float:
    """Arrivals after the first, by the time they took."""
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])


def line(who: str, cap: int, found: Score) -> list[str]:
    return [
        who,
        str(cap),
        f"{found.calls:,}",
        f"{found.share:.1%}",
        f"{found.steady:.1%}",
        *map(str, (found.calendar, found.fixed, found.sliding, found.turned_away)),
    ]


def lateness_s(home: Path, calls: Sequence[dict[str, Any]]) -> list[float]:
    """Arrival minus departure of every question's last call, by its request id."""
    arrived = {call["request_id"]: call["arrived_at"] for call in calls}
    table = ds.dataset(home / "verdicts", format="parquet", partitioning=None)
    rows = table.to_table(columns=["request_id", "asked_at"]).to_pylist()
    left: list[tuple[str, datetime]] = [(row["request_id"], row["asked_at"]) for row in rows]
    return [arrived[number] - moment.timestamp() for number, moment in left if number in arrived]


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    main()
