"""Compaction of ten million verdicts: its time and memory, and queries before and after.

The home is made up (`verdict_homes`) in parts of 4,000 rows, what a shard publishes at 7 calls a second.
`--rows` makes a smaller one. Ten million rows take 4 GB of disk, the time to make them up several minutes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.tables import Page
from benchmarks.verdict_homes import LAST_WHOLE_NIGHT, fill, size_of
from tasks.records.home import Home
from tasks.units.books import findings_of, select_verdicts

COUNTED = "SELECT provider, outcome, risk, count(*) FROM verdicts GROUP BY ALL ORDER BY ALL"
HIGH = (
    "SELECT url, provider, tags, raw FROM verdicts"
    " WHERE risk = 'high' AND settled_at >= '2026-11-01' AND settled_at < '2026-12-01'"
)
SOME_URL = "SELECT max(url) AS url FROM verdicts WHERE url < 's3://kyc-archive/selfies/7f'"
TIMES = 3


@dataclass(frozen=True, slots=True)
class Compacted:
    """What the command took and said."""

    wall_s: float
    cpu_s: float
    peak_mib: float  # resident
    said: str


def main() -> None:
    options = _options()
    page = Page("compaction", f"Compaction of {options.rows:,} verdicts")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        home = Home.local(Path(folder))
        begun = time.monotonic()
        fill(home, options.rows, options.part_rows)
        files, size_bytes = size_of(home.root)
        page.say(
            f"{options.rows:,} rows of two providers in {files:,} parts of nightly runs, "
            f"{size_bytes / 1e9:.2f} GB, made up in {time.monotonic() - begun:,.0f} s."
        )
        queries = _queries(home)
        before = {name: _median_s(query) for name, query in queries.items()}
        compacted = _compact(home.root)
        after = {name: _median_s(query) for name, query in queries.items()}
        files_after, bytes_after = size_of(home.root)

    page.say(f"```\n{compacted.said.rstrip()}\n```")
    page.table(
        ["`facesweep compact`", ""],
        [
            ["seconds", f"{compacted.wall_s:,.0f}"],
            ["CPU seconds", f"{compacted.cpu_s:,.0f}"],
            ["rows a second", f"{options.rows / compacted.wall_s:,.0f}"],
            ["peak resident memory, MiB", f"{compacted.peak_mib:,.0f}"],
        ],
    )
    page.table(
        [f"seconds, median of {TIMES}", f"{files:,} parts", f"{files_after:,} parts"],
        [[name, f"{before[name]:.2f}", f"{after[name]:.2f}"] for name in queries],
    )
    page.say(f"Bytes: {size_bytes:,} before, {bytes_after:,} after.")
    page.keep()


def _queries(home: Home) -> dict[str, Callable[[], object]]:
    def select(sql: str) -> Callable[[], int]:
        def read() -> int:
            with select_verdicts(home, sql) as rows:
                return int(rows.read_all().num_rows)

        return read

    with select_verdicts(home, SOME_URL) as rows:
        url = rows.read_all().column("url")[0].as_py()
    return {
        "rows by provider, outcome and risk": select(COUNTED),
        "all high ones of a month, with their replies": select(HIGH),
        "one url, all columns": select(f"SELECT * FROM verdicts WHERE url = '{url}'"),
        "what `report` counts of one run": lambda: findings_of(home, LAST_WHOLE_NIGHT),
    }


def _median_s(query: Callable[[], object]) -> float:
    """Of several times; the first one fills the page cache for the others."""
    times = []
    for _ in range(TIMES):
        begun = time.monotonic()
        query()
        times.append(time.monotonic() - begun)
    return statistics.median(times)


def _compact(home: Path) -> Compacted:
    """The command in a process of its own.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "flows", "compact", str(home)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - begun
    if process.returncode != 0:
        raise RuntimeError(f"compact ended with status {process.returncode}: {said}")
    return Compacted(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compaction", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--part-rows", type=int, default=4_000)
    parser.add_argument("--folder", type=Path, help="where the home is made (default: the temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
