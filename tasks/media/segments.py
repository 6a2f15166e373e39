"""Segments: which part of a video is sent where not all of it may be.

The middle, because people look into the camera there: at the start they are still holding up the phone, at
the end they are putting it away. Where frames are copied rather than made again, a segment begins at a key
frame, the one nearest to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.media.limits import ProviderLimits
from tasks.media.videos import Footage, Packet

_MUXED_BYTES = 8_192  # what an MP4 adds, and …
_MUXED_BYTES_EACH = 32  # … for each frame
_ROUNDING_S = 1e-6  # of times that are ticks of a clock, as binary fractions
_MOST_LEAD_S = 10.0  # decoded before a segment and thrown away, at most: 10 s of 1080p take a second
_TRIED = 64  # key frames looked at, the nearest to the middle first


@dataclass(frozen=True, slots=True)
class Segment:
    """Packets `first` to `last` (not included) in the order of decoding, and when they are shown."""

    first: int  # a key frame: decoding begins here
    last: int
    start_s: float
    length_s: float
    is_whole: bool = False

    def named(self, of_s: float) -> str:
        """The segment as the column `preparation` says it."""
        return f"segment {self.start_s:.3f}+{self.length_s:.3f} of {of_s:.3f} s"


def middles(facts: Footage, limits: ProviderLimits) -> list[float]:
    """About which shares of the video's length to cut: the middles of as many equal stretches as are wanted.

    No more than fit without overlapping.
    """
    count = max(1, min(limits.video_segments, int(facts.spanned_s / limits.video_best_s[1])))
    return [(number + 0.5) / count for number in range(count)]


def copied_segment(
    facts: Footage, limits: ProviderLimits, max_bytes: int, middle: float = 0.5
) -> Segment | None:
    """The part that may be copied frame by frame: all of it, else one about `middle`; None where none may.

    Both ends are free to choose, but for the start: it is a key frame.
    """
    keys = [number for number, packet in enumerate(facts.packets) if packet.is_key]
    if not keys:
        return None
    whole = _run(facts.packets, keys[0], limits.video_max_s, max_bytes)
    if whole.last == len(facts.packets) and facts.duration_s <= limits.video_max_s:
        return Segment(whole.first, whole.last, whole.start_s, whole.length_s, is_whole=True)
    shortest_s, longest_s = limits.video_best_s
    shortest_s = max(limits.video_min_s, min(shortest_s, 0.9 * facts.spanned_s))
    wanted_s = _start_s(facts, longest_s, middle)
    for number in sorted(keys, key=lambda key: abs(facts.packets[key].start_s - wanted_s))[:_TRIED]:
        found = _run(facts.packets, number, longest_s, max_bytes)
        if found.length_s >= shortest_s and frames_shown(facts.packets, found) >= limits.video_min_frames:
            return found
    return None


def _start_s(facts: Footage, length_s: float, middle: float) -> float:
    return min(max(facts.spanned_s * middle - length_s / 2, 0.0), max(facts.spanned_s - length_s, 0.0))


def decoded_segment(facts: Footage, limits: ProviderLimits, middle: float = 0.5) -> Segment:
    """The part to be decoded and made anew: about `middle`, of the provider's best length.

    Decoding begins at a key frame; where the one before the middle is far from it, the part begins at the
    key frame nearest to the middle instead, so that a long video takes no longer than a short one.
    """
    length_s = limits.video_best_s[1]
    if facts.spanned_s <= length_s:
        return Segment(0, len(facts.packets), 0.0, min(facts.duration_s, limits.video_max_s), is_whole=True)
    latest_s = facts.spanned_s - length_s
    start_s = _start_s(facts, length_s, middle)
    keys = [number for number, packet in enumerate(facts.packets) if packet.is_key] or [0]
    before = [number for number in keys if facts.packets[number].start_s <= start_s + _ROUNDING_S]
    first = before[-1] if before else keys[0]
    if not -_ROUNDING_S <= start_s - facts.packets[first].start_s <= _MOST_LEAD_S:
        possible = [number for number in keys if facts.packets[number].start_s <= latest_s] or keys[:1]
        first = min(possible, key=lambda number: abs(facts.packets[number].start_s - start_s))
        start_s = min(facts.packets[first].start_s, latest_s)
    return Segment(first, len(facts.packets), start_s, length_s)


def frames_shown(packets: Sequence[Packet], segment: Segment) -> int:
    """Frames of the segment that are shown."""
    start_s = segment.start_s - _ROUNDING_S
    end_s = segment.start_s + segment.length_s - _ROUNDING_S
    return sum(start_s <= packet.start_s < end_s for packet in packets[segment.first : segment.last])


def _run(packets: Sequence[Packet], first: int, longest_s: float, max_bytes: int) -> Segment:
    """Packets from a key frame on, in the order of decoding, while they end in time and are small enough.

    Nothing in such a run depends on what is left out of it.
    """
    start_s, end_s, size_bytes = packets[first].start_s, packets[first].start_s, _MUXED_BYTES
    last = first
    for packet in packets[first:]:
        size_bytes += packet.size_bytes + _MUXED_BYTES_EACH
        if packet.end_s - start_s > longest_s + _ROUNDING_S or size_bytes > max_bytes:
            break
        end_s, last = max(end_s, packet.end_s), last + 1
    return Segment(first, last, start_s, end_s - start_s)
