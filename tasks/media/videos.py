"""Videos: what one is (in a worker) and whether a provider takes it. They go untouched or not at all."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import Unfit
from tasks.media.limits import ProviderLimits
from tasks.media.pictures import MAX_DECODED_PIXELS
from tasks.media.sniff import Format

if TYPE_CHECKING:
    from av.container import InputContainer

# FFmpeg's demuxer for each container. Naming it keeps FFmpeg from guessing: among its guesses are playlists,
# which would have it open files and addresses that an uploaded file names.
_DEMUXERS = {Format.MP4: "mov", Format.MOV: "mov", Format.AVI: "avi", Format.FLV: "flv"}
_TOP_LEVEL_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"udta", b"sidx"}
)
_MAX_BOXES = 10_000  # a fragmented clip has two for each fragment


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a decision needs to know of a video."""

    duration_s: float  # the longer of what the container claims and what its packets span
    frames: int  # packets of the first video stream that carry data
    width: int  # px as coded; rotation is not applied
    height: int
    codec: str


def check_file(form: Format, content: bytes, limits: ProviderLimits) -> None:
    """Refuse by container, size and completeness, before anything is parsed.

    Raises:
        Unfit: unsupported_format, video_format, video_too_large, video_too_small or truncated.
    """
    if form not in _DEMUXERS:
        raise Unfit("unsupported_format", f"neither provider takes {form} videos")
    if form not in limits.video_formats:
        raise Unfit("video_format", f"{limits.provider} takes no {form} videos")
    if len(content) > limits.max_video_bytes:
        raise Unfit(
            "video_too_large",
            f"{len(content)} bytes; {limits.provider} takes {limits.max_video_bytes}",
        )
    if len(content) < limits.video_min_bytes:
        raise Unfit(
            "video_too_small",
            f"{len(content)} bytes; {limits.provider} asks for {limits.video_min_bytes}",
        )
    if form in (Format.MP4, Format.MOV) and _is_cut(content):
        raise Unfit("truncated", "the file ends inside one of its boxes, or before its index")
    if form is Format.AVI and _is_riff_cut(content):
        raise Unfit("truncated", "the file ends before its RIFF chunk does")


def check_facts(facts: VideoFacts, limits: ProviderLimits) -> None:
    """Refuse by duration, frames and frame size.

    Raises:
        Unfit: video_too_long, video_too_short or video_resolution.
    """
    duration = f"{facts.duration_s:.3f} s"
    if facts.duration_s > limits.video_max_s:
        raise Unfit("video_too_long", f"{duration}; {limits.provider} takes {limits.video_max_s} s")
    if facts.duration_s < limits.video_min_s:
        raise Unfit("video_too_short", f"{duration}; {limits.provider} asks for {limits.video_min_s} s")
    if facts.frames < limits.video_min_frames:
        raise Unfit(
            "video_too_short",
            f"{facts.frames} frames; {limits.provider} asks for {limits.video_min_frames}",
        )
    short, long = sorted((facts.width, facts.height))
    if (limits.video_short_side is not None and short > limits.video_short_side) or (
        limits.video_long_side is not None and long > limits.video_long_side
    ):
        raise Unfit(
            "video_resolution",
            f"{facts.width}x{facts.height}; {limits.provider} takes "
            f"{limits.video_long_side}x{limits.video_short_side}, either way round",
        )


def probe(content: bytes, form: Format) -> VideoFacts:
    """Read every packet of the first video stream and decode one frame. For a worker.

    Packets are counted because containers lie: a file cut by an upload still claims its full length.

    Raises:
        Unfit: undecodable, or too_many_pixels before a frame of that size is decoded.
    """
    import av  # noqa: PLC0415 -- FFmpeg stays out of the process that keeps the pace

    try:
        with av.open(io.BytesIO(content), "r", format=_DEMUXERS[form], metadata_errors="ignore") as file:
            return _read(file)
    except (Unfit, MemoryError):
        raise
    except Exception as error:
        raise Unfit("undecodable", f"the video cannot be read ({type(error).__name__})") from None


def _read(file: "InputContainer") -> VideoFacts:
    if not file.streams.video:
        raise Unfit("undecodable", "the file holds no video stream")
    stream = file.streams.video[0]
    coder = stream.codec_context
    if coder.width * coder.height > MAX_DECODED_PIXELS:
        raise Unfit("too_many_pixels", f"frames of {coder.width}x{coder.height}")
    coder.thread_count = 1
    frames, first, stamps = 0, None, list[int]()
    for packet in file.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)
        if packet.size:  # the last packet is empty: it flushes the decoder
            frames += 1
            if packet.pts is not None:
                stamps += (packet.pts, packet.pts + (packet.duration or 0))
    if first is None:
        raise Unfit("undecodable", "no frame can be decoded")
    spanned_s = float((max(stamps) - min(stamps)) * (stream.time_base or 0)) if stamps else 0.0
    claimed_s = (file.duration or 0) / 1_000_000  # FFmpeg's AV_TIME_BASE
    return VideoFacts(max(claimed_s, spanned_s), frames, first.width, first.height, coder.codec.name)


def _is_riff_cut(content: bytes) -> bool:
    """Whether an AVI is shorter than it says; writers that cannot go back say all ones."""
    length = int.from_bytes(content[4:8], "little")
    return length != 0xFFFF_FFFF and 8 + length > len(content)


def _is_cut(content: bytes) -> bool:
    """Whether the boxes of an MP4 or MOV run past the end, or its index is missing."""
    at, has_index = 0, False
    for _ in range(_MAX_BOXES):
        if at + 8 > len(content):
            break
        length, box = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        if box not in _TOP_LEVEL_BOXES:
            break  # foreign bytes after the last box do no harm
        has_index = has_index or box == b"moov"
        if length == 0:  # up to the end of the file
            break
        if length == 1:
            length = int.from_bytes(content[at + 8 : at + 16])
        if length < 8 or at + length > len(content):
            return True
        at += length
    return not has_index
