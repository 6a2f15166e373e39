"""Pictures as Pillow opens them, with everything it may raise of foreign bytes turned into `Unfit`.

For a worker: this is where hostile bytes are decoded.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, features

from domain.errors import Unfit
from tasks.media.headers import jpeg_frame
from tasks.media.sniff import Format

MAX_DECODED_PIXELS = 64_000_000
"""Pixels decoded at most, after JPEG draft scaling: 256 MB as RGBA; a worker's memory holds some copies."""

MAX_JPEG_PIXELS = 256_000_000
"""Pixels a JPEG may claim: phones make 200 MP (16320x12240), of which draft scaling decodes 1/4 to 1/64."""

_PILLOW_NAMES = {
    Format.JPEG: "JPEG",
    Format.PNG: "PNG",
    Format.GIF: "GIF",
    Format.BMP: "BMP",
    Format.WEBP: "WEBP",
    Format.TIFF: "TIFF",
    Format.AVIF: "AVIF",
    Format.JPEG2000: "JPEG2000",
    Format.HEIF: "HEIF",
}
# What a build of Pillow may lack, by the name it has there; its wheels have all three
_OPTIONAL = {Format.WEBP: "webp", Format.AVIF: "avif", Format.JPEG2000: "jpg_2000"}
_ORIENTATION = 0x0112


def check_pixels(form: Format, width: int, height: int) -> None:
    """Refuse what would not decode in bounded memory, before anything is decoded.

    Raises:
        Unfit: `too_many_pixels`, the mark of a decompression bomb.
    """
    bound = MAX_JPEG_PIXELS if form is Format.JPEG else MAX_DECODED_PIXELS
    if width * height > bound:
        raise Unfit("too_many_pixels", f"{width}x{height} is more than {bound // 1_000_000} million pixels")


class _Watched(io.BytesIO):
    """A file that remembers whether its reader asked for bytes past the end: the mark of a cut file."""

    ran_dry = False

    def read(self, size: int | None = -1, /) -> bytes:
        got = super().read(size)
        # Pillow asks for JPEG data in blocks of MAXBLOCK; the last one is short in every file
        if size and size > 0 and (not got or len(got) < size < ImageFile.MAXBLOCK):
            self.ran_dry = True
        return got


@contextmanager
def decoding(source: object = None) -> Iterator[None]:
    """Whatever Pillow raises of foreign bytes, and it raises nearly anything, as an Unfit."""
    try:
        yield
    except (Unfit, MemoryError):
        raise
    except Exception as error:
        if isinstance(source, _Watched) and source.ran_dry:
            raise Unfit("truncated", "the file ends before the picture does") from None
        raise Unfit("undecodable", f"the picture cannot be decoded ({type(error).__name__})") from None


def open_picture(content: bytes, form: Format) -> Image.Image:
    """The picture, its header read and its size checked, no pixel decoded yet.

    Raises:
        Unfit: unsupported_format, truncated, undecodable or too_many_pixels.
    """
    name = _PILLOW_NAMES.get(form)
    if name is None or not features.check(_OPTIONAL.get(form, "jpg")):
        raise Unfit("unsupported_format", f"facesweep has no decoder for {form}")
    if form is Format.HEIF:
        _register_heif()
    if form is Format.JPEG and (frame := jpeg_frame(content)) and frame[1] > 8:
        raise Unfit("unsupported_format", f"a JPEG of {frame[1]} bits a sample, which decoders do not read")
    source = _Watched(content)
    with decoding(source):
        image = Image.open(source, formats=(name,))
    check_pixels(form, *image.size)
    return image


def _register_heif() -> None:
    """Let Pillow read HEIF. Only where one is met: libheif costs 20 ms and 27 MB of address space."""
    from pi_heif import register_heif_opener  # noqa: PLC0415

    # A thumbnail or a depth map inside is another picture than the one that is asked about
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


def load(image: Image.Image) -> None:
    """Decode the pixels.

    Raises:
        Unfit: truncated or undecodable.
    """
    with decoding(getattr(image, "fp", None)):
        image.load()


def is_sequence(image: Image.Image, content: bytes, form: Format) -> bool:
    """Whether there are more frames; asked of a second reader, because asking moves it through the file."""
    if form is Format.JPEG:
        return False
    if form is Format.HEIF:
        return bool(getattr(image, "is_animated", False))
    try:
        return bool(getattr(open_picture(content, form), "is_animated", False))
    except MemoryError:
        raise
    except Exception:  # damage behind the first frame is none of ours
        return False


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation of a loaded picture, or of a JPEG.

    Always 1 of a HEIF: libheif has turned it as the container says, and EXIF would turn it again.

    Asked for EXIF, Pillow loads a PNG by itself; were its pixels damaged, the error would end here and the
    picture would seem to be loaded, all black.
    """
    if image.format == _PILLOW_NAMES[Format.HEIF]:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF costs the orientation, never the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
