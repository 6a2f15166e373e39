"""Pictures: any number of different valid JPEGs of 150 KB, as fast as a disk takes them."""

import io
import random
from pathlib import Path

from PIL import Image, ImageFilter

SIZE_BYTES = 150_000
SIZE_PX = (720, 960)  # portrait and within both providers' limits: sent as it is
_COMMENT = 0xFE


def picture(number: int, base: bytes) -> bytes:
    """`base` with a comment that says `number`: other bytes, the same picture."""
    return base[:2] + _segment(f"benchmark picture {number:012d}".encode()) + base[2:]


def base_picture() -> bytes:
    """A grainy JPEG that `picture` makes `SIZE_BYTES` long; its last bytes are one more comment."""
    dice = random.Random(1)
    grain = Image.frombytes("L", SIZE_PX, dice.randbytes(SIZE_PX[0] * SIZE_PX[1]))
    soft = grain.filter(ImageFilter.GaussianBlur(1.2))
    image = Image.merge("RGB", (soft, soft.filter(ImageFilter.GaussianBlur(2)), soft))
    length = SIZE_BYTES - len(picture(0, b"\xff\xd8")) + 2
    for quality in range(95, 10, -1):
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=quality)
        content = encoded.getvalue()
        missing = length - len(content)
        if 4 <= missing <= 60_000:
            return content[:2] + _segment(dice.randbytes(missing - 4)) + content[2:]
    raise ValueError("no quality gives a picture of that size")


def small_picture() -> bytes:
    """A smooth JPEG of some 9 KB: for runs that measure everything but the bytes."""
    encoded = io.BytesIO()
    Image.radial_gradient("L").resize(SIZE_PX).convert("RGB").save(encoded, "JPEG", quality=60)
    return encoded.getvalue()


def write_pictures(folder: Path, count: int) -> Path:
    """A folder of `count` different pictures, a thousand to a directory."""
    base = base_picture()
    for number in range(count):
        place = folder / f"{number // 1000:04d}"
        if number % 1000 == 0:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:07d}.jpg").write_bytes(picture(number, base))
    return folder


def _segment(content: bytes) -> bytes:
    return bytes((0xFF, _COMMENT)) + (len(content) + 2).to_bytes(2) + content
