"""Calls per CPU second, by who makes them: our call path, the official SDK, Prefect tasks, a whole audit.

CPU is user and system time of the calling process alone; the emulated provider is another process, and slow
enough (100 ms a call) that every caller has its 64 calls on the way. The rounds of the callers alternate.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.audits import audit
from benchmarks.clients import MARK
from benchmarks.pictures import write_pictures
from benchmarks.processes import Emulator, Spent, run, running_emulator
from benchmarks.stores import running_s3
from benchmarks.tables import Page, spread

LATENCY_MS = "100"
FEW, FEW_S3 = 20, 20
AUDIT_QPS = 500  # high enough that 10,000 calls take less than a minute, and still paced

BARE = "our call path: compose and ask"
SDK = "official SDK, 64 threads, keep-alive"
PREFECT = "one Prefect task for each object"
AUDIT = "whole audit, folder"
AUDIT_S3 = "whole audit, S3"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2_000, help="of the call path and of the SDK")
    parser.add_argument("--prefect-calls", type=int, default=200)
    parser.add_argument("--audit-calls", type=int, default=10_000)
    parser.add_argument("--s3-calls", type=int, default=2_000)
    measure(parser.parse_args([]) if __name__ != "__main__" else parser.parse_args())


def measure(options: argparse.Namespace) -> None:
    page = Page("calls", "Calls per CPU second, pictures of 150 KB")
    ms: dict[str, list[float]] = {name: [] for name in (BARE, SDK, PREFECT, AUDIT, AUDIT_S3)}
    whole: list[Spent] = []
    fixed: list[Spent] = []
    with tempfile.TemporaryDirectory() as place, running_emulator(0, LATENCY_MS) as emulator:
        folder = Path(place)
        pictures = write_pictures(folder / "pictures", options.audit_calls)
        prefect_home = {"PREFECT_HOME": str(folder / "prefect")}
        audit(folder, str(pictures), emulator.url, AUDIT_QPS, limit=1)  # makes Prefect's database
        for _ in range(options.rounds):
            for name, kind, calls in (
                (BARE, "bare", options.calls),
                (SDK, "sdk", options.calls),
                (PREFECT, "prefect", options.prefect_calls),
            ):
                spent = run("benchmarks.clients", (kind, emulator.url, calls), prefect_home)
                ms[name].append(float(spent.output.partition(MARK)[2].split()[0]) * 1000 / calls)
            few, many = (
                asked(emulator, folder, str(pictures), calls) for calls in (FEW, options.audit_calls)
            )
            fixed.append(few)
            whole.append(many)
            ms[AUDIT].append((many.whole_s - few.whole_s) * 1000 / (options.audit_calls - FEW))
        with running_s3(pictures, options.s3_calls) as (url, store, keys):
            for _ in range(options.rounds):
                few, many = (
                    asked(emulator, folder, url, calls, store, keys) for calls in (FEW_S3, options.s3_calls)
                )
                ms[AUDIT_S3].append((many.whole_s - few.whole_s) * 1000 / (options.s3_calls - FEW_S3))
    report(page, options, ms, whole, fixed)
    page.keep()


def asked(
    emulator: Emulator,
    folder: Path,
    source: str,
    calls: int,
    store: dict[str, str] | None = None,
    keys: dict[str, str] | None = None,
) -> Spent:
    """An audit that makes so many calls; it must have made them."""
    before = emulator.control("summary")["total"]
    spent = audit(folder, source, emulator.url, AUDIT_QPS, limit=calls, store=store, environment=keys)
    made = emulator.control("summary")["total"] - before
    if made != calls:
        raise RuntimeError(f"an audit of {calls} objects made {made} calls:\n{spent.output}")
    time.sleep(1.0)  # the emulator settles
    return spent


def report(
    page: Page,
    options: argparse.Namespace,
    ms: dict[str, list[float]],
    whole: list[Spent],
    fixed: list[Spent],
) -> None:
    calls = options.audit_calls
    per_whole = [spent.whole_s * 1000 / calls for spent in whole]
    columns = ("caller", "calls", "CPU ms a call", "calls per CPU second", "against the SDK")
    counts = {
        BARE: options.calls,
        SDK: options.calls,
        PREFECT: options.prefect_calls,
        AUDIT: calls,
        AUDIT_S3: options.s3_calls,
    }
    rows = [line(name, counts[name], values, ms[SDK]) for name, values in ms.items()]
    rows[3][0] += ", each further call"
    rows[4][0] += ", each further call"
    rows.insert(4, line("whole audit, folder, everything included", calls, per_whole, ms[SDK]))
    page.table(columns, rows)
    page.say(
        f"{options.rounds} alternating rounds: median [least-most]; the last column compares medians. "
        "The first three rows count CPU from after a warm-up to the last reply, without start-up. The "
        "Prefect row is the flow's process alone: its server's CPU comes on top and is not counted."
    )
    page.say(
        "A whole audit is the `facesweep audit` command from start to end: list, plan, fetch, check, call, "
        f"journal, Parquet, books, and the Prefect server that it starts. {calls:,} calls took "
        f"{spread([s.own_s for s in whole], 1)} s in its own process and "
        f"{spread([s.children_s for s in whole], 1)} s in that server; {FEW} calls, the fixed cost, "
        f"{spread([s.own_s for s in fixed], 1)} s and {spread([s.children_s for s in fixed], 1)} s. "
        f"A further call is the difference of both, by the calls between them. The cap was {AUDIT_QPS}/s."
    )


def line(name: str, calls: int, ms: list[float], sdk_ms: list[float]) -> list[str]:
    per_s = [1000 / value for value in ms]
    times = statistics.median(sdk_ms) / statistics.median(ms)
    return [name, f"{calls:,}", spread(ms), spread(per_s, 0), f"{times:.1f}×"]


if __name__ == "__main__":
    main()
