"""Transcoding: one segment of a video decoded, scaled, turned upright and coded as H.264. For a worker."""

import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from domain.errors import Unfit
from tasks.media.containers import demuxer
from tasks.media.limits import ProviderLimits
from tasks.media.segments import Segment, frames_shown
from tasks.media.sniff import Format
from tasks.media.videos import Footage

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

_SHORT_SIDE = 480  # px; both providers suggest 480x640
_MOST_FRAMES_PER_S = 31  # phones record 30.02; from there on every second frame is left out, and so on
_PRESET = "veryfast"  # a clip of 3 s takes half the time of `medium` and three quarters of its bytes
_CLOCK = 90_000  # ticks a second
_HD_SIDE = 720  # px
_BT709, _UNSPECIFIED, _BT601 = 1, 2, 6  # as FFmpeg and ITU-T H.273 number matrices, primaries and curves
_LIMITED = 1
_TURNS = {90: "cclock", -90: "clock", 270: "clock", -270: "cclock"}


@dataclass(frozen=True, slots=True)
class Video:
    """A video and the limits that it is to fit."""

    content: bytes
    form: Format
    facts: Footage
    limits: ProviderLimits
    middle: float  # about which share of its length it is cut
    place: str  # the same in words


class Transcoder:
    """Decodes one segment and codes it as H.264."""

    def __init__(self, video: Video, segment: Segment, crf: int) -> None:
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

    def _frames(self, source: "InputContainer") -> Iterator[tuple[float, "VideoFrame"]]:
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
                shown_s = unstamped_s
                if facts.has_stamps and frame.pts is not None:
                    shown_s = frame.pts * tick_s - facts.origin_s
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
