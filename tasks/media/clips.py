"""Clips: the smallest change that makes a video one that a provider takes. For a worker.

In this order: nothing; an empty box behind a file that is too small; frames copied into an MP4; frames
decoded and made anew. Copied frames keep every trace a forger left; frames made anew lose the finest.
"""

import io
import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from domain.errors import Unfit
from tasks.media.containers import demuxer, is_iso, padded
from tasks.media.limits import ProviderLimits
from tasks.media.segments import Segment, copied_segment, decoded_segment, frames_shown
from tasks.media.sniff import Format
from tasks.media.videos import VideoFacts, check_least, fits, probe

if TYPE_CHECKING:
    from av import VideoFrame

_SHORT_SIDE = 480  # px; both providers suggest 480x640
_MOST_FRAMES_PER_S = 31  # phones record 30.02; from there on every second frame is left out, and so on
_CRFS = (20, 12)  # the second one where the first leaves less than the provider's least size
_PRESET = "veryfast"  # a clip of 3 s takes half the time of `medium` and three quarters of its bytes
_CLOCK = 90_000  # ticks a second
_HD_SIDE = 720  # px
_BT709, _UNSPECIFIED, _BT601 = 1, 2, 6  # as FFmpeg and ITU-T H.273 number matrices, primaries and curves
_LIMITED = 1
_COPIED_FROM_ANYWHERE = frozenset({"h264"})
_COPIED_FROM_ISO = frozenset({"h264", "hevc", "mpeg4"})
_TURNS = {90: "cclock", -90: "clock", 270: "clock", -270: "cclock"}


@dataclass(frozen=True, slots=True)
class _Video:
    content: bytes
    form: Format
    facts: VideoFacts
    limits: ProviderLimits


def fit(content: bytes, form: Format, limits: ProviderLimits) -> tuple[bytes, str] | None:
    """The video within `limits` and what was done to it; None where the provider takes it as it is.

    The note names, in this order, what was done: "segment 14.100+2.900 of 31.200 s" (start and length), "at
    the middle" or "at the key frame nearest to the middle", "every 2nd frame", "resized 1080x1920 to 480x854"
    (as stored), "upright", "copied h264 from mkv" or "h264 crf20 from vp8 in webm", "padded 20480 to 102401
    bytes". Sound and metadata stay behind where anything but padding is done.

    Raises:
        Unfit: video_too_short, too_large, undecodable, too_many_frames or too_many_pixels.
    """
    facts = probe(content, form)
    check_least(facts, limits)
    video = _Video(content, form, facts, limits)
    if fits(form, facts, limits) and len(content) <= limits.max_video_bytes:
        if len(content) >= limits.video_min_bytes:
            return None
        if filled := _filled(content, limits):
            return filled[0], filled[1]
    return _copied(video) or _made(video)


def _filled(content: bytes, limits: ProviderLimits) -> tuple[bytes, str] | None:
    """The file, long enough, and how. Coding it anew at a higher rate would add nothing but losses."""
    if len(content) >= limits.video_min_bytes:
        return content, ""
    longer = padded(content, limits.video_min_bytes)
    if longer is None:
        return None
    return longer, f"padded {len(content)} to {len(longer)} bytes"


def _accepted(content: bytes, limits: ProviderLimits) -> bool:
    """Whether what was made is within the limits: it is probed like anything that comes in."""
    try:
        facts = probe(content, Format.MP4)
        check_least(facts, limits)
    except Unfit:
        return False
    is_sized = limits.video_min_bytes <= len(content) <= limits.max_video_bytes
    return is_sized and fits(Format.MP4, facts, limits)


def _finished(content: bytes, steps: list[str], limits: ProviderLimits) -> tuple[bytes, str] | None:
    filled = _filled(content, limits)
    if filled is None or not _accepted(filled[0], limits):
        return None
    return filled[0], ", ".join(filter(None, [*steps, filled[1]]))


