"""A glimpse of an object: whether a provider takes it as it is, told from a few ranges of its bytes.

For media that go by url: nothing else of them is downloaded. A glimpse says yes only where a whole look
would; whatever is odd or cannot be told from a part is a no, and the object is then fetched and prepared.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from domain.errors import Unfit
from domain.objects import MediaKind
from tasks.media import images, pictures, videos
from tasks.media.boxes import box_at, boxes, video_track
from tasks.media.headers import read_jpeg_header
from tasks.media.limits import ProviderLimits
from tasks.media.sniff import Format, sniff

HEAD_BYTES = 64 * 1024
"""The first range. Measured: enough for the header of nearly every JPEG, and for an index at the front."""

TAIL_BYTES = 4096  # where a whole JPEG's end marker is; trailers behind it are smaller
MOST_INDEX_BYTES = 1024**2  # of an MP4; that of a clip of 3 s has some KB
_MOST_STEPS = 64  # boxes before the index

_URL_BASE64_BYTES = 13_333_332
"""By url the file itself may have 10 MB: its base64 would have so many bytes."""

# H.264, H.265 and MPEG-4 part 2, which phones record. Of others a frame is decoded before they go.
_CODECS = frozenset({b"avc1", b"avc3", b"hvc1", b"hev1", b"mp4v"})

Read = Callable[[int, int], Awaitable[bytes]]
"""(start, size in bytes) to the bytes of that range, fewer where the object ends before."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What was seen of an object that a provider takes as it is."""

    kind: MediaKind
    form: Format
    head: bytes  # its first bytes
    index: bytes  # of a video: its index, which may lie anywhere; else empty


async def glimpse(read: Read, size_bytes: int, limits: ProviderLimits) -> Glimpse | None:
    """What was seen, if the provider takes the object by url as it is; None if that cannot be told.

    `limits` are those of delivery by base64; by url the bounds on the size are of the file.

    Raises: what `read` raises.
    """
    limits = replace(limits, image_base64_bytes=_URL_BASE64_BYTES, video_base64_bytes=_URL_BASE64_BYTES)
    if size_bytes > max(limits.max_image_bytes, limits.max_video_bytes):
        return None
    head = await read(0, HEAD_BYTES)
    try:
        form = sniff(head)
        if form is Format.JPEG:
            return await _jpeg(read, head, size_bytes, limits)
        if form in (Format.MP4, Format.MOV):
            return await _video(read, form, head, size_bytes, limits)
    except Unfit:  # the whole object will say so, with its reason
        pass
    return None


async def _jpeg(read: Read, head: bytes, size_bytes: int, limits: ProviderLimits) -> Glimpse | None:
    header = read_jpeg_header(head)
    if header is None:
        return None
    pictures.check_pixels(Format.JPEG, header.width, header.height)
    if not images.is_acceptable(Format.JPEG, header, size_bytes, limits):
        return None
    # In coded pixels no end marker can stand, so one among the last bytes is the picture's own.
    tail = await read(max(size_bytes - TAIL_BYTES, 0), TAIL_BYTES)
    if b"\xff\xd9" not in tail:
        return None
    return Glimpse(MediaKind.IMAGE, Format.JPEG, head, b"")


async def _video(
    read: Read, form: Format, head: bytes, size_bytes: int, limits: ProviderLimits
) -> Glimpse | None:
    is_taken = limits.video_min_bytes <= size_bytes <= limits.max_video_bytes and form in limits.video_formats
    index = await _index(read, head, size_bytes) if is_taken else b""
    found = next(boxes(index), None)
    track = None if found is None else video_track(index, found)
    if track is None or track.codec not in _CODECS:
        return None
    for duration_s in (track.shortest_s, track.longest_s):
        facts = videos.VideoFacts(duration_s, track.frames, track.width, track.height, track.codec.decode())
        videos.check_facts(facts, limits)
    return Glimpse(MediaKind.VIDEO, form, head, index)


async def _index(read: Read, head: bytes, size_bytes: int) -> bytes:
    """The whole `moov` box; empty where the boxes do not lead there, or one of them is cut.

    What stands behind the pixels is read once more, and with it nearly every index that is not at the front.
    """
    index = b""
    window, window_at = head, 0
    at = 0
    for _ in range(_MOST_STEPS):
        if at == size_bytes:
            break
        if at + 16 > window_at + len(window) and window_at + len(window) < size_bytes:
            if window_at:
                return b""
            window, window_at = await read(at, HEAD_BYTES), at
        edges = box_at(window, at - window_at)
        if edges is None or window_at + edges[1] > size_bytes:
            return b""
        end = window_at + edges[1]
        if window[at - window_at + 4 : at - window_at + 8] == b"moov":
            if index or end - at > MOST_INDEX_BYTES:
                return b""
            is_whole = end <= window_at + len(window)
            index = window[at - window_at : end - window_at] if is_whole else await read(at, end - at)
        at = end
    return index if at == size_bytes else b""
