"""A backfill of ten million questions, simulated: planned whole, asked for as long as `--minutes` says.

A Prefect server, its workers, their shards and the coordinator are the real ones; archive and provider are
`benchmarks.archive`, which costs next to nothing. What is asked in the time is counted, and what it cost: CPU
of each question, memory of each process over time, rows in Prefect's database.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from benchmarks.archive import BASE, Archive, etag_sql, key_sql, running_archive
from benchmarks.pictures import picture
from benchmarks.processes import KEYS, ROOT, TICKS_PER_S, running_prefect
from benchmarks.stores import BUCKET, REGION
from benchmarks.stores import KEYS as STORE_KEYS
from benchmarks.tables import Page

LATENCY_MS = 100
RUN = "simulated"
LOOK_EVERY_S = 5.0
SPEC = """\
[audit]
name = "{name}"
home = "{folder}/home"

[source]
url = "s3://{bucket}/selfies/"
inventory = "{folder}/inventory.parquet"
endpoint_url = "{url}"
region = "{region}"

[providers.tencent]
qps = {qps}
endpoint = "{url}"
"""


class Watched:
    """The CPU and memory of processes over time, looked at now and then."""

    def __init__(self) -> None:
        self.cpu_s: dict[int, float] = {}
        self.resident_mib: dict[int, list[float]] = {}

    def look(self, process_ids: Sequence[int]) -> None:
        for each in process_ids:
            try:
                stat = Path(f"/proc/{each}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                pages = int(Path(f"/proc/{each}/statm").read_text(encoding="utf-8").split()[1])
            except OSError:  # it ended meanwhile
                continue
            self.cpu_s[each] = sum(int(ticks) for ticks in stat[11:13]) / TICKS_PER_S
            mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            self.resident_mib.setdefault(each, []).append(mib)

    @property
    def whole_cpu_s(self) -> float:
        return sum(self.cpu_s.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill")
    parser.add_argument("--questions", type=int, default=10_000_000)
    parser.add_argument("--minutes", type=float, default=20.0, help="of asking; then it is paused")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--qps", type=int, default=1_000)
    parser.add_argument("--shard-minutes", type=float, default=1.0)
    parser.add_argument("--folder", help="where everything is written; some 200 bytes an object")
    measure(parser.parse_args([] if __name__ != "__main__" else None))


def measure(options: argparse.Namespace) -> None:
    page = Page("backfill", f"A simulated backfill of {options.questions:,} questions")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        archive = stack.enter_context(running_archive(LATENCY_MS))
        draw(folder / "inventory.parquet", options.questions)
        spec = folder / "spec.toml"
        spec.write_text(
            SPEC.format(
                name="benchmark",
                folder=folder,
                bucket=BUCKET,
                url=archive.url,
                region=REGION,
                qps=options.qps,
            ),
            encoding="utf-8",
        )
        (folder / "prefect").mkdir()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            **KEYS,
            **STORE_KEYS,
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": stack.enter_context(running_prefect(folder / "prefect")),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        said(["deploy", spec], environment)
        workers = [
            stack.enter_context(worker(number, folder, environment)) for number in range(options.workers)
        ]
        told = run(options, folder, spec, environment, workers, archive)
        report(page, options, told)
    page.keep()


def run(
    options: argparse.Namespace,
    folder: Path,
    spec: Path,
    environment: dict[str, str],
    workers: Sequence[int],
    archive: Archive,
) -> dict[str, object]:
    """Plan, ask for so many minutes, pause; what was seen."""
    coordinator, shards = Watched(), Watched()
    home = folder / "home"
    minutes = ["--shard-minutes", str(options.shard_minutes)]
    begun_at = time.monotonic()
    planned_s = asking_s = 0.0
    calls = 0
    first_call_at = None
    with (
        (folder / "backfill.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "flows", "backfill", str(spec), "--yes", "--run-id", RUN, *minutes],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        is_paused = False
        while process.poll() is None:
            if not planned_s and (home / "runs" / f"{RUN}.json").exists():
                planned_s = time.monotonic() - begun_at
            if first_call_at is None and planned_s and archive.counts()["calls"]:
                first_call_at = time.monotonic()
            coordinator.look([process.pid])
            shards.look([each for worker_id in workers for each in descendants(worker_id)])
            asked_for_s = 0.0 if first_call_at is None else time.monotonic() - first_call_at
            if not is_paused and asked_for_s >= options.minutes * 60:
                asking_s, is_paused = asked_for_s, True
                calls = archive.counts()["calls"]
                said(["pause", str(home)], environment, may_fail=True)
            time.sleep(LOOK_EVERY_S)
        if not is_paused:
            asking_s, calls = time.monotonic() - (first_call_at or begun_at), archive.counts()["calls"]
    count = "SELECT count(*) AS rows, count(DISTINCT question_id) AS questions FROM verdicts"
    counted = said(["verdicts", home, "--sql", count, "--format", "json"], environment)
    return {
        "planned_s": planned_s,
        "asking_s": asking_s,
        "calls": calls,
        "all_calls": archive.counts()["calls"],
        "fullest": archive.counts()["fullest"],
        "verdicts": counted.strip(),
        "record": json.loads((home / "runs" / f"{RUN}.json").read_text(encoding="utf-8")),
        "coordinator": coordinator,
        "shards": shards,
        "database": database(folder / "prefect" / "prefect.db"),
        "log": (folder / "backfill.log").read_text(encoding="utf-8")[-2000:],
    }


def report(page: Page, options: argparse.Namespace, told: dict[str, object]) -> None:
    coordinator, shards, database = told["coordinator"], told["shards"], told["database"]
    assert isinstance(coordinator, Watched)
    assert isinstance(shards, Watched)
    assert isinstance(database, dict)
    record, calls, asking_s = told["record"], told["calls"], told["asking_s"]
    assert isinstance(record, dict)
    assert isinstance(calls, int)
    assert isinstance(asking_s, float)
    page.say(
        f"{options.questions:,} objects of an inventory planned in {told['planned_s']:,.0f} s; then "
        f"{asking_s / 60:.1f} minutes of asking by {options.workers} workers at a cap of {options.qps:,}/s: "
        f"{calls:,} calls, {calls / asking_s:,.0f} a second, {calls / options.questions:.1%} of the whole. "
        f"At that rate the whole takes {options.questions / calls * asking_s / 3600:.1f} h on this machine."
    )
    page.table(
        ("what", "figure"),
        [
            ("status at the end", record["status"]),
            ("verdicts, and different questions among them", told["verdicts"]),
            ("calls in all, the fullest calendar second", f"{told['all_calls']:,}, {told['fullest']:,}"),
            ("CPU of the workers' processes for a question, ms", f"{shards.whole_cpu_s / calls * 1000:.2f}"),
            ("CPU of the coordinator, plan included, s", f"{coordinator.whole_cpu_s:.0f}"),
            *(
                (f"rows of Prefect's {name}", f"{rows:,}")
                for name, rows in database.items()
                if name != "MB" and rows
            ),
            ("Prefect's database, MB", f"{database['MB']:.1f}"),
        ],
    )
    rows = []
    for name, watched in (("coordinator", coordinator), ("a worker's shard process", shards)):
        for samples in watched.resident_mib.values():
            if len(samples) < 6 or (watched is shards and max(samples) < 150):
                continue  # too short to say anything; or Prefect's supervisor of a flow run
            fifth = max(len(samples) // 5, 1)
            rows.append(
                [
                    name,
                    f"{len(samples) * LOOK_EVERY_S:,.0f}",
                    f"{statistics.median(samples[fifth : 2 * fifth]):.0f}",
                    f"{statistics.median(samples[-2 * fifth : -fifth] or samples):.0f}",
                    f"{max(samples):.0f}",
                ]
            )
    page.table(("process", "watched, s", "MiB in its second fifth", "in its fourth", "at most"), rows[:24])


def draw(inventory: Path, rows: int) -> None:
    """The inventory of an archive of so many pictures, as Parquet."""
    size_bytes = len(picture(0, BASE))
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'")
        connection.execute(
            f"COPY (SELECT {key_sql('i')} AS key, {size_bytes} AS size, {etag_sql('i')} AS e_tag,"
            f" TIMESTAMP '2024-01-01 00:00:00' AS last_modified_date FROM range({rows}) AS t(i))"
            f" TO '{inventory}' (FORMAT parquet, COMPRESSION snappy)"
        )


@contextmanager
def worker(number: int, folder: Path, environment: dict[str, str]) -> Iterator[int]:
    """A worker that takes one shard at a time; its process id."""
    with (
        (folder / f"worker-{number}.log").open("wb") as log,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "prefect", "worker", "start", "--pool", "facesweep-shards"),
                *("--name", f"w{number}", "--limit", "1"),
            ],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield process.pid
        finally:
            process.terminate()


def said(arguments: Sequence[object], environment: dict[str, str], *, may_fail: bool = False) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "flows", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode and not may_fail:
        raise RuntimeError(f"{command}: {ended.stdout}{ended.stderr}")
    return ended.stdout


def descendants(process_id: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    try:
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [found for each in children for found in (int(each), *descendants(int(each)))]


def database(path: Path) -> dict[str, float]:
    """Rows of each of Prefect's tables that a run fills, and the megabytes of it all."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        tables = ("flow_run", "flow_run_state", "task_run", "task_run_state", "artifact", "log", "events")
        counts = {each: connection.execute(f"SELECT count(*) FROM {each}").fetchone()[0] for each in tables}
    size_bytes = sum(each.stat().st_size for each in path.parent.glob("prefect.db*"))
    return {**counts, "MB": size_bytes / 1e6}


if __name__ == "__main__":
    main()
