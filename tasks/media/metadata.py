"""Where a file keeps what it says of itself: EXIF, XMP, text, QuickTime tags, a C2PA manifest.

Found by walking segments, chunks and boxes, in a bounded number of steps; nothing is decoded but a bounded
piece of compressed text. A damaged file gives what stands before the damage. Sources: JPEG (ITU-T T.81),
Exif 2.32, PNG 1.2 with eXIf, RIFF, ISO/IEC 14496-12, XMP part 3, C2PA 2.1 (embedding).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.media.boxes import Box, boxes, child
from tasks.media.sniff import Format

MOST_BLOCK_BYTES = 256 * 1024  # of one block: an XMP packet has some KB, with a thumbnail some tens
_MOST_STEPS = 2048
_MOST_TAGS = 256
_SCANNED_HEAD_BYTES = 256 * 1024  # where a packet is looked for in formats that are not walked
_SCANNED_TAIL_BYTES = 64 * 1024  # and where some writers append one

_XMP_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_JUMBF_C2PA = bytes.fromhex("6332706100110010800000aa00389b71")  # of a description box: a store of manifests


@dataclass(slots=True)
class Metadata:
    """The blocks of one file, as they stand there; empty where there is none."""

    exif: bytes = b""  # a TIFF structure
    xmp: bytes = b""
    manifest: bytes = b""  # the beginning of a C2PA manifest store
    texts: dict[str, bytes] = field(default_factory=dict)  # PNG's, and a chunk of GB 45438's own
    tags: dict[str, str] = field(default_factory=dict)  # QuickTime's


def find_metadata(content: bytes, form: Format, index: bytes = b"") -> Metadata:
    """What the file says of itself; `content` may be its beginning only, and `index` its `moov` box then.

    Never raises, whatever the bytes.
    """
    found = Metadata()
    try:
        match form:
            case Format.JPEG:
                _read_jpeg(content, found)
            case Format.PNG:
                _read_png(content, found)
            case Format.WEBP:
                _read_webp(content, found)
            case Format.TIFF:
                found.exif = content  # its directories may lie anywhere
            case Format.HEIF | Format.AVIF | Format.MP4 | Format.MOV | Format.THREE_GP:
                _read_boxes(content, found, index)
            case _:
                pass
    except (struct.error, IndexError, ValueError, zlib.error):  # damage ends the walk
        pass
    if not found.xmp and form.kind == "image":
        found.xmp = _scanned_xmp(content)
    return found


def _read_jpeg(content: bytes, found: Metadata) -> None:
    at = 2
    for _ in range(_MOST_STEPS):
        marker = content[at + 1]
        length = int.from_bytes(content[at + 2 : at + 4])
        if content[at] != 0xFF or length < 2 or marker == 0xDA:
            return
        body = content[at + 4 : at + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            found.exif = found.exif or body[6:]
        elif marker == 0xE1 and body.startswith(_XMP_SIGNATURE):
            found.xmp = found.xmp or body[len(_XMP_SIGNATURE) :]
        elif marker == 0xEB and body.startswith(b"JP") and _is_manifest(body[8:]):
            found.manifest = found.manifest or body[8:]
        elif marker == 0xFE:
            found.texts.setdefault("comment", body)
        at += 2 + length


def _read_png(content: bytes, found: Metadata) -> None:
    at = 8
    for _ in range(_MOST_STEPS):
        length, name = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + min(length, MOST_BLOCK_BYTES)]
        if name == b"IEND":
            return
        if name == b"eXIf":
            found.exif = found.exif or body
        elif name == b"caBX" and _is_manifest(body):
            found.manifest = found.manifest or body
        elif name == b"AIGC":
            found.texts.setdefault("AIGC", body)
        elif name in (b"tEXt", b"iTXt", b"zTXt"):
            keyword, text = _png_text(name, body)
            if keyword == _XMP_KEYWORD:
                found.xmp = found.xmp or text
            elif len(found.texts) < _MOST_TAGS:
                found.texts.setdefault(keyword.decode("latin-1"), text)
        at += 12 + length


def _png_text(name: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk, unpacked up to `MOST_BLOCK_BYTES`."""
    keyword, _, rest = body.partition(b"\0")
    is_packed = name == b"zTXt"
    if name == b"tEXt":
        return keyword, rest
    if name == b"iTXt":
        is_packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        rest = rest[1:]
    return keyword, zlib.decompressobj().decompress(rest, MOST_BLOCK_BYTES) if is_packed else rest


def _read_webp(content: bytes, found: Metadata) -> None:
    at = 12
    for _ in range(_MOST_STEPS):
        name, length = struct.unpack_from("<4sI", content, at)
        body = content[at + 8 : at + 8 + min(length, MOST_BLOCK_BYTES)]
        if name == b"EXIF":
            found.exif = found.exif or body.removeprefix(b"Exif\0\0")
        elif name == b"XMP ":
            found.xmp = found.xmp or body
        elif name == b"C2PA" and _is_manifest(body):
            found.manifest = found.manifest or body
        at += 8 + length + length % 2


