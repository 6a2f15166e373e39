"""Images: whether a provider takes one as it is, and the smallest change that fits when it does not.

`is_acceptable` decides in the event loop from a header. `verify` and `reencode` decode pixels and belong in a
worker (`MediaWorkers.run`): they meet hostile bytes.
"""

import io
import math

from PIL import Image

from domain.errors import Unfit
from tasks.media.headers import ImageHeader
from tasks.media.limits import ProviderLimits
from tasks.media.pictures import (
    MAX_DECODED_PIXELS,
    decoding,
    is_sequence,
    load,
    open_picture,
    orientation_of,
)
from tasks.media.sniff import Format

_JPEG_SIDE = 65_500  # JPEG_MAX_DIMENSION of libjpeg
_BYTES_PER_PIXEL = 0.6  # a grainy photograph at quality 92, 4:4:4; most need less
_JPEG_GROWTH = 1.7  # bytes a pixel at quality 92, 4:4:4, against those of a 12 MP JPEG it is scaled from
_FIRST_QUALITY = 92
_SECOND_QUALITY = 82  # takes about 0.55 of the bytes of quality 92, 4:4:4, once chroma is halved too
_SECOND_SHARE = 0.55
_MAX_ENCODES = 5  # two are the rule; more are for pictures that do not compress

_PNG_DEPTH_AT = 24  # the bit depth's place in a PNG
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_acceptable(form: Format, header: ImageHeader, size_bytes: int, limits: ProviderLimits) -> bool:
    """Whether the provider takes the image untouched.

    Format, size and pixels are compared with the limits. Two readings of the picture exist when EXIF turns
    it: the stored pixels and the upright picture. No document says which one a provider sees, so both must
    be within the size limits. Where height > width is asked for (Aliyun), an image stored as landscape that
    stands upright as portrait is not acceptable: turning it is lossless in meaning and removes the doubt. A
    picture that is landscape when upright stays as it is, because turning it would lay the face on its side.

    A JPEG of four components (CMYK, YCCK) is never acceptable: "jpg" names no colour space, decoders
    disagree on whether Adobe's are inverted, and a negative of a face is no face.
    """
    if form not in limits.image_formats or size_bytes > limits.max_image_bytes:
        return False
    if form is Format.JPEG and header.components == 4:
        return False
    stored, upright = (header.width, header.height), header.upright
    if not (limits.accepts_size(*stored) and limits.accepts_size(*upright)):
        return False
    return not (limits.image_portrait and stored[0] > stored[1] and upright[0] < upright[1])


def verify(content: bytes, form: Format) -> ImageHeader:
    """Decode every byte of the picture and say what it is.

    Raises:
        Unfit: truncated, undecodable or too_many_pixels.
    """
    image = open_picture(content, form)
    (width, height), components = image.size, len(image.getbands())
    # A JPEG is scaled down while it is decoded: all of its bytes are read, an eighth of each side is stored
    image.draft(image.mode, (1, 1))
    load(image)
    return ImageHeader(width, height, orientation_of(image), components, is_complete=True)


def reencode(content: bytes, form: Format, limits: ProviderLimits) -> tuple[bytes, str]:
    """The picture as the best JPEG within `limits`, upright, and what was done to it.

    Never larger in pixels than the original. Metadata stay behind (where a face was photographed is nobody's
    business), the ICC profile goes along. The note names, in this order, what was done: "first frame",
    "8 bit from 16", "rgb from cmyk", "flattened on white", "resized 4032x3024 to 1440x1080" (as stored),
    "upright", "jpeg q92 from png".

    Raises:
        Unfit: truncated, undecodable, too_many_pixels, unsupported_format, or too_large when no quality fits.
    """
    image = open_picture(content, form)
    stored = image.size
    steps = ["first frame"] if is_sequence(content, form) else []
    if form is not Format.JPEG:
        load(image)
    orientation = orientation_of(image)
    # A smooth picture keeps more of its pixels than a grainy one; a JPEG's own size tells which it is
    density = _JPEG_GROWTH * len(content) / (stored[0] * stored[1])
    is_known = form is Format.JPEG and density < _BYTES_PER_PIXEL
    target = _target(stored, orientation, limits, density if is_known else _BYTES_PER_PIXEL)
    if form is Format.JPEG:
        _draft(image, target)
        load(image)
    profile = _profile(image, limits.max_image_bytes)
    with decoding():
        picture, colour_step = _as_rgb_or_grey(image)
    if form is Format.PNG and content[_PNG_DEPTH_AT] == 16:  # Pillow narrows RGB without a word
        colour_step = colour_step or "8 bit from 16"
    if colour_step:
        steps.append(colour_step)
    encoded, quality, target = _encode(_resize(picture, target), limits.max_image_bytes, orientation, profile)
    if target != stored:
        steps.append(f"resized {stored[0]}x{stored[1]} to {target[0]}x{target[1]}")
    if orientation != 1:
        steps.append("upright")
    steps.append(f"jpeg q{quality}" + ("" if form is Format.JPEG else f" from {form}"))
    return encoded, ", ".join(steps)


