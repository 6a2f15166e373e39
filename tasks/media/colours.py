"""Colours: any mode Pillow opens as the RGB or grey that every JPEG decoder shows alike. For a worker."""

import io
import itertools

from PIL import Image, ImageCms

from domain.errors import Unfit

MAX_PROFILE_BYTES = 4 * 1024**2
"""Profiles of cameras and screens take 0.5 to 10 KB, those of printers up to 3 MB."""

_ROUNDING = 3  # of 255: what profiles of the same colours, written by different hands, differ by
_CLEAR = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_PROFILED = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # a mode and the colour space its profile must name


def as_srgb_or_grey(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The picture as sRGB or grey of 8 bits, and what that changed, where one could see it.

    An embedded ICC profile is applied and left behind: phones of today record Display P3, and who does not
    know a profile sees such a face too pale. A damaged profile, or one of another colour space than the
    pixels', is ignored, as browsers do.

    Raises:
        Unfit: unsupported_format, for samples without an agreed white.
    """
    profile = image.info.get("icc_profile")
    steps: list[str] = []
    if image.mode in _CLEAR or "transparency" in image.info:
        image, steps = _flattened(image)
    elif image.mode.startswith("I"):
        image, steps = _narrowed(image), ["8 bit from 16"]
    elif image.mode == "F":
        raise Unfit("unsupported_format", "floating point samples have no agreed white")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if isinstance(profile, bytes) and (managed := _managed(image, profile)):
        return managed, [*steps, "rgb from cmyk" if image.mode == "CMYK" else "srgb from icc"]
    if image.mode == "CMYK":
        return image.convert("RGB"), [*steps, "rgb from cmyk"]
    if image.mode == "LAB":
        return _from_lab(image), [*steps, "rgb from lab"]
    return image, steps


def _flattened(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The picture on white, where anything shows through it."""
    straight = image.convert("RGBA")
    mask = straight.getchannel("A")
    if mask.getextrema() == (255, 255):
        return straight.convert("RGB"), []
    white = Image.new("RGB", straight.size, "white")
    white.paste(straight, mask=mask)
    return white, ["flattened on white"]


def _narrowed(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as grey of 8. Pillow clips when it narrows; linear scaling keeps the picture."""
    wide = image.convert("I")
    _, brightest = wide.getextrema()
    if not isinstance(brightest, int | float) or brightest > 0xFFFF:
        raise Unfit("unsupported_format", "integer samples of 32 bits have no agreed white")
    return wide.point(lambda value: value * (1 / 256)).convert("L")


def _managed(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB; None where its profile changes nothing or cannot be used.

    A profile is judged by what it does to some colours, not by its name, which anybody can give it.
    """
    space = profile[16:20].decode("latin-1")
    if len(profile) > MAX_PROFILE_BYTES or space != _PROFILED.get(image.mode):
        return None
    try:
        source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, image.mode, "RGB")
        if image.mode == "RGB" and _is_as_good_as_none(transform):
            return None
        return ImageCms.applyTransform(image, transform)
    except MemoryError:
        raise
    except Exception:  # Little CMS and Pillow raise nearly anything of foreign profiles
        return None


def _is_as_good_as_none(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether some colours from all over the cube stay what they are, but for rounding."""
    levels = (0, 32, 64, 128, 192, 255)
    before = bytes(level for colour in itertools.product(levels, repeat=3) for level in colour)
    sample = Image.frombytes("RGB", (len(before) // 3, 1), before)
    changed = ImageCms.applyTransform(sample, transform)
    assert changed is not None  # noqa: S101 - only in place does it return nothing
    return max(abs(a - b) for a, b in zip(before, changed.tobytes(), strict=True)) <= _ROUNDING


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # noqa: S101 - only in place does it return nothing
    return converted
