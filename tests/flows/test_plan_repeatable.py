"""Invariants 7 and 9 where listing and planning meet: the same plan every time, in the same memory."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from domain.runs import RUN_ID
from tasks.units.draft import draft_audit
from tasks.units.opening import open_audit
from tests.flows.faces import folder_of_faces
from tests.flows.facesweep_process import ROOT

SPEC = """\
[audit]
name = "e2e"
home = "{home}"

[source]
url = "source"
{more}

[providers.tencent]
[providers.aliyun]
"""


def drafted(folder: Path, home: str, more: str = "", run_id: str = "a-run") -> dict[str, bytes]:
    """The files of a plan, by path."""
    spec = folder / f"{home}.toml"
    spec.write_text(SPEC.format(home=home, more=more))

    async def story() -> dict[str, bytes]:
        found = open_audit(spec)
        async with draft_audit(found.home, found.spec, run_id) as draft:
            kept = folder / f"kept-{home}"
            shutil.copytree(draft.folder, kept)
        return {
            path.relative_to(kept).as_posix(): path.read_bytes() for path in kept.rglob("*") if path.is_file()
        }

    assert RUN_ID.fullmatch(run_id)
    return asyncio.run(story())


@pytest.mark.parametrize(
    "more",
    [
        "",
        'sample = "40%"',
        "sample = 5",
        'exclude = ["*3.jpg"]',
        'sample = 7\nstrata = "prefix:1"\nallocation = "equal"',
        'sample = "30%"\nstrata = "prefix:1"',
    ],
)
def test_invariant_9_the_same_spec_and_bucket_give_the_same_plan_byte_for_byte(
    tmp_path: Path, more: str
) -> None:
    """Whatever the run is called and wherever its home is."""
    folder_of_faces(tmp_path / "source", 20)
    folder_of_faces(tmp_path / "source" / "a folder", 6)
    first = drafted(tmp_path, "first", more, "monday")
    second = drafted(tmp_path, "second", more, "tuesday")
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
    assert any("shard" in name for name in first)


LISTED = r"""
import re, sys
from datetime import UTC, datetime
from pathlib import Path
from domain.objects import ObjectRef, Store
from domain.verdicts import Provider
from tasks.buckets.listing import write_listing
from tasks.candidates import Selection, plan, read_shard, shard_path

folder, objects = Path(sys.argv[1]), int(sys.argv[2])
moment = datetime(2026, 1, 1, tzinfo=UTC)

def batches():
    for start in range(0, objects, 1000):
        keys = [f"selfies/{number:09}.jpg" for number in range(start, start + 1000)]
        yield [
            ObjectRef(f"s3://kyc/{key}", Store.S3, "kyc", key, None, f"{key:0>32}", 9, moment) for key in keys
        ]

def peak_kib():
    # Not getrusage: its peak begins with that of the process that started this one.
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

write_listing(batches(), folder / "listing")
after_listing = peak_kib()
totals = plan(
    sorted((folder / "listing").glob("*.parquet")), [], {Provider.TENCENT: 3000}, Selection(),
    folder / "plan", memory_limit_bytes=128 * 1024**2, threads=1,
)
read = sum(
    len(batch)
    for shard in totals.providers[Provider.TENCENT].shards
    for batch in read_shard(shard_path(folder / "plan", shard))
)
print(read, after_listing, peak_kib())
"""


def peaks_mib(folder: Path, objects: int) -> tuple[float, float]:
    """Peak memory of a process once it has listed so many objects, and once it has planned and read them."""
    folder.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", LISTED, str(folder), str(objects)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    read, listing_kib, all_kib = map(int, told.stdout.split())
    assert read == objects
    return listing_kib / 1024, all_kib / 1024


def test_invariant_7_four_times_the_objects_take_no_more_memory(tmp_path: Path) -> None:
    """Beyond one row group a listing grows by nothing, and a plan stays within what DuckDB is given."""
    few = peaks_mib(tmp_path / "few", 60_000)
    many = peaks_mib(tmp_path / "many", 240_000)
    assert many[0] - few[0] < 20, (few, many)
    assert many[1] - few[1] < 128, (few, many)
