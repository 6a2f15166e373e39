"""Whatever the bytes, reading what a file says of itself ends soon and never in an error."""

import asyncio
import functools
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import Unfit
from domain.signals import Signals
from tasks.media.aigc import label_in_text, label_in_xmp
from tasks.media.boxes import boxes, video_track
from tasks.media.exif import read_exif
from tasks.media.glimpse import glimpse
from tasks.media.limits import ALIYUN
from tasks.media.metadata import MOST_BLOCK_BYTES
from tasks.media.pdq import hash_picture
from tasks.media.signals import read_signals, verify_manifest
from tasks.media.sniff import Format
from tests.contract.emulated_media import video
from tests.spec.signed_media import signed
from tests.spec.test_signals import LABELLED, clip, picture

FORMS = st.sampled_from(list(Format))
READ = [Format.JPEG, Format.PNG, Format.WEBP, Format.TIFF, Format.HEIF, Format.MP4, Format.MOV, Format.GIF]
IN_TIME = pytest.mark.timeout(30)  # each takes milliseconds; what is not linear takes minutes
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@functools.cache
def seeds() -> list[bytes]:
    """Files that reach every branch of every parser."""
    made = [make() for make in LABELLED.values()]
    sample = Path(__file__).parents[2] / "data" / "sample"
    formats = [path.read_bytes() for path in (sample / "formats").iterdir()]
    return [*made, *formats, signed(picture(), "JPEG"), clip(), video("swap", at_least_bytes=0)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file, a few of its bytes changed, cut, doubled or thrown in."""
    content = bytearray(draw(st.sampled_from(seeds()))[:20_000])
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.integers(0, 4)):
            case 0:
                content[at : at + 1] = bytes((draw(st.integers(0, 255)),))
            case 1:
                content[at : at + 4] = draw(
                    st.sampled_from([b"\xff" * 4, bytes(4), b"\0\0\0\1", b"\x7f\xff\xff\xff"])
                )
            case 2:
                del content[at : at + draw(st.integers(1, 200))]
            case 3:
                content[at:at] = content[at : at + draw(st.integers(1, 200))]
            case _:
                content[at:at] = draw(st.binary(max_size=40))
    return bytes(content)


def checked(content: bytes, form: Format, index: bytes = b"") -> None:
    """The signals are fit for their columns."""
    found = read_signals(content, form, index)
    assert isinstance(found, Signals)
    for name, value in found.columns().items():
        if isinstance(value, str):
            value.encode()  # no half of a surrogate pair
            assert "\0" not in value, name
            assert len(value) <= 4096
            if name != "aigc_raw":
                assert len(value) <= 200


@QUIET
@given(damaged(), st.sampled_from(READ))
def test_damaged_files_give_signals_or_none_of_them(content: bytes, form: Format) -> None:
    checked(content, form)
    checked(content[:4096], form, content)


@QUIET
@given(st.binary(max_size=5000), FORMS)
def test_any_bytes_taken_for_any_format_give_nothing_worse_than_no_signal(
    content: bytes, form: Format
) -> None:
    checked(content, form)
    read_exif(content)
    label_in_xmp(content)
    for each in boxes(content):
        video_track(content, each)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.booleans())
def test_any_text_is_a_label_or_none(text: str, is_named: bool) -> None:
    for each in (text, '{"Label":' + text, '{"AIGC":{"Label":"1","ProduceID":"' + text):
        label_in_text(each, is_named=is_named)


@IN_TIME
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff\xe1\0\x02" * 500_000,
        b"\xff\xd8" + (b"\xff\xe1\xff\xffhttp://ns.adobe.com/xap/1.0/\0").ljust(65537, b"<") * 40,
        b"\xff\xd8\xff\xe1\xff\xffhttp://ns.adobe.com/xap/1.0/\0"
        + (b'xmlns:a="http://www.tc260.org.cn/ns/AIGC/1.0/"' + b"a:AIGC" * 11_000)[:65500],
        b"\xff\xd8\xff\xe1\xff\xffhttp://ns.adobe.com/xap/1.0/\0"
        + (b"CreatorTool DigitalSourceType http://www.tc260.org.cn/ns/AIGC/1.0/ Label=" * 1000)[:65500],
        b"\xff\xd8" + b"<x:xmpmeta" * 200_000,
    ],
    ids=["empty segments", "full segments", "marks of a label", "marks of tools", "packets"],
)
def test_hostile_pictures_are_read_in_bounded_time(content: bytes) -> None:
    checked(content, Format.JPEG)


@IN_TIME
def test_hostile_boxes_are_read_in_bounded_time() -> None:
    nested = b"".join((8 + 8 * depth).to_bytes(4) + b"moov" for depth in range(100_000, 0, -1))
    many = b"\0\0\0\x08free" * 500_000
    keys = b"\0\0\0\x08\0\0\0\x08mdta" * 100_000
    for content in (nested, many, b"\0\0\0\x20ftypmp42" + keys):
        checked(content, Format.MP4, content)
        for each in boxes(content):
            video_track(content, each)


def test_reading_takes_no_more_memory_than_a_few_blocks() -> None:
    packed = LABELLED["png packed text"]()
    tracemalloc.start()
    try:
        for content, form in ((packed, Format.PNG), (bytes(30_000_000), Format.JPEG)):
            tracemalloc.reset_peak()
            read_signals(content, form)
            assert (
                tracemalloc.get_traced_memory()[1] < tracemalloc.get_traced_memory()[0] + 8 * MOST_BLOCK_BYTES
            )
    finally:
        tracemalloc.stop()


@QUIET
@given(damaged(), st.integers(0, 30_000))
def test_a_glimpse_reads_a_bounded_part_and_says_yes_or_nothing(content: bytes, more_bytes: int) -> None:
    reads: list[tuple[int, int]] = []

    async def read(start: int, size_bytes: int) -> bytes:
        reads.append((start, size_bytes))
        return content[start : start + size_bytes]

    asyncio.run(glimpse(read, len(content) + more_bytes, ALIYUN))

    assert len(reads) <= 3
    assert sum(size for _, size in reads) <= 2 * 65536 + 1024**2


@settings(max_examples=40, deadline=None)
@given(damaged(), st.sampled_from([Format.JPEG, Format.PNG, Format.WEBP, Format.GIF]))
def test_a_damaged_picture_has_a_hash_or_is_unfit(content: bytes, form: Format) -> None:
    try:
        found, quality = hash_picture(content, form)
    except Unfit:
        return
    assert len(found) == 64
    assert 0 <= quality <= 100


@settings(max_examples=40, deadline=None)
@given(damaged(), st.sampled_from([Format.JPEG, Format.PNG, Format.MP4]))
def test_a_damaged_manifest_is_invalid_or_unknown_to_the_library(content: bytes, form: Format) -> None:
    assert verify_manifest(content, form) in (None, "valid", "invalid")
