"""Containers of videos: how FFmpeg is told to read one, whether one is cut, and how one is padded."""

from domain.errors import Unfit
from tasks.media.sniff import Format

_ISO = frozenset({Format.MP4, Format.MOV, Format.THREE_GP})
_DEMUXERS = {
    Format.MP4: "mov",
    Format.MOV: "mov",
    Format.THREE_GP: "mov",
    Format.AVI: "avi",
    Format.FLV: "flv",
    Format.WEBM: "matroska",
    Format.MKV: "matroska",
    Format.ASF: "asf",
    Format.OGG: "ogg",
}
_MPEG_PACK = b"\0\0\x01\xba"
_MPEG_SEQUENCE = b"\0\0\x01\xb3"
_TOP_LEVEL_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"uuid", b"udta", b"meta"}
    | {b"sidx", b"styp", b"pdin", b"pnot", b"emsg", b"prft", b"ssix"}
)
_MAX_BOXES = 10_000  # a fragmented clip has two for each fragment
_BOX_HEADER_BYTES = 8


def demuxer(content: bytes, form: Format) -> str:
    """FFmpeg's name of the reader for a container.

    Naming it keeps FFmpeg from guessing: among its guesses are playlists, which would have it open files and
    addresses that an uploaded file names.
    """
    if form is Format.MPEG:
        marks = {_MPEG_PACK: "mpeg", _MPEG_SEQUENCE: "mpegvideo"}
        return marks.get(content[:4], "mpegts")
    return _DEMUXERS[form]


def is_iso(form: Format) -> bool:
    """Whether the container is made of boxes, as MP4 and MOV are."""
    return form in _ISO


def check(content: bytes, form: Format) -> None:
    """Refuse a file whose upload broke off, before anything is parsed.

    Raises:
        Unfit: truncated.
    """
    if is_iso(form) and _is_cut(content):
        raise Unfit("truncated", "the file ends inside one of its boxes, or before its index")
    if form is Format.AVI and _is_riff_cut(content):
        raise Unfit("truncated", "the file ends before its RIFF chunk does")


def padded(content: bytes, size_bytes: int) -> bytes | None:
    """An MP4 or MOV made at least `size_bytes` long by an empty box at its end, which readers skip.

    None where the file does not end with a box of its own: what is appended would not be found.
    """
    if _end_of_boxes(content) != len(content):
        return None
    length = max(size_bytes - len(content), _BOX_HEADER_BYTES)
    return content + length.to_bytes(4) + b"free" + bytes(length - _BOX_HEADER_BYTES)


def _is_riff_cut(content: bytes) -> bool:
    """Whether an AVI is shorter than it says; writers that cannot go back say all ones."""
    length = int.from_bytes(content[4:8], "little")
    return length != 0xFFFF_FFFF and 8 + length > len(content)


def _is_cut(content: bytes) -> bool:
    """Whether the boxes of an MP4 or MOV run past the end, or its index is missing."""
    at, has_index = 0, False
    for _ in range(_MAX_BOXES):
        if at + _BOX_HEADER_BYTES > len(content):
            break
        box = content[at + 4 : at + 8]
        if box not in _TOP_LEVEL_BOXES:
            break  # foreign bytes after the last box do no harm
        has_index = has_index or box == b"moov"
        length = _box_bytes(content, at)
        if length == 0:  # up to the end of the file
            break
        if length < _BOX_HEADER_BYTES or at + length > len(content):
            return True
        at += length
    return not has_index


def _end_of_boxes(content: bytes) -> int:
    """Where the last of the boxes ends that lie one after the other; 0 where one has no length."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + _BOX_HEADER_BYTES > len(content) or content[at + 4 : at + 8] not in _TOP_LEVEL_BOXES:
            return at
        length = _box_bytes(content, at)
        if length < _BOX_HEADER_BYTES:
            return 0
        at += length
    return 0


def _box_bytes(content: bytes, at: int) -> int:
    length = int.from_bytes(content[at : at + 4])
    return int.from_bytes(content[at + 8 : at + 16]) if length == 1 else length
