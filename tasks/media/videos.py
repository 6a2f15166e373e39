"""Videos: what one is, and what a provider has against it. For a worker."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import Unfit
from tasks.media.containers import demuxer
from tasks.media.limits import ProviderLimits
from tasks.media.pictures import MAX_DECODED_PIXELS
from tasks.media.sniff import Format

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_PACKETS = 100_000
"""Packets of a video read at most: an hour of 25 frames a second is 90,000."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded frame, in the order of decoding."""

    start_s: float  # when it is shown, from the first frame on
    end_s: float
    size_bytes: int
    is_key: bool  # it can be decoded by itself


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a decision needs to know of a video."""

    duration_s: float  # the longer of what the container claims and what its packets span
    frames: int  # packets of the first video stream that carry data
    width: int  # px as coded; rotation is not applied
    height: int
    codec: str


@dataclass(frozen=True, slots=True)
class Footage(VideoFacts):
    """What a preparation needs to know besides."""

    packets: Sequence[Packet]
    has_stamps: bool  # every packet says when it is shown
    origin_s: float  # when the first frame is shown, by the container's own clock

    @property
    def spanned_s(self) -> float:
        """How long the packets that are there last."""
        return max((packet.end_s for packet in self.packets), default=0.0)

    @property
    def frames_per_s(self) -> float:
        """The mean rate."""
        return self.frames / self.spanned_s if self.spanned_s else 0.0


def check_facts(facts: VideoFacts, limits: ProviderLimits) -> None:
    """Refuse by duration, frames and frame size; rotation is either way round.

    Raises:
        Unfit: video_too_short, which no preparation mends; video_too_long or video_resolution.
    """
    duration = f"{facts.duration_s:.3f} s"
    if facts.duration_s < limits.video_min_s:
        raise Unfit("video_too_short", f"{duration}; {limits.provider} asks for {limits.video_min_s:g} s")
    if facts.frames < limits.video_min_frames:
        raise Unfit(
            "video_too_short",
            f"{facts.frames} frames; {limits.provider} asks for {limits.video_min_frames}",
        )
    if facts.duration_s > limits.video_max_s:
        raise Unfit("video_too_long", f"{duration}; {limits.provider} takes {limits.video_max_s:g} s")
    if not fits_in_pixels(facts, limits):
        raise Unfit(
            "video_resolution",
            f"{facts.width}x{facts.height}; {limits.provider} takes "
            f"{limits.video_long_side}x{limits.video_short_side}, either way round",
        )


def fits_in_pixels(facts: VideoFacts, limits: ProviderLimits) -> bool:
    """Whether a frame is within the limits, whichever way it stands."""
    short, long = sorted((facts.width, facts.height))
    return (limits.video_short_side is None or short <= limits.video_short_side) and (
        limits.video_long_side is None or long <= limits.video_long_side
    )


def probe(content: bytes, form: Format) -> Footage:
    """Read every packet of the first video stream and decode one frame.

    Packets are counted because containers lie: a file cut by an upload still claims its full length.

    Raises:
        Unfit: undecodable, too_many_frames, or too_many_pixels before a frame of that size is decoded.
    """
    import av  # noqa: PLC0415 -- FFmpeg stays out of the process that keeps the pace

    try:
        name = demuxer(content, form)
        with av.open(io.BytesIO(content), "r", format=name, metadata_errors="ignore") as file:
            return _read(file)
    except (Unfit, MemoryError):
        raise
    except Exception as error:
        raise Unfit("undecodable", f"the video cannot be read ({type(error).__name__})") from None


def _read(file: "InputContainer") -> Footage:
    if not file.streams.video:
        raise Unfit("undecodable", "the file holds no video stream")
    stream = file.streams.video[0]
    coder = stream.codec_context
    if coder.width * coder.height > MAX_DECODED_PIXELS:
        raise Unfit("too_many_pixels", f"frames of {coder.width}x{coder.height}")
    coder.thread_count = 1
    tick_s = float(stream.time_base or 0)
    first, has_stamps = None, True
    read = list[tuple[int, int, int, bool]]()  # shown at, for how long, bytes, key frame
    for packet in file.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)
        if not packet.size:  # the last packet is empty: it flushes the decoder
            continue
        shown_at = packet.pts if packet.pts is not None else packet.dts
        has_stamps = has_stamps and packet.pts is not None
        previous = read[-1][0] if read else 0
        at = previous if shown_at is None else shown_at
        read.append((at, packet.duration or 0, packet.size, packet.is_keyframe))
        if len(read) > MAX_PACKETS:
            raise Unfit("too_many_frames", f"more than {MAX_PACKETS:,} frames")
    if first is None:
        raise Unfit("undecodable", "no frame can be decoded")
    origin = min(at for at, *_ in read)
    packets = tuple(
        Packet((at - origin) * tick_s, (at + lasts - origin) * tick_s, size, is_key)
        for at, lasts, size, is_key in read
    )
    spanned_s = max(packet.end_s for packet in packets)
    claimed_s = (file.duration or 0) / 1_000_000  # FFmpeg's AV_TIME_BASE
    return Footage(
        max(claimed_s, spanned_s),
        len(packets),
        first.width,
        first.height,
        coder.codec.name,
        packets,
        has_stamps,
        origin * tick_s,
    )
