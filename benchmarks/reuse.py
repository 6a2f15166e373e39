"""What reuse over the runs of a home costs: its index at each start, a look for each object, an answer found.

A home of ten million earlier verdicts is made up first: parts of 50,000 rows with every column, about 2.5 GB.
It takes some minutes and is not measured. A process of its own then does what `open_run` and the trips do.
"""

import argparse
import asyncio
import hashlib
import json
import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from benchmarks.processes import run
from benchmarks.tables import Page
from domain.verdicts import Provider
from tasks.records.earlier import EarlierAnswers, earlier_parts
from tasks.records.home import Home
from tasks.records.parts import ROWS_PER_PART, part_path

ROWS = 10_000_000
LOOKS = 5_000
PARTS_WITH_ANSWERS = 10
ANSWERS = 2_000
PICTURE_BYTES = 150_000

# Every column of a verdict, hashes and ids as hard to compress as real ones.
VERDICT = """\
'run-' || (i // 500000) AS run_id, 'benchmark' AS audit, left(sha256('q' || i), 32) AS question_id,
's3://kyc-archive/selfies/2024/' || md5(i::VARCHAR) || '.jpg' AS url, 's3' AS store, 'kyc-archive' AS bucket,
'selfies/2024/' || md5(i::VARCHAR) || '.jpg' AS key, NULL::VARCHAR AS version_id, md5('e' || i) AS etag,
100000 + i % 99991 AS size_bytes, TIMESTAMPTZ '2024-01-01' + INTERVAL 1 SECOND * i AS last_modified,
'image' AS media, sha256('picture ' || i) AS content_sha256, '{provider}' AS provider,
'DetectAIFakeFaces' AS action,
CASE WHEN i % 20 = 0 THEN 'refused' WHEN i % 50 = 1 THEN 'failed' ELSE 'scored' END AS outcome,
NULL::VARCHAR AS reason, NULL::VARCHAR AS message, 'low' AS risk, 'Low' AS risk_raw,
[]::VARCHAR[] AS tags, []::VARCHAR[] AS tags_raw, MAP {{}}::MAP(VARCHAR, DOUBLE) AS scores,
NULL::VARCHAR AS template_group, NULL::DOUBLE AS template_similarity, 'base64' AS delivery,
'untouched' AS preparation, sha256('picture ' || i) AS sent_sha256, 100000 + i % 99991 AS sent_bytes,
'https://faceid.tencentcloudapi.com' AS endpoint, md5('r' || i) AS request_id, md5('o' || i) AS order_no,
1 AS attempts, 0 AS throttled, 300 + i % 7919 / 10 AS latency_ms,
TIMESTAMPTZ '2026-01-01' + INTERVAL 1 SECOND * i AS asked_at,
TIMESTAMPTZ '2026-01-01' + INTERVAL 1 SECOND * i AS settled_at, 'yes' AS billed, 0.1 AS cost,
NULL::VARCHAR AS reused_from,
'{{"Response": {{"AttackRiskLevel": "Low", "AttackRiskDetailList": [], "ExtraInfo": {{'
|| '"RetrievalLivenessExtraInfo": [{{"HitGroup": "x", "SimilarityScore": ' || i % 9973 / 9973
|| '}}]}}, "RequestId": "' || md5('r' || i) || '"}}}}' AS raw, 2 AS schema_version, 1 AS mapping_version,
'0.1.0' AS code_version, 'all' AS asked_because,
NULL::VARCHAR AS subject_id, NULL::VARCHAR AS stratum, NULL::DOUBLE AS weight"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reuse")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args([]) if __name__ != "__main__" else parser.parse_args()
    if options.measure:
        print(json.dumps(asyncio.run(measured(Home.local(options.measure), options.rows))))
    else:
        report(options.rows)


def report(rows: int) -> None:
    page = Page("reuse", f"Reuse by content among {rows:,} earlier verdicts")
    with tempfile.TemporaryDirectory() as place:
        made_s = fill(Path(place), rows)
        found = json.loads(
            run("benchmarks.reuse", ("--rows", rows, "--measure", place)).output.splitlines()[-1]
        )
    page.table(
        ("what", "figure"),
        [
            ("parts", f"{found['parts']:,} of {ROWS_PER_PART:,} rows, {found['parts_mb']:,.0f} MB"),
            (
                "index, at each start of a run",
                f"{found['index_s']:.1f} s, {found['index_cpu_s']:.1f} s of CPU",
            ),
            ("its file", f"{found['index_mb']:,.0f} MB, and as much again twice while it is made"),
            ("memory it took, at most", f"{found['index_rss_mb']:,.0f} MB"),
            (f"a look for {PICTURE_BYTES // 1000} KB nobody knows", f"{found['look_ms']:.2f} ms"),
            ("of that the SHA-256", f"{found['hash_ms']:.2f} ms"),
            ("the first answer from a part, which unpacks it", f"{found['first_ms']:,.0f} ms"),
            ("a further answer from it", f"{found['further_ms']:.2f} ms"),
            ("an answer read from the part as it is", f"{found['plain_ms']:,.0f} ms"),
            ("an unpacked part on disk", f"{found['unpacked_mb']:,.0f} MB"),
            ("memory it all took, at most", f"{found['rss_mb']:,.0f} MB"),
        ],
    )
    page.say(
        f"Making up the home took {made_s:,.0f} s more. Memory is growth over the process with its imports. "
        f"{LOOKS:,} looks one after the other; {ANSWERS:,} answers from {PARTS_WITH_ANSWERS} parts, of which "
        "the system may have kept some in memory."
    )
    page.keep()


def fill(folder: Path, rows: int) -> float:
    """Publish so many verdicts in the home; the seconds it took."""
    began = time.perf_counter()
    home = Home.local(folder)
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        for first in range(0, rows, ROWS_PER_PART):
            run_id = f"run-{first // 500_000}"
            path = home.path(part_path(Provider.TENCENT, run_id, first % 500_000 // ROWS_PER_PART + 1))
            path.parent.mkdir(parents=True, exist_ok=True)
            last = min(first + ROWS_PER_PART, rows)
            connection.execute(
                f"COPY (SELECT {VERDICT.format(provider=Provider.TENCENT)} FROM range({first}, {last}) t(i)"
                f" ORDER BY key) TO '{path}'"
                f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS_PER_PART})"
            )
    return time.perf_counter() - began


async def measured(home: Home, rows: int) -> dict[str, float]:
    """What a run pays that looks for answers in this home."""
    parts = earlier_parts(home, Provider.TENCENT, "this-run")
    found: dict[str, float] = {"parts": len(parts), "parts_mb": size_mb(parts)}
    before_mb, began, cpu_s = memory_mb("VmRSS"), time.perf_counter(), time.process_time()
    async with EarlierAnswers(home, Provider.TENCENT, "this-run") as earlier:
        found["index_s"] = time.perf_counter() - began
        found["index_cpu_s"] = time.process_time() - cpu_s
        found["index_rss_mb"] = memory_mb("VmHWM") - before_mb
        found["index_mb"] = size_mb((home.root / ".staging").rglob("index"))

        chance = random.Random(1)
        pictures = [chance.randbytes(PICTURE_BYTES) for _ in range(100)]
        found["look_ms"] = await each_ms(
            earlier, [pictures[number % 100] for number in range(LOOKS)], known=False
        )
        began = time.perf_counter()
        for picture in pictures:
            hashlib.sha256(picture)
        found["hash_ms"] = (time.perf_counter() - began) * 1000 / len(pictures)

        stretches = chance.sample(
            range(rows // ROWS_PER_PART), min(PARTS_WITH_ANSWERS, rows // ROWS_PER_PART)
        )
        found["first_ms"] = await each_ms(earlier, [answered(chance, each) for each in stretches])
        chosen = [answered(chance, chance.choice(stretches)) for _ in range(ANSWERS)]
        found["further_ms"] = await each_ms(earlier, chosen)
        found["unpacked_mb"] = size_mb((home.root / ".staging").rglob("group-*")) / len(stretches)
    found["rss_mb"] = memory_mb("VmHWM") - before_mb
    began = time.perf_counter()
    for part in parts[:5]:
        with pq.ParquetFile(part) as file:
            file.read_row_group(0).slice(7, 1).to_pylist()
    found["plain_ms"] = (time.perf_counter() - began) * 1000 / len(parts[:5])
    return found


def answered(chance: random.Random, stretch: int) -> bytes:
    """The bytes of an object that the provider scored or refused, in that part."""
    while True:
        number = stretch * ROWS_PER_PART + chance.randrange(ROWS_PER_PART)
        if number % 50 != 1:
            return b"picture %d" % number


async def each_ms(earlier: EarlierAnswers, contents: Sequence[bytes], *, known: bool = True) -> float:
    began = time.perf_counter()
    for content in contents:
        if (await earlier.answer_to(content) is not None) is not known:
            raise RuntimeError("the index is wrong")
    return (time.perf_counter() - began) * 1000 / len(contents)


def size_mb(paths: Iterable[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6


def memory_mb(name: str) -> float:
    """`VmRSS`, the memory of this process now, or `VmHWM`, the most it has had.

    getrusage's peak begins with that of the process that started this one.
    """
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"{name}:")
    )
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
