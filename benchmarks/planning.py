"""Time and memory of a plan: a large listing against as many past verdicts, beside the naive pandas way.

Nearly all objects have been answered before, as in the nightly audit of an old archive: 95 of 100. Both ways
run in processes of their own over the same Parquet files and must find the same questions.
"""

# ruff: noqa: PLC0415 - each way imports its own needs only, which count

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from benchmarks.processes import run
from benchmarks.tables import Page

PARTS = 40
ANSWERED = 0.95
MARK = "planned: "
WAYS = {"plan": "facesweep's plan", "naive": "pandas: read both, merge, sort, write"}


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] in WAYS and __name__ == "__main__":
        way, folder = sys.argv[1], Path(sys.argv[2])
        began = time.perf_counter()
        asked = plan(folder) if way == "plan" else naive(folder)
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{MARK}{asked} {time.perf_counter() - began} {peak_bytes}", flush=True)
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the listing, and of the verdicts")
    measure(parser.parse_args([] if __name__ != "__main__" else None).rows)


def measure(rows: int) -> None:
    page = Page("planning", f"A plan of {rows:,} objects against {rows:,} past verdicts")
    lines = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, rows)
        found = {}
        for way, name in WAYS.items():
            spent = run("benchmarks.planning", (way, folder))
            asked, wall_s, peak_bytes = spent.output.partition(MARK)[2].split()[:3]
            found[way] = int(asked)
            gibibytes = int(peak_bytes) / 2**30
            lines.append(
                (
                    name,
                    f"{int(asked):,}",
                    f"{float(wall_s):,.0f}",
                    f"{spent.whole_s:,.0f}",
                    f"{gibibytes:.2f}",
                )
            )
    if len(set(found.values())) != 1:
        raise RuntimeError(f"the two ways disagree: {found}")
    page.table(("way", "questions found", "seconds", "CPU seconds", "peak memory, GiB"), lines)
    page.say(
        f"{ANSWERED:.0%} of the objects have a final verdict. facesweep also writes why each is skipped, "
        "finds byte-identical copies and cuts the questions into shards in visiting order; pandas does not."
    )
    page.keep()


def make(folder: Path, rows: int) -> None:
    """`listing/` and `verdicts/` of so many rows each, in `PARTS` files; most of the listing is answered."""
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'")
        connection.execute("SET preserve_insertion_order = false")
        for name, first in (("listing", rows - int(rows * ANSWERED)), ("verdicts", 0)):
            (folder / name).mkdir()
            size = -(-rows // PARTS)
            for part in range(PARTS):
                start, end = first + part * size, first + min((part + 1) * size, rows)
                connection.execute(
                    f"COPY (SELECT *, {_MORE[name]} FROM (SELECT 's3://kyc/' || key AS url, 's3' AS store,"
                    " 'kyc' AS bucket, key, NULL::VARCHAR AS version_id, md5(key) AS etag,"
                    " 50000 + number % 200000 AS size_bytes,"
                    " TIMESTAMPTZ '2026-01-01 00:00:00+00' AS last_modified,"
                    " NULL::VARCHAR AS subject_id, NULL::VARCHAR AS stratum FROM (SELECT range AS number,"
                    " 'selfies/' || (number % 365) || '/' || md5(number::VARCHAR) || '.jpg' AS key"
                    f" FROM range({start}, {end}))))"
                    f" TO '{folder / name / f'part-{part:05d}.parquet'}' (FORMAT parquet, COMPRESSION zstd)"
                )


_MORE = {
    "listing": "NULL::INTEGER AS ignored",
    "verdicts": "'r1' AS run_id,"
    " left(sha256('tencent' || chr(10) || etag || chr(10) || url), 32) AS question_id,"
    " 'tencent' AS provider, 'scored' AS outcome, TIMESTAMPTZ '2026-02-01 00:00:00+00' AS settled_at,"
    " 'all' AS asked_because, NULL::DOUBLE AS weight, 'low' AS risk",
}


def plan(folder: Path) -> int:
    """Our own plan, as an audit makes it; the questions it found."""
    from domain.verdicts import Provider
    from tasks import candidates

    totals = candidates.plan(
        sorted((folder / "listing").iterdir()),
        sorted((folder / "verdicts").iterdir()),
        {Provider.TENCENT: 3_000},
        candidates.Selection(),
        folder / "plan",
    )
    return totals.providers[Provider.TENCENT].asked


def naive(folder: Path) -> int:
    """What one writes first: both tables whole in memory."""
    import pandas as pd

    listing = pd.read_parquet(folder / "listing")
    verdicts = pd.read_parquet(folder / "verdicts", columns=["url", "etag", "provider", "outcome"])
    answered = verdicts[(verdicts["provider"] == "tencent") & (verdicts["outcome"] == "scored")]
    merged = listing.merge(answered[["url", "etag"]], on=["url", "etag"], how="left", indicator=True)
    questions = merged[merged["_merge"] == "left_only"].drop(columns="_merge")
    questions = questions.assign(order=pd.util.hash_pandas_object(questions["url"], index=False))
    questions.sort_values("order").to_parquet(folder / "questions.parquet")
    return len(questions)


if __name__ == "__main__":
    main()
