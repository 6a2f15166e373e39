"""Where the CPU of a whole audit goes: by thread, and by function on the thread that keeps the pace.

Two audits of the same size: one as it is, for the threads' CPU, and one under cProfile, whose figures are
CPU of the event loop's thread, larger than in life by what the profiler itself costs: read them as shares.
"""

import argparse
import json
import pstats
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.audits import audit
from benchmarks.pictures import write_pictures
from benchmarks.processes import ROOT, running_emulator
from benchmarks.tables import Page

LATENCY_MS = "100"
QPS = 500
SHOWN = 30


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("--calls", type=int, default=4_000)
    measure(parser.parse_args([]) if __name__ != "__main__" else parser.parse_args())


def measure(options: argparse.Namespace) -> None:
    page = Page("throughput", f"Where the CPU of an audit of {options.calls:,} pictures of 150 KB goes")
    with tempfile.TemporaryDirectory() as place, running_emulator(0, LATENCY_MS) as emulator:
        folder = Path(place)
        pictures = str(write_pictures(folder / "pictures", options.calls))
        threads, profile = folder / "threads.json", folder / "profile"
        watch = {"BENCHMARK_THREADS": str(threads)}

        def watched(limit: int, environment: dict[str, str]) -> dict[str, float]:
            audit(
                folder,
                pictures,
                emulator.url,
                QPS,
                limit=limit,
                environment=environment,
                module="benchmarks.profiled",
            )
            spent: dict[str, float] = json.loads(threads.read_text(encoding="utf-8"))
            return spent

        watched(1, watch)  # makes Prefect's database
        few, many = watched(1, watch), watched(options.calls, watch)
        page.table(
            ("thread", f"CPU s, {options.calls:,} calls", "CPU s, 1 call", "ms a further call"),
            [
                [
                    name.rstrip("_-"),
                    f"{spent:.2f}",
                    f"{few.get(name, 0):.2f}",
                    f"{(spent - few.get(name, 0)) * 1000 / options.calls:.3f}",
                ]
                for name, spent in sorted(many.items(), key=lambda pair: -pair[1])
                if spent >= 0.05
            ],
        )
        page.say(
            "By the kernel's account in ticks of 10 ms, looked at four times a second: of a thread that "
            "lived shorter, the end is missing. `asyncio` are the threads that read files and list."
        )
        watched(options.calls, {**watch, "BENCHMARK_PROFILE": str(profile)})
        figures: Any = pstats.Stats(str(profile))
        page.table(("function", "calls", "own ms a call", "with callees"), list(top(figures, options.calls)))
        page.say(
            f"The {SHOWN} functions called at least once for each picture with the most CPU of their own on "
            "the event loop's thread, while it asks."
        )
    page.keep()


def top(figures: Any, calls: int) -> Iterator[list[str]]:
    """Functions that run for each object, the dearest first."""
    often = [
        (own_s, whole_s, count, place)
        for place, (_, count, own_s, whole_s, _) in figures.stats.items()
        if count >= calls
    ]
    for own_s, whole_s, count, (file, number, name) in sorted(often, reverse=True)[:SHOWN]:
        short = file.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]
        short = short.rpartition("python3.11/")[2]
        where = name if file == "~" else f"{short}:{number} {name}"
        yield [f"`{where}`", f"{count:,}", f"{own_s * 1000 / calls:.3f}", f"{whole_s * 1000 / calls:.3f}"]


if __name__ == "__main__":
    main()