def _target(
    stored: tuple[int, int], orientation: int, limits: ProviderLimits, bytes_per_pixel: float
) -> tuple[int, int]:
    """The largest size within the limits, in stored orientation; never above `stored`."""
    is_turned = orientation >= 5
    bounds = (limits.image_width or _JPEG_SIDE, limits.image_height or _JPEG_SIDE)
    wide, high = (min(bound, _JPEG_SIDE) for bound in (bounds[::-1] if is_turned else bounds))
    pixels = limits.max_image_bytes / bytes_per_pixel
    scale = min(1.0, wide / stored[0], high / stored[1], math.sqrt(pixels / (stored[0] * stored[1])))
    return min(wide, _scaled(stored[0], scale)), min(high, _scaled(stored[1], scale))


def _scaled(side: int, scale: float) -> int:
    return max(1, min(side, round(side * scale)))


def _draft(image: Image.Image, target: tuple[int, int]) -> None:
    """Let libjpeg decode the smallest fraction of a large JPEG that is no smaller than the target.

    From 12 MP to 1440x1080 this takes 0.4 of the CPU of decoding all of it, and costs 0.15 dB of PSNR.
    """
    width, height = image.size
    image.draft(image.mode, target)
    if image.width * image.height > MAX_DECODED_PIXELS:
        raise Unfit("too_many_pixels", f"{width}x{height} cannot be decoded in bounded memory")


def _profile(image: Image.Image, max_bytes: int) -> bytes | None:
    """The ICC profile, where it still describes the picture as RGB or grey and leaves room for it."""
    profile = image.info.get("icc_profile")
    keeps_colours = image.mode in ("RGB", "RGBA", "P") or (
        image.mode == "L" and "transparency" not in image.info
    )
    return profile if profile and keeps_colours and len(profile) <= max_bytes // 8 else None


def _as_rgb_or_grey(image: Image.Image) -> tuple[Image.Image, str]:
    """The picture in a mode JPEG knows, and what that changed ("" when nothing one could see)."""
    mode, is_clear = image.mode, "transparency" in image.info
    if mode.startswith("I"):
        wide = image.convert("I")
        _, brightest = wide.getextrema()
        if not isinstance(brightest, int | float) or brightest > 0xFFFF:
            raise Unfit("unsupported_format", "integer samples of 32 bits have no agreed white")
        # Pillow clips when it narrows wide integers; linear scaling keeps the picture
        return wide.point(lambda value: value * (1 / 256)).convert("L"), "8 bit from 16"
    if mode == "F":
        raise Unfit("unsupported_format", "floating point samples have no agreed white")
    if mode == "CMYK":
        return image.convert("RGB"), "rgb from cmyk"
    if is_clear or mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        straight = image.convert("RGBA")
        white = Image.new("RGB", straight.size, "white")
        white.paste(straight, mask=straight.getchannel("A"))
        return white, "flattened on white"
    if mode in ("RGB", "L"):
        return image, ""
    return image.convert("L" if mode == "1" else "RGB"), ""


def _resize(picture: Image.Image, target: tuple[int, int]) -> Image.Image:
    if picture.size == target:
        return picture
    return picture.resize(target, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _encode(
    picture: Image.Image, max_bytes: int, orientation: int, profile: bytes | None
) -> tuple[bytes, int, tuple[int, int]]:
    """Encoded bytes, the quality used and the size in stored orientation.

    Fewer pixels rather than less quality: a face needs few pixels, and the traces a detector looks for are
    finer than the blocks of a low quality.
    """
    quality, size = _FIRST_QUALITY, picture.size
    for _ in range(_MAX_ENCODES):
        encoded = _jpeg(_resize(picture, size), quality, orientation, profile)
        if len(encoded) <= max_bytes:
            return encoded, quality, size
        share = max_bytes / len(encoded)
        if quality == _FIRST_QUALITY:
            quality, share = _SECOND_QUALITY, share / _SECOND_SHARE
        if share < 1:
            scale = 0.95 * math.sqrt(share)
            size = (_scaled(size[0], scale), _scaled(size[1], scale))
    raise Unfit("too_large", f"no JPEG of the picture fits in {max_bytes} bytes")


def _jpeg(picture: Image.Image, quality: int, orientation: int, profile: bytes | None) -> bytes:
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    encoded = io.BytesIO()
    picture.save(
        encoded,
        "JPEG",
        quality=quality,
        subsampling=0 if quality == _FIRST_QUALITY else 2,
        icc_profile=profile,
        comment=b"",  # Pillow would carry the original's comment over
    )
    return encoded.getvalue()
