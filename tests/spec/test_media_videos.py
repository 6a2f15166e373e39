"""Media: a video goes untouched wherever the provider takes it, else the least is done that makes it fit."""

import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from domain.errors import Unfit
from domain.media import PreparedMedia
from domain.objects import MediaKind
from tasks.media.limits import ALIYUN, TENCENT, TENCENT_ENCRYPTED, ProviderLimits
from tasks.media.prepare import prepare
from tasks.media.segments import copied_segment, decoded_segment, frames_shown, middles
from tasks.media.videos import Footage, Packet
from tasks.media.workers import MediaWorkers
from tests import media_corpus

pytestmark = pytest.mark.anyio

ANY_SIZE = replace(ALIYUN, video_min_bytes=0)


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[MediaWorkers]:
    async with MediaWorkers(processes=1) as workers:
        yield workers


def clip(
    frames: int,
    rate: int = 8,
    size: tuple[int, int] = (64, 96),
    form: str = "mp4",
    codec: str = "mpeg4",
    gop: int = 12,
    **options: str,
) -> bytes:
    """A video of that many frames, each of a grey that says its number: 5 more than the one before."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options=options) as file:
        stream = file.add_stream("flv" if form == "flv" else codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        for number in range(frames):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, (number * 5 % 256,) * 3))
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def numbers(content: bytes) -> list[int]:
    """The numbers of a clip's frames, by their grey."""
    with av.open(io.BytesIO(content), format="mov") as file:
        return [
            round(float(np.median(frame.to_ndarray(format="gray"))) / 5) for frame in file.decode(video=0)
        ]


def opened_size(content: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(content), format="mov") as file:
        return file.streams.video[0].width, file.streams.video[0].height


async def reason(content: bytes, limits: ProviderLimits, workers: MediaWorkers) -> str:
    with pytest.raises(Unfit) as refusal:
        await prepare(content, limits, workers)
    return refusal.value.reason


def segment_of(media: PreparedMedia) -> tuple[float, float]:
    """Start and length, read from the column `preparation`."""
    found = re.match(r"segment (\d+\.\d+)\+(\d+\.\d+) of \d+\.\d+ s, ", media.preparation)
    assert found is not None, media.preparation
    return float(found[1]), float(found[2])


# --- untouched ---


@pytest.mark.parametrize("form", ["mp4", "mov", "avi", "flv"])
async def test_tencent_takes_four_containers_untouched(form: str, workers: MediaWorkers) -> None:
    content = clip(16, form=form)
    media = await prepare(content, TENCENT, workers)
    assert media.content is content
    assert (media.kind, media.preparation) == (MediaKind.VIDEO, "untouched")
    assert media.sent_sha256 == media.content_sha256


@pytest.mark.parametrize(("frames", "verdict"), [(8, "taken"), (24, "taken"), (7, "short"), (25, "cut")])
async def test_aliyun_takes_one_to_three_seconds(frames: int, verdict: str, workers: MediaWorkers) -> None:
    content = clip(frames, rate=8)
    if verdict == "short":
        assert await reason(content, ANY_SIZE, workers) == "video_too_short"
        return
    media = await prepare(content, ANY_SIZE, workers)
    assert (media.content is content) == (verdict == "taken")


async def test_aliyun_asks_for_eight_frames_however_long_they_last(workers: MediaWorkers) -> None:
    assert await reason(clip(7, rate=3), ANY_SIZE, workers) == "video_too_short"
    assert await reason(clip(60, rate=2), ANY_SIZE, workers) == "video_too_short", "6 in any 3 s of it"


async def test_tencent_takes_twenty_seconds_untouched(workers: MediaWorkers) -> None:
    assert (await prepare(clip(20, rate=1), TENCENT, workers)).preparation == "untouched"
    assert (await prepare(clip(21, rate=1), TENCENT, workers)).preparation != "untouched"


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280)])
async def test_tencent_takes_720p_either_way_round(size: tuple[int, int], workers: MediaWorkers) -> None:
    assert (await prepare(clip(2, size=size), TENCENT, workers)).preparation == "untouched"


