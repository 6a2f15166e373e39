"""The `facesweep` command, watched: CPU of each thread, and a profile of the one that asks if wanted.

`BENCHMARK_THREADS` names a file for the threads' CPU seconds, `BENCHMARK_PROFILE` one for cProfile's figures.
"""

import cProfile
import json
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

from flows.cli import main
from tasks.units.run import DetectShard, OpenRun

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
EVERY_S = 0.25


def watch(ended: threading.Event, seconds: dict[int, tuple[str, float]]) -> None:
    """Keep the last CPU time of every thread, by the kernel's account, under its name."""
    names: dict[int, str] = {}
    while True:
        over = ended.wait(EVERY_S)
        names |= {thread.native_id or 0: thread.name for thread in threading.enumerate()}
        for place in Path("/proc/self/task").iterdir():
            try:
                fields = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            number = int(place.name)
            seconds[number] = (names.get(number, "not Python's"), sum(map(int, fields[11:13])) / TICKS_PER_S)
        if over:
            return


def follow(profile: cProfile.Profile | None) -> None:
    """Name the thread whose event loop asks, and profile that thread while it does."""
    detect = OpenRun.detect

    async def followed(run: OpenRun, detect_shard: DetectShard) -> None:
        threading.current_thread().name = "the run's event loop"
        if profile:
            profile.enable()
        try:
            await detect(run, detect_shard)
        finally:
            if profile:
                profile.disable()

    OpenRun.detect = followed  # type: ignore[method-assign, assignment]


def command() -> None:
    """Run the command line under watch; exits as it does."""
    ended = threading.Event()
    seconds: dict[int, tuple[str, float]] = {}
    watcher = threading.Thread(target=watch, args=(ended, seconds), name="this watch")
    profile = cProfile.Profile(time.thread_time) if os.environ.get("BENCHMARK_PROFILE") else None
    follow(profile)
    watcher.start()
    try:
        main(sys.argv[1:])
    finally:
        ended.set()
        watcher.join()
        if profile:
            profile.dump_stats(os.environ["BENCHMARK_PROFILE"])
        by_name: defaultdict[str, float] = defaultdict(float)
        for name, spent in seconds.values():
            by_name[name.rstrip("0123456789") or name] += spent
        Path(os.environ["BENCHMARK_THREADS"]).write_text(json.dumps(by_name), encoding="utf-8")


if __name__ == "__main__":
    command()
