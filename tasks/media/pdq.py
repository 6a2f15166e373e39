"""PDQ: a hash of how a picture looks, for finding pictures that look alike. For a worker.

The algorithm is Meta's, published with its reference in C++ (github.com/facebook/ThreatExchange, pdq): luma,
blurred by a box twice along each axis, 64x64 samples, the 16x16 lowest frequencies but the mean, a bit for
each that is above their median. Written anew here with numpy: the only binding, `pdqhash`, comes as source
only and would ask users for a compiler. tests/vectors/pdq.json holds what the reference gives.

Two pictures of one scene differ in up to 31 of the 256 bits, by its authors; unrelated ones in about 128. A
quality up to 49 marks a picture without detail, whose hash says little. Of faces nothing is extracted:
whether two pictures show one person cannot be told from it.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from domain.errors import Unfit
from tasks.media.pictures import decoding, load, open_picture, orientation_of
from tasks.media.sniff import Format

_SAMPLED = 64
_KEPT = 16
_MOST_SIDE = 512
"""Pictures whose shorter side is longer are shrunk to it first, as the reference's own tools do."""

Floats = npt.NDArray[np.float32]

_DCT: npt.NDArray[np.float64] = np.sqrt(2 / _SAMPLED) * np.cos(
    np.pi / 2 / _SAMPLED * np.outer(np.arange(1, _KEPT + 1), 2 * np.arange(_SAMPLED) + 1)
)


def hash_picture(content: bytes, form: Format) -> tuple[str, int]:
    """Hash (64 hex digits) and quality (0 to 100) of the picture as people see it, upright.

    Raises: Unfit: the picture cannot be decoded within its bounds.
    """
    image = open_picture(content, form)
    orientation = orientation_of(image) if form is Format.JPEG else 1
    if form is Format.JPEG:
        # A JPEG keeps its luma apart: without its colours it is decoded in half the time.
        image.draft("L" if image.mode in ("L", "RGB") else image.mode, (_MOST_SIDE, _MOST_SIDE))
    load(image)
    with decoding():
        if form is not Format.JPEG:
            orientation = orientation_of(image)
        return hash_luma(_luma(_upright(_shrunk(image), orientation)))


def hash_luma(luma: Floats) -> tuple[str, int]:
    """Hash and quality of a picture's luma, rows by columns, 0 to 255. Raises: Unfit: a side is under 5."""
    rows, columns = luma.shape
    if min(rows, columns) < 5:  # the reference's own bound
        raise Unfit("too_small", f"{columns}x{rows} pixels say nothing")
    samples: npt.NDArray[np.floating] = luma
    if luma.shape != (_SAMPLED, _SAMPLED):
        samples = _samples_of(rows) @ luma @ _samples_of(columns).T
    frequencies = _DCT @ samples @ _DCT.T
    median = np.partition(frequencies.ravel(), 127)[127]
    bits = (frequencies > median).ravel()
    number = sum(1 << place for place in np.flatnonzero(bits).tolist())
    return f"{number:064x}", _quality(samples)


def _quality(samples: npt.NDArray[np.floating]) -> int:
    """How much there is to see: the sum of its gradients, each cut to a whole per cent of the range."""
    total = sum(int(np.abs(np.trunc(np.diff(samples, axis=axis) * 100 / 255)).sum()) for axis in (0, 1))
    return min(total // 90, 100)


@lru_cache(maxsize=64)
def _samples_of(side: int) -> Floats:
    """The matrix that blurs a side twice and takes its samples: both are linear, and the axes do not meet."""
    window = (side + 2 * _SAMPLED - 1) // (2 * _SAMPLED)
    places = np.arange(side)
    last = np.minimum(places + (window + 2) // 2, side)
    first = np.maximum(places + (window + 2) // 2 - window, 0)
    is_inside = (places >= first[:, None]) & (places < last[:, None])
    blur = is_inside / (last - first)[:, None]  # each row the mean of what a window has left at the edges
    centres = ((np.arange(_SAMPLED) + 0.5) * side / _SAMPLED).astype(np.intp)
    matrix: Floats = (blur[centres] @ blur).astype(np.float32)
    return matrix


def _shrunk(image: Image.Image) -> Image.Image:
    """The picture in RGB or grey, its shorter side `_MOST_SIDE` or less; what is transparent is white."""
    scale = _MOST_SIDE / min(image.size)
    if image.mode not in ("L", "RGB"):
        if image.mode in ("I;16", "I;16B", "I"):
            image = image.point(lambda value: value / 256).convert("L")
        elif "A" in image.mode or "transparency" in image.info:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        else:
            image = image.convert("RGB")
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    return image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    exif = image.getexif()
    exif[0x0112] = orientation
    return ImageOps.exif_transpose(image)


def _luma(image: Image.Image) -> Floats:
    return np.asarray(image.convert("L"), np.float32)
