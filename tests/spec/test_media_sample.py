"""The sample media reach the branches that data/sample/SOURCES.md says they reach."""

import re
import runpy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.errors import Unfit
from tasks.media.limits import ALIYUN, TENCENT, ProviderLimits
from tasks.media.prepare import prepare
from tasks.media.workers import MediaWorkers

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in (SAMPLE / "SOURCES.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[MediaWorkers]:
    async with MediaWorkers(processes=1) as workers:
        yield workers


async def outcome(content: bytes, limits: ProviderLimits, workers: MediaWorkers) -> str:
    try:
        preparation = (await prepare(content, limits, workers)).preparation
        return re.sub(r"padded \d+ to", "padded … to", preparation)
    except Unfit as refusal:
        return f"unfit: {refusal.reason}"


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
async def test_each_file_reaches_the_branch_its_row_names(
    row: tuple[str, ...], workers: MediaWorkers
) -> None:
    name, _what, label, tencent, aliyun = row
    content = (SAMPLE / name.strip("`")).read_bytes()
    found = re.search(rb"facesweep-sample:([a-z0-9_-]{1,40})", content)
    assert (found[1].decode() if found else "") == label
    assert await outcome(content, TENCENT, workers) == tencent
    assert await outcome(content, ALIYUN, workers) == aliyun


def test_every_file_has_its_row() -> None:
    files = {
        path.relative_to(SAMPLE).as_posix()
        for path in SAMPLE.rglob("*")
        if path.is_file() and path.parent != SAMPLE
    }
    assert {row[0].strip("`") for row in ROWS} == files


def test_the_sample_stays_small_enough_to_clone() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 3_000_000


def test_the_script_draws_every_file_and_nothing_else(tmp_path: Path) -> None:
    script = runpy.run_path(str(SAMPLE / "generate.py"))
    script["generate"](tmp_path)
    drawn = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert drawn == {row[0].strip("`") for row in ROWS}


@pytest.mark.parametrize(
    "name",
    [
        "selfies/2024-03/genuine-01.jpg",
        "formats/selfie.png",
        "formats/selfie.webp",
        "videos/clip.mp4",
        "videos/clip.avi",
        "videos/clip.flv",
    ],
)
def test_the_script_draws_the_same_bytes_every_time(name: str) -> None:
    draw = runpy.run_path(str(SAMPLE / "generate.py"))["FILES"][name]
    assert draw() == draw()
