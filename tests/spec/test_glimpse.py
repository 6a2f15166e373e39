"""A glimpse vouches for an object by a few ranges of it: only where a whole look would say the same."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from domain.errors import Unfit
from domain.objects import MediaKind
from tasks.media.boxes import box_at, boxes, video_track
from tasks.media.glimpse import HEAD_BYTES, TAIL_BYTES, Glimpse, glimpse
from tasks.media.limits import ALIYUN, ImagePolicy
from tasks.media.prepare import UNTOUCHED, prepare
from tasks.media.workers import MediaWorkers
from tests.contract.emulated_media import image, video

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def seen(content: bytes, size_bytes: int | None = None) -> tuple[Glimpse | None, list[tuple[int, int]]]:
    """What is seen of an object, and which ranges were read for it."""
    reads: list[tuple[int, int]] = []

    async def read(start: int, length: int) -> bytes:
        reads.append((start, length))
        return content[start : start + length]

    size_bytes = len(content) if size_bytes is None else size_bytes
    return asyncio.run(glimpse(read, size_bytes, ALIYUN)), reads


def made() -> dict[str, bytes]:
    """Media at and beyond each limit, and all of the sample."""
    clips = {f"clip of {seconds} s": video(seconds=seconds, rate=12) for seconds in (0.9, 1, 2.5, 3, 3.2)}
    return {
        **clips,
        "clip of 5 frames": video(seconds=2, rate=3),
        "small clip": video(at_least_bytes=0),
        "tall": image(width=1080, height=1920),
        "too tall": image(width=1080, height=1921),
        "too wide": image(width=1081, height=1920),
        "png": image(kind="PNG"),
        **{str(path.relative_to(SAMPLE)): path.read_bytes() for path in SAMPLE.rglob("*") if path.is_file()},
    }


@pytest.mark.anyio
@pytest.mark.parametrize("policy", ImagePolicy)
async def test_a_glimpse_says_yes_only_where_a_whole_look_leaves_the_object_untouched(
    policy: ImagePolicy,
) -> None:
    limits = replace(ALIYUN, image_policy=policy)
    async with MediaWorkers() as workers:
        agreed = 0
        for name, content in made().items():

            async def read(start: int, length: int, content: bytes = content) -> bytes:
                return content[start : start + length]

            found = await glimpse(read, len(content), limits)
            if found is None:
                continue
            try:
                whole = await prepare(content, limits, workers)
            except Unfit as error:
                pytest.fail(f"{name}: {error}")
            assert (whole.preparation, whole.kind) == (UNTOUCHED, found.kind), name
            agreed += 1
    assert agreed >= 20


@pytest.mark.parametrize("name", ["clip of 1 s", "clip of 2.5 s", "clip of 3 s", "tall", "videos/clip.mov"])
def test_what_is_within_every_limit_is_vouched_for(name: str) -> None:
    assert seen(made()[name])[0] is not None


@pytest.mark.parametrize(
    "name",
    ["clip of 0.9 s", "clip of 3.2 s", "clip of 5 frames", "small clip", "too tall", "too wide", "png"],
)
def test_what_is_beyond_a_limit_is_not(name: str) -> None:
    assert seen(made()[name])[0] is None


def test_a_jpeg_is_vouched_for_by_its_head_and_its_end() -> None:
    content = image()
    found, reads = seen(content)

    assert found is not None
    assert found.kind is MediaKind.IMAGE
    assert reads == [(0, HEAD_BYTES), (len(content) - TAIL_BYTES, TAIL_BYTES)]
    assert seen(content[:-3])[0] is None  # its end is missing


def test_an_index_at_the_front_takes_one_range_and_one_at_the_end_a_second() -> None:
    assert len(seen(video())[1]) == 1  # padded behind its index
    assert len(seen((SAMPLE / "videos" / "clip.mp4").read_bytes())[1]) == 2


@pytest.mark.parametrize("size_bytes", [10_000_000, 50_000_000])
def test_what_is_over_ten_megabytes_is_not_even_looked_at(size_bytes: int) -> None:
    found, reads = seen(video(), size_bytes)
    assert (found, reads) == (None, [])


def test_a_file_that_ends_inside_a_box_is_not_vouched_for() -> None:
    content = (SAMPLE / "videos" / "clip.mp4").read_bytes()
    assert seen(content)[0] is not None
    for cut in (1, 100, 5000):
        assert seen(content[:-cut])[0] is None


def test_a_track_says_what_the_whole_file_says() -> None:
    content = video(seconds=2, width=320, height=240, rate=10)
    index = next(box for box in boxes(content) if box.type == b"moov")

    track = video_track(content, index)

    assert track is not None
    assert (track.codec, track.width, track.height, track.frames) == (b"mp4v", 320, 240, 20)
    assert track.shortest_s == pytest.approx(2, abs=0.11)
    assert track.longest_s == pytest.approx(2, abs=0.11)


@pytest.mark.parametrize(
    ("header", "edges"),
    [
        (b"\0\0\0\x10free", (8, 16)),
        (b"\0\0\0\1mdat" + (1 << 40).to_bytes(8), (16, 1 << 40)),
        (b"\0\0\0\0mdat", None),  # up to the end of the file: where that is, a part cannot tell
        (b"\0\0\0\7free", None),
        (b"\0\0\0\1mdat" + (15).to_bytes(8), None),
        (b"\0\0\0\x10fre", None),
    ],
)
def test_a_box_says_where_it_ends(header: bytes, edges: tuple[int, int] | None) -> None:
    assert box_at(header, 0) == edges
