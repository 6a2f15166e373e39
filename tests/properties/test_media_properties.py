"""Whatever bytes come in: an Unfit with a reason, or media within the limits that were given."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from domain.errors import Unfit
from domain.media import PreparedMedia
from domain.objects import MediaKind
from tasks.media import containers, headers
from tasks.media.limits import ALIYUN, TENCENT, ImagePolicy, ProviderLimits
from tasks.media.prepare import prepare
from tasks.media.segments import copied_segment, decoded_segment, frames_shown
from tasks.media.sniff import Format, sniff
from tasks.media.videos import Footage, Packet
from tasks.media.workers import MediaWorkers
from tests import media_corpus

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
SEEDS = [
    (SAMPLE / name).read_bytes()
    for name in (
        "selfies/2024-03/poor.jpg",
        "phone/lying-on-its-side.jpg",
        "formats/print-cmyk.jpg",
        "formats/selfie.png",
        "formats/transparent.png",
        "formats/selfie.webp",
        "formats/animated.gif",
        "formats/old.bmp",
        "formats/scan.tiff",
        "videos/tiny.mp4",
        "videos/clip.mov",
        "videos/clip.avi",
        "videos/clip.flv",
        "videos/clip.webm",
        "formats/photo.heic",
    )
] + [
    make()
    for make in (
        media_corpus.other_images()["AVIF/120.avif"],
        media_corpus.other_images()["PNG with metadata/icc.png"],
        media_corpus.jpegs()["JPEG with an ICC profile/wide-large.jpg"],
        media_corpus.jpegs()["JPEG of several pictures (MPO)/two.jpg"],
        media_corpus.clips()["MPEG/h264.ts"],
        media_corpus.clips()["3GP/mpeg4.3gp"],
        media_corpus.clips()["MP4 of 3 to 20 s/sound.mp4"],
    )
]
REASONS = {
    "empty", "not_media", "unsupported_format", "truncated", "undecodable", "too_many_pixels",
    "out_of_memory", "too_slow", "crashed_decoder", "too_large", "image_too_small", "video_too_short",
    "too_many_frames",
}  # fmt: skip
LIMITS = st.sampled_from(
    [
        TENCENT,
        ALIYUN,
        replace(ALIYUN, video_min_bytes=0),
        replace(TENCENT, image_base64_bytes=12_000),
        replace(ALIYUN, image_width=90, image_height=50),
        replace(ALIYUN, image_policy=ImagePolicy.DOCUMENTED),
        replace(TENCENT, image_policy=ImagePolicy.RECOMMENDED),
    ]
)


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[MediaWorkers]:
    """A tenth of the memory and of the time that a run allows: nothing here may need more."""
    async with MediaWorkers(processes=1, timeout_s=20.0, memory_bytes=400 * 1024**2) as workers:
        yield workers


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file with some bytes changed, and perhaps its end gone."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    # Headers are where a parser can be misled, so half of the changes hit the first 700 bytes
    reach = draw(st.sampled_from([700, len(content)]))
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(0, min(reach, len(content)) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))) :]
    return bytes(content)


async def attempt(content: bytes, limits: ProviderLimits, workers: MediaWorkers) -> PreparedMedia | str:
    """What was prepared, or the reason why nothing was; any other error fails the test."""
    try:
        return await prepare(content, limits, workers)
    except Unfit as refusal:
        return refusal.reason


def assert_within(media: PreparedMedia, limits: ProviderLimits) -> None:
    """The promise of `prepare`, checked without its code."""
    assert len(media.content) * 4 / 3 <= 10_000_000
    assert hashlib.sha256(media.content).hexdigest() == media.sent_sha256
    if media.kind is MediaKind.VIDEO:
        assert limits.video_min_bytes <= len(media.content)
        assert len(media.content) * 4 / 3 <= limits.video_base64_bytes
        if media.preparation != "untouched":
            with av.open(io.BytesIO(media.content), format="mov") as file:
                stream = file.streams.video[0]
                assert stream.duration is not None
                assert stream.time_base is not None
                duration_s = float(stream.duration * stream.time_base)
            assert limits.video_min_s - 0.01 <= duration_s <= limits.video_max_s
        return
    assert len(media.content) * 4 / 3 <= limits.image_base64_bytes
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(media.content)) as picture:
            form, size = picture.format, picture.size
    except OSError:
        # Damage that size and orientation can be read in spite of is left to the provider to judge
        assert media.preparation == "untouched"
        return
    assert (form or "").replace("MPO", "JPEG").lower() in limits.image_formats
    assert size[0] <= (limits.image_width or size[0])
    assert size[1] <= (limits.image_height or size[1])


@pytest.mark.anyio
@settings(max_examples=150, deadline=None)
@given(content=damaged(), limits=LIMITS)
async def test_damaged_media_end_as_unfit_or_within_the_limits(
    content: bytes, limits: ProviderLimits, workers: MediaWorkers
) -> None:
    result = await attempt(content, limits, workers)
    if isinstance(result, str):
        assert result in REASONS - {"too_slow"}
    else:
        assert_within(result, limits)
        assert result.content_sha256 == hashlib.sha256(content).hexdigest()


@given(content=st.binary(max_size=300))
def test_any_bytes_are_sniffed_or_unfit(content: bytes) -> None:
    with contextlib.suppress(Unfit):
        sniff(content)
        return
    with pytest.raises(Unfit) as refusal:
        sniff(content)
    assert refusal.value.reason in {"empty", "not_media"}


@pytest.mark.anyio
@settings(max_examples=60, deadline=None)
@given(
    head=st.sampled_from([b"", *(seed[:16] for seed in SEEDS)]),
    tail=st.binary(max_size=200),
    limits=LIMITS,
)
async def test_a_familiar_beginning_before_any_bytes_is_no_danger(
    head: bytes, tail: bytes, limits: ProviderLimits, workers: MediaWorkers
) -> None:
    result = await attempt(head + tail, limits, workers)
    if isinstance(result, str):
        assert result in REASONS
    else:
        assert_within(result, limits)


@pytest.mark.anyio
@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    bounds=st.tuples(st.integers(1, 250), st.integers(1, 250)),
    orientation=st.integers(0, 9),
    form=st.sampled_from(["JPEG", "PNG", "WEBP"]),
)
async def test_nothing_is_upscaled_and_untouched_means_the_same_bytes(
    size: tuple[int, int],
    bounds: tuple[int, int],
    orientation: int,
    form: str,
    workers: MediaWorkers,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.new("RGB", size, "tan").save(out, form, exif=exif)
    content = out.getvalue()
    limits = replace(ALIYUN, image_width=bounds[0], image_height=bounds[1])
    media = await prepare(content, limits, workers)
    assert_within(media, limits)
    with Image.open(io.BytesIO(media.content)) as picture:
        assert min(picture.size) <= min(size)
        assert max(picture.size) <= max(size)
    assert (media.preparation == "untouched") == (media.content == content)
    assert (media.preparation == "untouched") == (media.sent_sha256 == media.content_sha256)


@given(content=st.one_of(st.binary(max_size=400), damaged()))
def test_whatever_a_parser_in_the_event_loop_is_given_it_answers(content: bytes) -> None:
    """They run beside the calls, in no child that could be killed: no error, and bounded work."""
    for head in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"):
        headers.read_jpeg_header(head + content)
        headers.read_png_header(head + content)
        headers.jpeg_frame(head + content)
    headers.exif_orientation(content)
    for form in Format:
        if form.kind is MediaKind.VIDEO:
            containers.demuxer(content, form)
            with contextlib.suppress(Unfit):
                containers.check(content, form)
    longer = containers.padded(content, len(content) + 100)
    assert longer is None or (longer.startswith(content) and len(longer) == len(content) + 100)


@st.composite
def clocks(draw: st.DrawFn) -> Footage:
    """Packets of any length in any order of showing, some of them key frames."""
    count = draw(st.integers(1, 60))
    packets, at_s = [], 0.0
    for number in range(count):
        lasts_s = draw(st.sampled_from([0.0, 0.02, 0.04, 0.5, 3.0]))
        back_s = draw(st.sampled_from([0.0, 0.0, 0.04]))
        is_key = number == 0 or draw(st.booleans())
        start_s = max(at_s - back_s, 0.0)
        packets.append(Packet(start_s, start_s + lasts_s, draw(st.integers(1, 9_000)), is_key))
        at_s += lasts_s
    facts = Footage(0.0, count, 480, 640, "h264", tuple(packets), True, 0.0)
    return replace(facts, duration_s=facts.spanned_s)


@given(facts=clocks(), limits=LIMITS, max_bytes=st.integers(10_000, 400_000))
def test_a_segment_is_within_the_length_and_the_bytes_it_may_have(
    facts: Footage, limits: ProviderLimits, max_bytes: int
) -> None:
    found = copied_segment(facts, limits, max_bytes)
    if found is not None:
        chosen = facts.packets[found.first : found.last]
        assert chosen[0].is_key
        assert found.length_s <= limits.video_max_s + 1e-6
        assert sum(packet.size_bytes for packet in chosen) <= max_bytes
        assert all(packet.end_s <= found.start_s + found.length_s + 1e-6 for packet in chosen)
        assert found.is_whole or frames_shown(facts.packets, found) >= limits.video_min_frames
    made = decoded_segment(facts, limits)
    assert facts.packets[made.first].is_key
    assert facts.packets[made.first].start_s <= made.start_s + 1e-6
    assert made.length_s <= limits.video_max_s
    assert made.start_s + made.length_s <= facts.spanned_s + 1e-6
