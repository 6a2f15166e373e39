"""Clips: the smallest change that makes a video one that a provider takes. For a worker.

In this order: nothing; an empty box behind a file that is too small; frames copied into an MP4; frames
decoded and made anew. Copied frames keep every trace a forger left; frames made anew lose the finest.
"""

import io

from domain.errors import Unfit
from tasks.media.containers import demuxer, is_iso, padded
from tasks.media.limits import ProviderLimits
from tasks.media.segments import Segment, copied_segment, decoded_segment, frames_shown, middles
from tasks.media.sniff import Format
from tasks.media.transcode import Transcoder, Video
from tasks.media.videos import Footage, check_facts, fits_in_pixels, probe

_CRFS = (20, 12)  # the second one where the first leaves less than the provider's least size
_COPIED_FROM_ANYWHERE = frozenset({"h264"})
_COPIED_FROM_ISO = frozenset({"h264", "hevc", "mpeg4"})


def fit(content: bytes, form: Format, limits: ProviderLimits) -> list[tuple[bytes, str]]:
    """The video within `limits` and what was done to it; nothing where the provider takes it as it is.

    Of a video that has to be cut there are as many segments as `limits` wants, in the order of time. A note
    names, in this order, what was done: "segment 14.100+2.900 of 31.200 s" (start and length), "at the
    middle" or "at the key frame nearest to the middle" (of several: "of stretch 2 of 3"), "every 2nd frame",
    "resized 1080x1920 to 480x852" (as stored), "upright", "copied h264 from mkv" or "h264 crf20 from vp8 in
    webm", "padded 20480 to 102401 bytes". Sound and metadata stay behind but where it is only padded.

    Raises:
        Unfit: video_too_short, too_large, undecodable, too_many_frames or too_many_pixels.
    """
    facts = probe(content, form)
    if _is_taken(form, facts, limits) and len(content) <= limits.max_video_bytes:
        if len(content) >= limits.video_min_bytes:
            return []
        if filled := _filled(content, limits):
            return [filled]
    wanted = middles(facts, limits)
    made: dict[bytes, str] = {}
    for number, middle in enumerate(wanted, start=1):
        of_several = f" of stretch {number} of {len(wanted)}" if len(wanted) > 1 else ""
        video = Video(content, form, facts, limits, middle, f"the middle{of_several}")
        sent, note = _copied(video) or _made(video)
        made.setdefault(sent, note)  # two stretches may have one key frame
        if "segment" not in note:
            break
    return list(made.items())


def _is_taken(form: Format, facts: Footage, limits: ProviderLimits) -> bool:
    """Whether container, length and pixels are within the limits.

    Raises:
        Unfit: video_too_short.
    """
    try:
        check_facts(facts, limits)
    except Unfit as objection:
        if objection.reason == "video_too_short":
            raise
        return False
    return form in limits.video_formats


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
        check_facts(probe(content, Format.MP4), limits)
    except Unfit:
        return False
    return limits.video_min_bytes <= len(content) <= limits.max_video_bytes


def _finished(content: bytes, steps: list[str], limits: ProviderLimits) -> tuple[bytes, str] | None:
    filled = _filled(content, limits)
    if filled is None or not _accepted(filled[0], limits):
        return None
    return filled[0], ", ".join(filter(None, [*steps, filled[1]]))


def _copied(video: Video) -> tuple[bytes, str] | None:
    """Frames as they are, in an MP4; None where that is not possible."""
    facts, limits = video.facts, video.limits
    known = _COPIED_FROM_ISO if is_iso(video.form) else _COPIED_FROM_ANYWHERE
    if facts.codec not in known or not facts.has_stamps or not fits_in_pixels(facts, limits):
        return None
    segment = copied_segment(facts, limits, limits.max_video_bytes, video.middle)
    if segment is None or frames_shown(facts.packets, segment) < limits.video_min_frames:
        return None
    try:
        content = _muxed(video, segment)
    except MemoryError:
        raise
    except Exception:  # what cannot be copied may still be decoded
        return None
    steps = _place(segment, facts, f"at the key frame nearest to {video.place}")
    return _finished(content, [*steps, f"copied {facts.codec} from {video.form}"], limits)


def _place(segment: Segment, facts: Footage, how: str) -> list[str]:
    return [] if segment.is_whole else [segment.named(facts.spanned_s), how]


def _muxed(video: Video, segment: Segment) -> bytes:
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


def _made(video: Video) -> tuple[bytes, str]:
    """Frames decoded, scaled and coded anew.

    Raises:
        Unfit: video_too_short, too_large or undecodable.
    """
    facts, limits = video.facts, video.limits
    segment = decoded_segment(facts, limits, video.middle)
    if frames_shown(facts.packets, segment) < limits.video_min_frames:
        raise Unfit(
            "video_too_short",
            f"{segment.length_s:.1f} s of it hold too few frames; {limits.provider} asks for "
            f"{limits.video_min_frames}",
        )
    try:
        for crf in _CRFS:
            content, steps = Transcoder(video, segment, crf).make()
            if len(content) >= limits.video_min_bytes:
                break
    except (Unfit, MemoryError):
        raise
    except Exception as error:
        raise Unfit("undecodable", f"the video cannot be decoded ({type(error).__name__})") from None
    if len(content) > limits.max_video_bytes:
        raise Unfit("too_large", f"{segment.length_s:.1f} s of it still take {len(content)} bytes")
    steps = [*_place(segment, facts, f"at {video.place}"), *steps]
    finished = _finished(content, steps, limits)
    if finished is None:
        raise Unfit("undecodable", f"less than {limits.provider} asks for can be decoded of it")
    return finished
