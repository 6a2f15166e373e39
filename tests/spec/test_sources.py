"""Where an audit's objects come from, as an audit and its doctor see it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from domain.runs import Progress
from tasks.settings import Spec, spec_of
from tasks.units.doctor import Check, examine
from tasks.units.sources import list_source
from tasks.units.watching import watching


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(b"face")
    return folder


def spec(faces: Path, **source: Any) -> Spec:
    told = {
        "audit": {"name": "kyc", "home": str(faces.parent / "home")},
        "source": {"url": str(faces), **source},
        "providers": {"tencent": {}},
    }
    return spec_of(told, "kyc.toml")


async def source_check(spec: Spec) -> Check:
    async with aclosing(examine(spec)) as checks:
        return await anext(checks)


def listed(folder: Path) -> Iterator[str]:
    for part in sorted((folder / "listing").glob("*.parquet")):
        yield from pq.read_table(part)["key"].to_pylist()


def test_a_listing_has_no_inventory_beside_it(tmp_path: Path, faces: Path) -> None:
    told: list[Progress] = []

    with watching(told.append):
        assert asyncio.run(list_source(spec(faces).source, tmp_path)) is None

    assert list(listed(tmp_path)) == [f"{number}.jpg" for number in range(5)]
    assert told == [Progress("listing", 5)]
    assert [path.suffix for path in (tmp_path / "listing").iterdir()] == [".parquet"]


def test_a_listing_made_from_an_inventory_says_from_which(tmp_path: Path, faces: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("3.jpg\n1.jpg\n9.jpg\n")
    told: list[Progress] = []

    with watching(told.append):
        totals = asyncio.run(list_source(spec(faces, inventory=str(path)).source, tmp_path))

    assert totals is not None
    assert (totals.rows, totals.listed) == (3, 3)
    assert sorted(listed(tmp_path)) == ["1.jpg", "3.jpg", "9.jpg"]
    assert told[-1] == Progress("listing", 3)
    assert json.loads((tmp_path / "listing/inventory.json").read_text()) == {
        "inventory": str(path),
        "made_at": None,
        "parts": 1,
        "rows": 3,
        "listed": 3,
        "left_out": {},
        "looked_up": 3,
        "absent": {"gone": 1},
    }


def test_a_listing_that_is_cancelled_stops_with_its_thread(tmp_path: Path, faces: Path) -> None:
    """A thread is not cancelled with whoever waits for it: left alone, it would list on to the end."""
    path = tmp_path / "list.txt"
    path.write_text("1.jpg\n" * 5_000)
    begun = threading.Event()
    told: list[int] = []

    def watch(progress: Progress) -> None:
        told.append(progress.listed)
        begun.set()

    async def story() -> None:
        with watching(watch):
            listing = asyncio.ensure_future(list_source(spec(faces, inventory=str(path)).source, tmp_path))
            await asyncio.to_thread(begun.wait, 20)
            listing.cancel()
            await asyncio.wait([listing])
            assert listing.cancelled()

    asyncio.run(story())  # waits for the threads too

    assert told[-1] < 5_000
    assert not (tmp_path / "listing").exists()


@pytest.mark.parametrize("lines", ["9.jpg\n2.jpg\n", "2.jpg"])
def test_doctor_fetches_what_an_inventory_names(tmp_path: Path, faces: Path, lines: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(lines)

    check = asyncio.run(source_check(spec(faces, inventory=str(path))))

    assert check == Check("source", is_well=True, sentence=f"{faces} can be read, and so can {path}")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("9.jpg\n", "list.txt can be read but names nothing that is there"),
        ("../1.jpg\n", "list.txt, line 1: '../1.jpg' is no path"),
        (None, "there is no file"),
    ],
)
def test_doctor_says_what_is_wrong_with_an_inventory(
    tmp_path: Path, faces: Path, lines: str | None, said: str
) -> None:
    path = tmp_path / "list.txt"
    if lines is not None:
        path.write_text(lines)

    check = asyncio.run(source_check(spec(faces, inventory=str(path))))

    assert not check.is_well
    assert said in check.sentence