def _copied(video: _Video) -> tuple[bytes, str] | None:
    """Frames as they are, in an MP4; None where that is not possible."""
    facts, limits = video.facts, video.limits
    known = _COPIED_FROM_ISO if is_iso(video.form) else _COPIED_FROM_ANYWHERE
    short, long = sorted((facts.width, facts.height))
    if (
        facts.codec not in known
        or not facts.has_stamps
        or (limits.video_short_side is not None and short > limits.video_short_side)
        or (limits.video_long_side is not None and long > limits.video_long_side)
    ):
        return None
    segment = copied_segment(facts, limits, limits.max_video_bytes)
    if segment is None or frames_shown(facts.packets, segment) < limits.video_min_frames:
        return None
    try:
        content = _muxed(video, segment)
    except MemoryError:
        raise
    except Exception:  # what cannot be copied may still be decoded
        return None
    steps = _place(segment, facts, "at the key frame nearest to the middle")
    return _finished(content, [*steps, f"copied {facts.codec} from {video.form}"], limits)


def _place(segment: Segment, facts: VideoFacts, how: str) -> list[str]:
    return [] if segment.is_whole else [segment.named(facts.spanned_s), how]


def _muxed(video: _Video, segment: Segment) -> bytes:
    import av  # noqa: PLC0415

    out = io.BytesIO()
    name = demuxer(video.content, video.form)
    with (
        av.open(io.BytesIO(video.content), "r", format=name, metadata_errors="ignore") as source,
        av.open(out, "w", format="mp4") as target,
    ):
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        number, origin = -1, 0
        for packet in source.demux(stream):
            number += bool(packet.size)
            if number < segment.first or not packet.size:
                continue
            if number >= segment.last:
                break
            if packet.pts is None or packet.dts is None:
                raise ValueError("a packet without a time")
            if number == segment.first:
                origin = packet.pts
            if packet.pts < origin:  # shown before the key frame, and made from what is left out
                continue
            packet.pts -= origin
            packet.dts -= origin
            packet.stream = copy
            target.mux(packet)
    return out.getvalue()


def _made(video: _Video) -> tuple[bytes, str]:
    """Frames decoded, scaled and coded anew.

    Raises:
        Unfit: video_too_short, too_large or undecodable.
    """
    facts, limits = video.facts, video.limits
    segment = decoded_segment(facts, limits)
    if frames_shown(facts.packets, segment) < limits.video_min_frames:
        raise Unfit(
            "video_too_short",
            f"{segment.length_s:.1f} s of it hold too few frames; {limits.provider} asks for "
            f"{limits.video_min_frames}",
        )
    try:
        for crf in _CRFS:
            content, steps = _Maker(video, segment, crf).make()
            if len(content) >= limits.video_min_bytes:
                break
    except (Unfit, MemoryError):
        raise
    except Exception as error:
        raise Unfit("undecodable", f"the video cannot be decoded ({type(error).__name__})") from None
    if len(content) > limits.max_video_bytes:
        raise Unfit("too_large", f"{segment.length_s:.1f} s of it still take {len(content)} bytes")
    steps = [*_place(segment, facts, "at the middle"), *steps]
    finished = _finished(content, steps, limits)
    if finished is None:
        raise Unfit("undecodable", f"less than {limits.provider} asks for can be decoded of it")
    return finished


