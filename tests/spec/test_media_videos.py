"""Media: videos go untouched or not at all."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction

import av
import pytest
from PIL import Image

from domain.errors import Unfit
from domain.objects import MediaKind
from tasks.media.limits import ALIYUN, TENCENT, TENCENT_ENCRYPTED, ProviderLimits
from tasks.media.prepare import prepare
from tasks.media.workers import MediaWorkers

pytestmark = pytest.mark.anyio

ANY_SIZE = replace(ALIYUN, video_min_bytes=0)


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[MediaWorkers]:
    async with MediaWorkers(processes=1) as workers:
        yield workers


def clip(
    frames: int, rate: int = 8, size: tuple[int, int] = (64, 96), form: str = "mp4", **options: str
) -> bytes:
    """A video of that many frames, each a plain colour."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options=options) as file:
        stream = file.add_stream("flv" if form == "flv" else "mpeg4", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number in range(frames):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, (number * 5 % 256, 90, 60)))
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


async def reason(content: bytes, limits: ProviderLimits, workers: MediaWorkers) -> str:
    with pytest.raises(Unfit) as refusal:
        await prepare(content, limits, workers)
    return refusal.value.reason


@pytest.mark.parametrize("form", ["mp4", "mov", "avi", "flv"])
async def test_tencent_takes_four_containers_untouched(form: str, workers: MediaWorkers) -> None:
    content = clip(16, form=form)
    media = await prepare(content, TENCENT, workers)
    assert media.content is content
    assert (media.kind, media.preparation) == (MediaKind.VIDEO, "untouched")
    assert media.sent_sha256 == media.content_sha256


@pytest.mark.parametrize("form", ["avi", "flv"])
async def test_aliyun_takes_only_two_of_them(form: str, workers: MediaWorkers) -> None:
    assert await reason(clip(16, form=form), ANY_SIZE, workers) == "video_format"


async def test_a_container_nobody_takes_is_an_unsupported_format(workers: MediaWorkers) -> None:
    content = clip(4, form="matroska")
    assert await reason(content, TENCENT, workers) == "unsupported_format"
    assert await reason(content, ALIYUN, workers) == "unsupported_format"


@pytest.mark.parametrize(("frames", "verdict"), [(8, "taken"), (24, "taken"), (7, "short"), (25, "long")])
async def test_aliyun_takes_one_to_three_seconds(frames: int, verdict: str, workers: MediaWorkers) -> None:
    content = clip(frames, rate=8)
    if verdict == "taken":
        assert (await prepare(content, ANY_SIZE, workers)).content is content
    else:
        assert await reason(content, ANY_SIZE, workers) == f"video_too_{verdict}"


async def test_aliyun_asks_for_eight_frames_however_long_they_last(workers: MediaWorkers) -> None:
    assert await reason(clip(7, rate=3), ANY_SIZE, workers) == "video_too_short"


async def test_tencent_takes_twenty_seconds_and_no_more(workers: MediaWorkers) -> None:
    assert (await prepare(clip(20, rate=1), TENCENT, workers)).preparation == "untouched"
    assert await reason(clip(21, rate=1), TENCENT, workers) == "video_too_long"


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280)])
async def test_tencent_takes_720p_either_way_round(size: tuple[int, int], workers: MediaWorkers) -> None:
    assert (await prepare(clip(2, size=size), TENCENT, workers)).preparation == "untouched"


@pytest.mark.parametrize("size", [(1296, 720), (736, 736)])
async def test_tencent_takes_nothing_larger(size: tuple[int, int], workers: MediaWorkers) -> None:
    assert await reason(clip(2, size=size), TENCENT, workers) == "video_resolution"


async def test_sizes_are_judged_before_a_video_is_opened(workers: MediaWorkers) -> None:
    content = clip(16)
    small = replace(TENCENT, video_base64_bytes=len(content))  # base64 needs a third more
    assert await reason(content, small, workers) == "video_too_large"
    assert await reason(content, ALIYUN, workers) == "video_too_small"


def test_size_limits_hold_under_every_reading_of_the_documents() -> None:
    assert TENCENT.max_video_bytes == 6_000_000
    assert TENCENT.max_image_bytes == 2_250_000
    assert ALIYUN.max_video_bytes == ALIYUN.max_image_bytes == 7_500_000
    assert ALIYUN.video_min_bytes > 100 * 1024
    raised = replace(TENCENT, video_base64_bytes=10_000_000)
    assert raised.max_video_bytes * 4 / 3 < 10**7, "the whole request has 10^7 bytes, not the base64"
    encrypted = TENCENT_ENCRYPTED.video_base64_bytes * 4 / 3
    assert encrypted < 10**7 - 1024, "an encrypted body is encoded twice"


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


async def test_a_container_without_a_picture_is_undecodable(workers: MediaWorkers) -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 8000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert await reason(out.getvalue(), TENCENT, workers) == "undecodable"


async def test_a_container_with_nothing_in_it_is_undecodable(workers: MediaWorkers) -> None:
    assert await reason(clip(8, form="flv")[:64], TENCENT, workers) == "undecodable"