def _is_manifest(body: bytes) -> bool:
    """Whether a JUMBF superbox begins here that says it holds C2PA manifests."""
    return body[4:8] == b"jumb" and body[12:16] == b"jumd" and body[16:32] == _JUMBF_C2PA


def _read_boxes(content: bytes, found: Metadata, index: bytes) -> None:
    for box in boxes(content):
        if box.type == b"uuid":
            _read_uuid(content, box, found)
        elif box.type == b"moov" and not index:
            _read_index(content, box, found)
        elif box.type == b"meta":
            _read_item_exif(content, box, found)
    outer = next(boxes(index), None)
    if outer is not None:
        _read_index(index, outer, found)


def _read_uuid(content: bytes, box: Box, found: Metadata) -> None:
    name = content[box.start : box.start + 16]
    body = content[box.start + 16 : min(box.end, box.start + 16 + MOST_BLOCK_BYTES)]
    if name == _XMP_UUID:
        found.xmp = found.xmp or body
    elif name == _C2PA_UUID and not found.manifest:
        # Version and flags, a purpose that ends in zero, then for a manifest 8 bytes of offset
        purpose = body[4:68].partition(b"\0")[0]
        start = 4 + len(purpose) + 1 + 8
        if purpose == b"manifest" and _is_manifest(body[start:]):
            found.manifest = body[start:]


def _read_item_exif(content: bytes, meta: Box, found: Metadata) -> None:
    """The Exif item of a HEIF or AVIF file, by what its marks look like: items may lie anywhere behind."""
    at = content.find(b"Exif\0\0", meta.start, meta.end + _SCANNED_HEAD_BYTES)
    tiff = content[at + 6 : at + 10]
    if at >= 0 and tiff in (b"II*\0", b"MM\0*"):
        found.exif = content[at + 6 : at + 6 + MOST_BLOCK_BYTES]


def _read_index(content: bytes, moov: Box, found: Metadata) -> None:
    """QuickTime's tags: short atoms of `udta`, its `meta` and that of `moov`, named or by keys."""
    places = (
        child(content, moov, b"meta"),
        child(content, moov, b"udta", b"meta"),
    )
    for meta in places:
        if meta is not None:
            for name, value in _tags(content, meta):
                if len(found.tags) < _MOST_TAGS:
                    found.tags.setdefault(name, value)
    user_data = child(content, moov, b"udta")
    for box in boxes(content, user_data.start, user_data.end) if user_data is not None else ():
        if box.type == b"XMP_":
            found.xmp = found.xmp or content[box.start : min(box.end, box.start + MOST_BLOCK_BYTES)]
        elif box.type[:1] == b"\xa9":  # a length and a language of two bytes each, then the text
            text = content[box.start + 4 : min(box.end, box.start + 4096)]
            found.tags.setdefault(box.type.decode("latin-1"), _text(text))
        elif box.type == b"AIGC":
            found.tags.setdefault("AIGC", _text(content[box.start : min(box.end, box.start + 16384)]))


def _tags(content: bytes, meta: Box) -> Iterator[tuple[str, str]]:
    """Names and texts of a `meta` box: QuickTime writes it without version and flags, MP4 with."""
    start = meta.start if content[meta.start + 4 : meta.start + 8] == b"hdlr" else meta.start + 4
    inner = Box(meta.type, start, meta.end)
    keys = child(content, inner, b"keys")
    names = list(_keys(content, keys)) if keys is not None else []
    items = child(content, inner, b"ilst")
    for item in boxes(content, items.start, items.end) if items is not None else ():
        number = int.from_bytes(item.type)
        name = item.type.decode("latin-1")
        if item.type == b"----":
            label = child(content, item, b"name")
            name = _text(content[label.start + 4 : label.end][:256]) if label is not None else name
        elif 1 <= number <= len(names):
            name = names[number - 1]
        data = child(content, item, b"data")
        if data is not None and content[data.start : data.start + 4] == b"\0\0\0\1":  # UTF-8
            yield name, _text(content[data.start + 8 : min(data.end, data.start + 8 + 16384)])


def _keys(content: bytes, keys: Box) -> Iterator[str]:
    at = keys.start + 8
    for _ in range(_MOST_TAGS):
        size = int.from_bytes(content[at : at + 4])
        if size < 8 or at + size > keys.end:
            return
        yield _text(content[at + 8 : at + min(size, 264)])
        at += size


def _scanned_xmp(content: bytes) -> bytes:
    """A packet by its mark alone, near the beginning or the end."""
    for start in (0, max(len(content) - _SCANNED_TAIL_BYTES, 0)):
        at = content.find(b"<x:xmpmeta", start, start + _SCANNED_HEAD_BYTES)
        if at >= 0:
            return content[at : at + MOST_BLOCK_BYTES]
    return b""


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").strip("\0 ")
