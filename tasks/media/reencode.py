"""Re-encoding an image: the smallest change that a provider accepts. For a worker: it meets hostile bytes."""

import io
import math
from dataclasses import dataclass

from PIL import Image

from domain.errors import Unfit
from tasks.media.colours import as_srgb_or_grey
from tasks.media.images import check_least_size
from tasks.media.limits import ImagePolicy, ProviderLimits
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
_SECOND_QUALITY = 82
_SECOND_SHARE = 0.6  # what quality 82 takes of the bytes of 92, 4:4:4, once chroma is halved: 0.45 to 0.6
_MAX_ENCODES = 5  # one or two are the rule; more are for pictures that do not compress

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


@dataclass(frozen=True, slots=True)
class _Goal:
    """What the result has to be."""

    max_bytes: int
    quality: int
    is_padded: bool  # a picture that is not higher than wide gets a ground that is


def reencode(content: bytes, form: Format, limits: ProviderLimits) -> tuple[bytes, str]:
    """The picture as the best JPEG within `limits`, upright, in sRGB or grey, and what was done to it.

    Never larger in pixels than the original. Metadata stay behind: where a face was photographed is nobody's
    business, and an ICC profile has been applied. The note names, in this order, what was done: "first
    frame", "8 bit from 16", "flattened on white", "srgb from icc" or "rgb from cmyk", "resized 4032x3024 to
    1440x1080" (as stored), "upright", "padded 1080x608 to 1080x1081", "jpeg q92 from png".

    Raises:
        Unfit: truncated, undecodable, too_many_pixels, unsupported_format, image_too_small, or too_large
            when no quality fits.
    """
    image = open_picture(content, form)
    stored = image.size
    check_least_size(*stored, limits)
    steps = ["first frame"] if is_sequence(image, content, form) else []
    if form is not Format.JPEG:
        load(image)
        stored = image.size  # libheif and libavif may find other sizes than the header's
    orientation = orientation_of(image)
    # A smooth picture keeps more of its pixels than a grainy one; a JPEG's own size tells which it is
    density = _JPEG_GROWTH * len(content) / (stored[0] * stored[1])
    is_known = form is Format.JPEG and density < _BYTES_PER_PIXEL
    target = _target(stored, orientation, limits, density if is_known else _BYTES_PER_PIXEL)
    if form is Format.JPEG:
        _draft(image, target)
        load(image)
    if form is Format.PNG and content[_PNG_DEPTH_AT] == 16 and not image.mode.startswith("I"):
        steps.append("8 bit from 16")  # Pillow narrows RGB without a word
    with decoding():
        picture, colour_steps = as_srgb_or_grey(image)
    steps += colour_steps
    goal = _goal(limits)
    encoded, quality, target, padded = _encode(_resize(picture, target), orientation, goal)
    if target != stored:
        steps.append(f"resized {stored[0]}x{stored[1]} to {target[0]}x{target[1]}")
    if orientation != 1:
        steps.append("upright")
    if padded:
        steps.append(padded)
    steps.append(f"jpeg q{quality}" + ("" if form is Format.JPEG else f" from {form}"))
    return encoded, ", ".join(steps)


def _goal(limits: ProviderLimits) -> _Goal:
    is_strict = limits.image_policy is not ImagePolicy.UNTOUCHED
    quality = limits.image_advice.quality if limits.image_policy is ImagePolicy.RECOMMENDED else None
    return _Goal(limits.max_image_bytes, quality or _FIRST_QUALITY, is_strict and limits.image_portrait)


def _target(
    stored: tuple[int, int], orientation: int, limits: ProviderLimits, bytes_per_pixel: float
) -> tuple[int, int]:
    """The largest size within the limits, in stored orientation; never above `stored`.

    Advice gives way to the least size: a panorama is not scaled until no face in it is large enough.
    """
    is_turned = orientation >= 5
    bounds = (limits.image_width or _JPEG_SIDE, limits.image_height or _JPEG_SIDE)
    wide, high = (min(bound, _JPEG_SIDE) for bound in (bounds[::-1] if is_turned else bounds))
    scale = min(1.0, wide / stored[0], high / stored[1])
    if limits.image_policy is ImagePolicy.RECOMMENDED:
        advice, (short, long) = limits.image_advice, sorted(stored)
        advised = min(advice.short_side / short, (advice.long_side or long) / long)
        scale = min(scale, max(advised, limits.image_least_side / short))
    if limits.image_policy is not ImagePolicy.UNTOUCHED and limits.image_portrait:
        # A ground higher than wide has to fit as well
        upright_width = stored[1] if is_turned else stored[0]
        scale = min(scale, ((limits.image_height or _JPEG_SIDE) - 1) / upright_width)
    pixels = limits.max_image_bytes / bytes_per_pixel
    scale = min(scale, math.sqrt(pixels / (stored[0] * stored[1])))
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


def _resize(picture: Image.Image, target: tuple[int, int]) -> Image.Image:
    if picture.size == target:
        return picture
    # Lanczos would take a tenth more of a picture's time for 0.1 dB
    return picture.resize(target, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _encode(picture: Image.Image, orientation: int, goal: _Goal) -> tuple[bytes, int, tuple[int, int], str]:
    """Encoded bytes, the quality used, the size in stored orientation, and how it was padded, if it was.

    Fewer pixels rather than less quality: a face needs few pixels, and the traces a detector looks for are
    finer than the blocks of a low quality. The first try tells what the second needs.
    """
    quality, size = goal.quality, picture.size
    for number in range(_MAX_ENCODES):
        canvas, padded = _upright(_resize(picture, size), orientation, goal)
        encoded = _jpeg(canvas, quality)
        if len(encoded) <= goal.max_bytes:
            return encoded, quality, size, padded
        share = goal.max_bytes / len(encoded)
        if number == 0 and quality > _SECOND_QUALITY:
            quality, share = _SECOND_QUALITY, share / _SECOND_SHARE
        if share < 1:
            scale = 0.95 * math.sqrt(share)
            size = (_scaled(size[0], scale), _scaled(size[1], scale))
    raise Unfit("too_large", f"no JPEG of the picture fits in {goal.max_bytes} bytes")


def _upright(picture: Image.Image, orientation: int, goal: _Goal) -> tuple[Image.Image, str]:
    """The picture as EXIF has it stand, on a black ground higher than wide where one is asked for."""
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    width, height = picture.size
    if not goal.is_padded or height > width:
        return picture, ""
    ground = Image.new(picture.mode, (width, width + 1))
    ground.paste(picture, (0, (width + 1 - height) // 2))
    return ground, f"padded {width}x{height} to {width}x{width + 1}"


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    """The picture alone: what Pillow would carry over from the original stays behind."""
    encoded = io.BytesIO()
    picture.save(
        encoded,
        "JPEG",
        quality=quality,
        subsampling=0 if quality == _FIRST_QUALITY else 2,
        comment=b"",
        icc_profile=None,
        exif=b"",
    )
    return encoded.getvalue()
