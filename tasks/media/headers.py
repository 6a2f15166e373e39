"""Headers of ordinary JPEG and PNG files, read in the event loop in microseconds.

Why not Pillow: opening a file runs every segment through Python, inflates the text chunks of a PNG (up to
64 MB of them) and may warn on stderr; a hostile file would hold the event loop, and with it the pace. This
reader does a bounded amount of work and says None to anything unusual. None is no verdict: such a file goes
to a worker, where Pillow decodes it.
"""

import struct
import zlib
from dataclasses import dataclass

_MAX_SEGMENTS = 512  # ordinary files have 5 to 30; ICC profiles and MakerNotes come to some hundred at most
_MAX_EXIF_ENTRIES = 512
_ORIENTATION = 0x0112
_SHORT = 3
_FRAMES = range(0xC0, 0xC3)  # baseline, extended, progressive
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1 = 0xE1
_SCAN = 0xDA
# Lossless, hierarchical and arithmetic frames; markers that end a header or have no length; fill bytes
_UNUSUAL = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC} | frozenset(range(0xD0, 0xDA)) | {0, 1, 0xFF}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COMPONENTS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type
_MAX_CHUNKS = 4096  # writers cut pixels into pieces of 8 KB and more


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a decision needs to know of an image."""

    width: int  # px as stored, EXIF orientation not applied
    height: int
    orientation: int  # EXIF, 1 to 8; 1 when absent or out of range
    components: int  # colour components as stored; 4 in a JPEG means CMYK or YCCK
    is_complete: bool  # the end marker is there; bytes after it do not matter
    is_ordinary: bool = True  # false: a JPEG that few decoders read (arithmetic or lossless coding)

    @property
    def is_turned(self) -> bool:
        """Whether orientation swaps width and height."""
        return self.orientation >= 5

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once EXIF orientation is applied."""
        return (self.height, self.width) if self.is_turned else (self.width, self.height)


def read_jpeg_header(content: bytes) -> ImageHeader | None:
    """The header of a baseline or progressive 8-bit JPEG; None when anything is out of the ordinary."""
    at, orientation = 2, 0
    frame: tuple[int, int, int] | None = None
    try:
        for _ in range(_MAX_SEGMENTS):
            marker = content[at + 1]
            length = int.from_bytes(content[at + 2 : at + 4])
            body, after = at + 4, at + 2 + length
            if content[at] != 0xFF or marker in _UNUSUAL or length < 2 or after > len(content):
                break
            if marker in _FRAMES:
                frame = None if frame else _read_frame(content, body)
                if frame is None:  # a second frame, or one out of the ordinary
                    break
            elif marker == _APP1 and not orientation and content.startswith(b"Exif\0\0", body):
                orientation = exif_orientation(content[body + 6 : after])
            elif marker == _SCAN:
                is_complete = content.endswith(b"\xff\xd9") or content.find(b"\xff\xd9", after) >= 0
                return frame and ImageHeader(*frame[:2], orientation or 1, frame[2], is_complete)
            at = after
    except (IndexError, struct.error):
        pass
    return None


def jpeg_frame(content: bytes) -> tuple[int, int] | None:
    """The marker of a JPEG's first frame segment and its bits a sample; None where there is none.

    Fill bytes and foreign bytes before a marker are passed over, as decoders do.
    """
    at = 2
    for _ in range(_MAX_SEGMENTS):
        at = content.find(b"\xff", at)
        if at < 0 or at + 5 > len(content):
            break
        marker = content[at + 1]
        if marker in _FRAME_MARKERS:
            return marker, content[at + 4]
        if marker == _SCAN:
            break
        has_length = marker not in (0, 1, 0xFF) and not 0xD0 <= marker <= 0xD9
        at += 2 + int.from_bytes(content[at + 2 : at + 4]) if has_length else 1
    return None


def is_ordinary_jpeg(content: bytes) -> bool:
    """Whether the pixels are coded as cameras code them: Huffman, baseline to progressive."""
    frame = jpeg_frame(content)
    return frame is None or frame[0] in _FRAMES


def _read_frame(content: bytes, at: int) -> tuple[int, int, int] | None:
    """Width, height and components of a frame segment."""
    precision, height, width, components = struct.unpack_from(">BHHB", content, at)
    is_usual = precision == 8 and width and height and components in (1, 3, 4)
    return (width, height, components) if is_usual else None


def read_png_header(content: bytes) -> ImageHeader | None:
    """The header of a PNG whose chunks are sound; None when one is damaged, cut or out of the ordinary.

    Every checksum is compared: it costs less than the hash of the file, and damage found here costs no call.
    Orientation is not looked for: a PNG rarely carries one, and the provider that minds takes no PNG.
    """
    at = len(_PNG_SIGNATURE)
    header = None
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(content):
            break
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            break
        (checksum,) = struct.unpack_from(">I", content, end)
        if zlib.crc32(memoryview(content)[at + 4 : end]) != checksum or (name == b"IHDR") == bool(header):
            break
        if name == b"IHDR" and length == 13:
            width, height, _depth, colour_type = struct.unpack_from(">IIBB", content, at + 8)
            components = _PNG_COMPONENTS.get(colour_type)
            if not width or not height or components is None:
                break
            header = ImageHeader(width, height, 1, components, is_complete=True)
        if name == b"IEND":
            return header
        at = end + 4
    return None


def exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory of an EXIF block; 1 when absent, damaged or out of range."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for number in range(min(entries, _MAX_EXIF_ENTRIES)):
            tag, kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * number)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
