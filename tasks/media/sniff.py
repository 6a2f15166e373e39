"""Sniffing: what the bytes are. The suffix and the store's content type are never asked.

A KYC bucket is filled by the people under suspicion, and apps rename what phones hand them: PNGs called
`.jpg` are common.
"""

from enum import StrEnum

from domain.errors import Unfit
from domain.objects import MediaKind


class Format(StrEnum):
    """A media format, decided by content."""

    JPEG = "jpeg"  # MPO (several JPEGs in one file) counts: its first picture is an ordinary JPEG
    PNG = "png"
    GIF = "gif"
    BMP = "bmp"
    WEBP = "webp"
    TIFF = "tiff"
    AVIF = "avif"
    HEIF = "heif"
    JPEG2000 = "jpeg2000"
    JXL = "jxl"
    MP4 = "mp4"
    MOV = "mov"
    AVI = "avi"
    FLV = "flv"
    WEBM = "webm"
    MKV = "mkv"
    THREE_GP = "3gp"
    MPEG = "mpeg"
    ASF = "asf"
    OGG = "ogg"

    @property
    def kind(self) -> MediaKind:
        """Image or video; never other."""
        return MediaKind.IMAGE if self in _IMAGES else MediaKind.VIDEO


_IMAGES = frozenset(
    {
        Format.JPEG,
        Format.PNG,
        Format.GIF,
        Format.BMP,
        Format.WEBP,
        Format.TIFF,
        Format.AVIF,
        Format.HEIF,
        Format.JPEG2000,
        Format.JXL,
    }
)

_PREFIXES = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0", Format.TIFF),
    (b"MM\0+", Format.TIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Format.JPEG2000),
    (b"\xff\x4f\xff\x51", Format.JPEG2000),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Format.JXL),
    (b"\xff\x0a", Format.JXL),
    (b"FLV\x01", Format.FLV),
    (b"\0\0\x01\xba", Format.MPEG),
    (b"\0\0\x01\xb3", Format.MPEG),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format.ASF),
    (b"OggS", Format.OGG),
)

_RIFF_FORMS = {b"AVI ": Format.AVI, b"WEBP": Format.WEBP}

# The registered brands of ISO base media files (mp4ra.org); any brand not named here is taken for MP4.
_BRANDS = {
    b"qt  ": Format.MOV,
    b"avif": Format.AVIF,
    b"avis": Format.AVIF,
    b"heic": Format.HEIF,
    b"heix": Format.HEIF,
    b"heim": Format.HEIF,
    b"heis": Format.HEIF,
    b"hevc": Format.HEIF,
    b"hevx": Format.HEIF,
    b"mif1": Format.HEIF,
    b"msf1": Format.HEIF,
}
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"pnot", b"free", b"skip"})
_BMP_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})
_TS_PACKET_BYTES = 188
_TS_SYNC = 0x47


def sniff(content: bytes) -> Format:
    """The format of `content`, judged by its first bytes alone.

    Raises:
        Unfit: `empty` without a byte; `not_media` when the bytes are no image and no video we know.
    """
    if not content:
        raise Unfit("empty", "the object has no bytes")
    head = content[:4096]
    for prefix, form in _PREFIXES:
        if head.startswith(prefix):
            return form
    found = _sniff_riff(head) or _sniff_boxes(head) or _sniff_weak(head)
    if found is None:
        raise Unfit("not_media", "the first bytes are those of no image or video format")
    return found


def _sniff_riff(head: bytes) -> Format | None:
    return _RIFF_FORMS.get(head[8:12]) if head.startswith(b"RIFF") else None


def _sniff_boxes(head: bytes) -> Format | None:
    """ISO base media files, and the QuickTime files older than the ftyp box."""
    box_type = head[4:8]
    if box_type in _QUICKTIME_BOXES:
        return Format.MOV
    if box_type != b"ftyp":
        return None
    major = head[8:12]
    if major in _AUDIO_BRANDS:
        return None
    if major.startswith(b"3g"):
        return Format.THREE_GP
    found = _BRANDS.get(major, Format.MP4)
    box_bytes = int.from_bytes(head[:4])
    compatible = {head[at : at + 4] for at in range(16, min(box_bytes, len(head)), 4)}
    # mif1 only says "an image file of the HEIF family"; what codes it stands among the compatible brands
    if found is Format.HEIF and major in (b"mif1", b"msf1") and compatible & {b"avif", b"avis"}:
        return Format.AVIF
    return found


def _sniff_weak(head: bytes) -> Format | None:
    """Formats whose mark is too short to trust alone: a second fact must agree."""
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Format.WEBM if b"webm" in head[:64] else Format.MKV
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return Format.BMP
    if len(head) > 2 * _TS_PACKET_BYTES and all(
        head[at] == _TS_SYNC for at in (0, _TS_PACKET_BYTES, 2 * _TS_PACKET_BYTES)
    ):
        return Format.MPEG
    return None