def test_size_limits_hold_under_every_reading_of_the_documents() -> None:
    assert TENCENT.max_video_bytes == 6_000_000
    assert TENCENT.max_image_bytes == 2_250_000
    assert ALIYUN.max_video_bytes == ALIYUN.max_image_bytes == 7_500_000
    assert ALIYUN.video_min_bytes > 100 * 1024
    raised = replace(TENCENT, video_base64_bytes=10_000_000)
    assert raised.max_video_bytes * 4 / 3 < 10**7, "the whole request has 10^7 bytes, not the base64"
    encrypted = TENCENT_ENCRYPTED.video_base64_bytes * 4 / 3
    assert encrypted < 10**7 - 1024, "an encrypted body is encoded twice"


# --- made to fit ---


async def test_a_clip_below_the_least_size_keeps_its_frames_and_gets_an_empty_box(
    workers: MediaWorkers,
) -> None:
    content = clip(16)
    media = await prepare(content, ALIYUN, workers)
    assert media.content.startswith(content)
    assert len(media.content) == ALIYUN.video_min_bytes
    assert media.preparation == f"padded {len(content)} to {ALIYUN.video_min_bytes} bytes"
    assert numbers(media.content) == numbers(content)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265"])
async def test_a_long_clip_is_cut_at_key_frames_and_its_frames_are_copied(
    codec: str, workers: MediaWorkers
) -> None:
    """40 frames of a quarter second, a key frame every second: the middle 2.9 s begin at 4 s."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    content = (
        media_corpus.clip(codec=codec, rate=4, seconds=10, gop=4)
        if options
        else clip(40, rate=4, codec=codec, gop=4)
    )
    media = await prepare(content, ANY_SIZE, workers)
    name = {"libx264": "h264", "libx265": "hevc"}.get(codec, codec)
    assert media.preparation.endswith(f"at the key frame nearest to the middle, copied {name} from mp4")
    start_s, length_s = segment_of(media)
    assert 3.5 <= start_s <= 4.0, "mpeg4 adds key frames of its own"
    assert 2.0 <= length_s <= 2.9
    if codec != "libx265":
        first = round(start_s * 4)
        assert numbers(media.content) == list(range(first, first + round(length_s * 4)))


async def test_frames_are_made_anew_where_there_is_no_key_frame_to_begin_at(workers: MediaWorkers) -> None:
    """Motion JPEG is a codec few players of MP4 know, so it is not copied."""
    media = await prepare(clip(40, rate=4, form="avi", codec="mjpeg"), ANY_SIZE, workers)
    start_s, length_s = segment_of(media)
    assert media.preparation.endswith("at the middle, h264 crf20 from mjpeg in avi")
    assert (start_s, length_s) == (3.55, 2.9)
    assert numbers(media.content) == list(range(15, 26)), "those that begin within the segment"


@pytest.mark.parametrize("size", [(1296, 720), (736, 736), (1080, 1920)])
async def test_what_is_too_large_in_pixels_becomes_480_wide(
    size: tuple[int, int], workers: MediaWorkers
) -> None:
    media = await prepare(clip(4, size=size, codec="mpeg4"), TENCENT, workers)
    width, height = opened_size(media.content)
    assert min(width, height) == 480
    assert abs(width / height - size[0] / size[1]) < 0.01
    assert media.preparation == (
        f"resized {size[0]}x{size[1]} to {width}x{height}, h264 crf20 from mpeg4 in mp4"
    )


@pytest.mark.parametrize("degrees", [90, 180, 270])
async def test_what_is_made_anew_stands_upright(degrees: int, workers: MediaWorkers) -> None:
    """Left white, right black; turned clockwise by 90 degrees the white is above."""
    picture = Image.new("RGB", (1600, 800))
    picture.paste((255, 255, 255), (0, 0, 800, 800))
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 1600, 800, "yuv420p"
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_image(picture)))
        file.mux(stream.encode(None))
    media = await prepare(media_corpus.rotated(out.getvalue(), degrees), TENCENT, workers)
    assert "upright" in media.preparation.split(", ")
    with av.open(io.BytesIO(media.content), format="mov") as file:
        frame = next(file.decode(video=0))
        pixels = frame.to_ndarray(format="gray")
        assert frame.rotation == 0
    height, width = pixels.shape
    assert (width > height) == (degrees == 180)
    white = {90: pixels[10, width // 2], 180: pixels[height // 2, -10], 270: pixels[-10, width // 2]}
    assert white[degrees] > 200


async def test_a_copied_clip_keeps_its_rotation(workers: MediaWorkers) -> None:
    content = media_corpus.rotated(clip(40, rate=4, size=(96, 64), gop=4), 90)
    media = await prepare(content, ANY_SIZE, workers)
    assert "copied" in media.preparation
    for each in (content, media.content):
        with av.open(io.BytesIO(each), format="mov") as file:
            assert next(file.decode(video=0)).rotation == -90


async def test_too_many_frames_a_second_are_thinned_evenly(workers: MediaWorkers) -> None:
    content = media_corpus.clip("webm", "libvpx", seconds=1, rate=60)
    media = await prepare(content, TENCENT, workers)
    assert media.preparation == "every 2nd frame, h264 crf20 from vp8 in webm"
    with av.open(io.BytesIO(media.content), format="mov") as file:
        assert [frame.time for frame in file.decode(video=0)] == pytest.approx(
            [number / 30 for number in range(30)], abs=0.002
        )


async def test_too_many_bytes_for_tencent_become_a_part_of_them(workers: MediaWorkers) -> None:
    content = media_corpus.clip("mov", "mjpeg", size=(640, 480), seconds=2, rate=12, is_noise=True)
    assert len(content) > TENCENT.max_video_bytes
    media = await prepare(content, TENCENT, workers)
    assert len(media.content) <= TENCENT.max_video_bytes
    assert media.preparation == "h264 crf20 from mjpeg in mov"


@pytest.mark.parametrize(("height", "matrix"), [(1080, 1), (480, 6)])
async def test_colours_of_a_clip_without_tags_are_those_that_players_presume(
    height: int, matrix: int, workers: MediaWorkers
) -> None:
    """BT.709 from 720 lines up, BT.601 below: what is scaled down says which one it is."""
    content = clip(10, size=(height * 4 // 3, height), form="matroska")
    media = await prepare(content, TENCENT, workers)
    with av.open(io.BytesIO(media.content), format="mov") as file:
        frame = next(file.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_range) == (matrix, matrix, 1)


async def test_sound_stays_behind_where_a_clip_is_changed(workers: MediaWorkers) -> None:
    media = await prepare(media_corpus.clip(seconds=5, gop=10, sound=True), ALIYUN, workers)
    with av.open(io.BytesIO(media.content), format="mov") as file:
        assert [stream.type for stream in file.streams] == ["video"]


# --- which segment ---


def facts(spanned_s: float, keys_s: float, rate: float = 10.0, size_bytes: int = 1000) -> Footage:
    """A clip with a key frame every so often, each frame of so many bytes."""
    each = max(round(keys_s * rate), 1)
    packets = tuple(
        Packet(number / rate, (number + 1) / rate, size_bytes, number % each == 0)
        for number in range(round(spanned_s * rate))
    )
    return Footage(spanned_s, len(packets), 480, 640, "h264", packets, True, 0.0)


@pytest.mark.parametrize(
    ("spanned_s", "keys_s", "limits", "start_s", "length_s"),
    [
        (20.0, 5.0, TENCENT, 0.0, 20.0),  # all of it
        (30.0, 1.0, TENCENT, 12.0, 5.0),  # (30 - 5) / 2 = 12.5, as near to 12 as to 13
        (30.0, 10.0, TENCENT, 10.0, 5.0),
        (30.0, 100.0, TENCENT, 0.0, 5.0),  # one key frame
        (10.0, 1.0, ALIYUN, 4.0, 2.9),
        (3.1, 1.0, ALIYUN, 0.0, 2.9),
        (3.1, 1.5, ALIYUN, 0.0, 2.9),
    ],
)
def test_a_copied_segment_begins_at_the_key_frame_nearest_to_the_middle(
    spanned_s: float, keys_s: float, limits: ProviderLimits, start_s: float, length_s: float
) -> None:
    found = copied_segment(facts(spanned_s, keys_s), limits, 10**9)
    assert found is not None
    assert (round(found.start_s, 3), round(found.length_s, 3)) == (start_s, length_s)


def test_a_copied_segment_is_shorter_where_bytes_are_scarce_and_none_where_it_would_be_too_short() -> None:
    long = facts(30.0, 1.0, size_bytes=10_000)
    found = copied_segment(long, TENCENT, 350_000)
    assert found is not None
    assert 2.0 <= found.length_s < 3.5
    assert copied_segment(long, TENCENT, 150_000) is None, "under 2 s is less than the provider advises"


def test_a_made_segment_lies_about_the_middle_whatever_the_key_frames() -> None:
    found = decoded_segment(long := facts(30.0, 7.0), TENCENT)
    assert (found.start_s, found.length_s) == (12.5, 5.0)
    assert long.packets[found.first].start_s == 7.0, "decoding begins at the key frame before it"
    assert frames_shown(long.packets, found) == 50


@pytest.mark.parametrize(
    ("keys_s", "start_s"),
    [(15.0, 97.5), (80.0, 80.0), (1000.0, 0.0)],  # (200 - 5) / 2 = 97.5
)
def test_no_more_than_ten_seconds_are_decoded_to_be_thrown_away(keys_s: float, start_s: float) -> None:
    found = decoded_segment(long := facts(200.0, keys_s), TENCENT)
    assert found.start_s == start_s
    assert found.start_s - long.packets[found.first].start_s <= 10.0


@pytest.mark.parametrize(
    ("spanned_s", "wanted", "starts_s"),
    [(30.0, 3, [2.5, 12.5, 22.5]), (30.0, 1, [12.5]), (12.0, 3, [0.5, 6.5]), (4.0, 3, [0.0])],
)
def test_several_segments_lie_about_the_middles_of_equal_stretches_and_do_not_overlap(
    spanned_s: float, wanted: int, starts_s: list[float]
) -> None:
    limits = replace(TENCENT, video_segments=wanted)
    long = facts(spanned_s, 1.0)
    found = [decoded_segment(long, limits, middle) for middle in middles(long, limits)]
    assert [segment.start_s for segment in found] == starts_s
    copied = [
        copied_segment(facts(1.5 * spanned_s + 20, 1.0), limits, 10**9, middle) for middle in (0.2, 0.8)
    ]
    assert copied[0] is not None
    assert copied[1] is not None
    assert copied[0].start_s < copied[1].start_s


async def test_two_stretches_with_one_key_frame_are_asked_about_once(workers: MediaWorkers) -> None:
    content = media_corpus.clip(seconds=30, gop=900)
    media = await prepare(content, replace(TENCENT, video_segments=3), workers)
    assert "of stretch 1 of 3" in media.preparation
    assert media.further == ()


# --- damaged ---


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
async def test_a_cut_mp4_is_truncated(options: dict[str, str], workers: MediaWorkers) -> None:
    content = clip(16, **options)
    assert (await prepare(content, TENCENT, workers)).preparation == "untouched"
    assert await reason(content[: len(content) // 2], TENCENT, workers) == "truncated"


async def test_a_cut_avi_is_truncated(workers: MediaWorkers) -> None:
    content = clip(16, form="avi")
    assert await reason(content[: len(content) // 2], TENCENT, workers) == "truncated"


async def test_bytes_after_the_last_box_do_no_harm(workers: MediaWorkers) -> None:
    content = clip(16) + b"appended by a camera app" * 10
    assert (await prepare(content, TENCENT, workers)).content is content
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation.startswith("copied mpeg4 from mp4, padded"), "nothing can be appended to that"


async def test_a_container_without_a_picture_is_undecodable(workers: MediaWorkers) -> None:
    assert await reason(media_corpus.sound_alone(), TENCENT, workers) == "undecodable"


async def test_a_container_with_nothing_in_it_is_undecodable(workers: MediaWorkers) -> None:
    assert await reason(clip(8, form="flv")[:64], TENCENT, workers) == "undecodable"


async def test_a_video_of_endless_frames_is_not_read_to_its_end(workers: MediaWorkers) -> None:
    """A hundred thousand empty frames fit into a megabyte."""
    content = clip(30, rate=1, form="avi", codec="rawvideo", size=(16, 16))
    head, frame = content[: content.index(b"00dc")], b"00dc" + (0).to_bytes(4)
    assert await reason(head + frame * 200_000, TENCENT, workers) in {
        "undecodable",
        "too_many_frames",
        "truncated",
    }