class _Maker:
    """Decodes one segment and codes it as H.264."""

    def __init__(self, video: _Video, segment: Segment, crf: int) -> None:
        self._video, self._segment, self._crf = video, segment, crf
        # Whole divisors only: a clip whose frames come at an uneven pace looks edited
        self._each = max(1, math.ceil(video.facts.frames_per_s / _MOST_FRAMES_PER_S))
        if frames_shown(video.facts.packets, segment) // self._each < video.limits.video_min_frames:
            self._each = 1
        self._stream: Any = None
        self._graph: Any = None
        self._steps: list[str] = []

    def make(self) -> tuple[bytes, list[str]]:
        """The clip as an MP4, and what was done."""
        import av  # noqa: PLC0415

        out = io.BytesIO()
        content, form = self._video.content, self._video.form
        name = demuxer(content, form)
        with (
            av.open(io.BytesIO(content), "r", format=name, metadata_errors="ignore") as source,
            av.open(out, "w", format="mp4") as target,
        ):
            coded = list[Any]()
            for number, (at_s, frame) in enumerate(self._frames(source)):
                if number % self._each:
                    continue
                if self._stream is None:
                    self._begin(frame, target)
                self._graph.push(frame)
                shown = self._graph.pull()
                shown.pts = round(at_s * _CLOCK)
                shown.time_base = Fraction(1, _CLOCK)
                coded += self._stream.encode(shown)
            if self._stream is None:
                raise Unfit("undecodable", "no frame of the segment can be decoded")
            coded += self._stream.encode(None)
            self._set_durations(coded)
            target.mux(coded)
        if self._each > 1:
            self._steps.insert(0, f"every {_ordinal(self._each)} frame")
        steps = [*self._steps, f"h264 crf{self._crf} from {self._video.facts.codec} in {form}"]
        return out.getvalue(), steps

    def _set_durations(self, packets: list[Any]) -> None:
        """Each frame lasts until the next; the last one until the segment ends, if that is not too long.

        Containers count in milliseconds at worst: a second of frames may seem to end a millisecond early.
        """
        usual = _CLOCK * self._each / (self._video.facts.frames_per_s or 25)
        for packet, following in itertools.pairwise(packets):
            packet.duration = following.pts - packet.pts
        if packets:
            left = round(self._segment.length_s * _CLOCK) - packets[-1].pts
            packets[-1].duration = max(1, min(left, round(2 * usual)))

    def _frames(self, source: Any) -> Any:
        """Frames of the segment, each with its time from the segment's start on."""
        segment = self._segment
        stream = source.streams.video[0]
        stream.codec_context.thread_count = 1
        tick_s = float(stream.time_base or 0)
        facts = self._video.facts
        lasts_s = 1 / (facts.frames_per_s or 25.0)
        # Frames without a time of their own follow each other from the key frame on
        unstamped_s = facts.packets[segment.first].start_s
        number = -1
        for packet in source.demux(stream):
            number += bool(packet.size)
            if number < segment.first and packet.size:
                continue
            for frame in packet.decode():
                is_stamped = facts.has_stamps and frame.pts is not None
                shown_s = frame.pts * tick_s - facts.origin_s if is_stamped else unstamped_s
                unstamped_s = shown_s + lasts_s
                at_s = shown_s - segment.start_s
                if at_s + 0.5 * lasts_s > segment.length_s:
                    return
                if at_s >= -1e-6:
                    yield max(at_s, 0.0), frame

    def _begin(self, frame: "VideoFrame", target: Any) -> None:
        """Set up scaling, turning and coding for frames like the first one."""
        import av.filter  # noqa: PLC0415

        facts, limits = self._video.facts, self._video.limits
        width, height = self._scaled(frame.width, frame.height)
        turn = _TURNS.get(frame.rotation)
        graph = av.filter.Graph()
        chain = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=Fraction(1, _CLOCK),
            ),
            graph.add("scale", f"{width}:{height}:flags=bicubic:out_range=tv"),
            graph.add("format", "yuv420p"),
        ]
        if turn:
            chain.append(graph.add("transpose", turn))
        elif abs(frame.rotation) == 180:
            chain += [graph.add("hflip"), graph.add("vflip")]
        chain.append(graph.add("buffersink"))
        graph.link_nodes(*chain).configure()
        self._graph = graph
        most_bits_per_s = int(0.8 * 8 * limits.max_video_bytes / max(self._segment.length_s, 1.0))
        rate = Fraction(facts.frames_per_s / self._each or 25).limit_denominator(1001)
        stream = target.add_stream("libx264", rate=rate)
        stream.width, stream.height = (height, width) if turn else (width, height)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        _set_colours(stream.codec_context, frame)
        stream.options = {
            "preset": _PRESET,
            "crf": str(self._crf),
            "bf": "0",  # shown in the order of coding: every reader finds the same duration
            "maxrate": str(most_bits_per_s),
            "bufsize": str(most_bits_per_s),
        }
        self._stream = stream
        if (width, height) != (frame.width, frame.height):
            self._steps.append(f"resized {frame.width}x{frame.height} to {width}x{height}")
        if frame.rotation:
            self._steps.append("upright")

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The frame's size, never larger than it is, with even sides, which H.264 wants."""
        limits = self._video.limits
        short, long = sorted((width, height))
        scale = min(1.0, _SHORT_SIDE / short, (limits.video_long_side or long) / long)
        return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


def _set_colours(coder: Any, frame: "VideoFrame") -> None:
    """What the source says of its colours, or what players take for granted of a picture of its size."""
    presumed = _BT709 if min(frame.width, frame.height) >= _HD_SIDE else _BT601
    coder.color_range = _LIMITED
    for name in ("colorspace", "color_primaries", "color_trc"):
        given = getattr(frame, name)
        setattr(coder, name, presumed if given == _UNSPECIFIED else given)


def _ordinal(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"
