"""PDQ, held against what its reference in C++ gives for the same pictures."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from domain.errors import Unfit
from tasks.media.pdq import hash_luma, hash_picture
from tasks.media.sniff import Format
from tests.media_corpus import heif, turned

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pdq.json").read_text())["pictures"]
SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def drawn(rows: int, columns: int, seed: int) -> Any:
    """The pictures of the vectors: waves, in whole steps from 0 to 255."""
    y, x = np.mgrid[0:rows, 0:columns] / np.array([rows, columns]).reshape(2, 1, 1)
    s = seed + 1
    waves = 60 * np.sin(2 * np.pi * (x * s + y * (s % 3 + 1)) + s) + 40 * np.cos(
        2 * np.pi * (x * x * 3 - y * s)
    )
    return np.floor(np.clip(127.5 + waves + 25 * np.sin(9 * x * y * s), 0, 255)).astype(np.float32)


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: f"{each['columns']}x{each['rows']}")
def test_hash_and_quality_are_those_of_the_reference(vector: dict[str, Any]) -> None:
    found, quality = hash_luma(drawn(vector["rows"], vector["columns"], vector["seed"]))

    assert distance(found, vector["hash"]) <= 2  # a frequency that lies on the median may round either way
    assert quality == vector["quality"]


def jpeg(pixels: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def test_a_picture_that_was_shrunk_and_compressed_is_found_again() -> None:
    picture = Image.fromarray(drawn(1400, 1050, 3).astype(np.uint8)).convert("RGB")
    original, again = io.BytesIO(), io.BytesIO()
    picture.save(original, "PNG")
    picture.resize((525, 700)).save(again, "JPEG", quality=60)
    other = jpeg(drawn(1400, 1050, 4))

    first, _ = hash_picture(original.getvalue(), Format.PNG)

    assert distance(first, hash_picture(again.getvalue(), Format.JPEG)[0]) <= 31
    assert distance(first, hash_picture(other, Format.JPEG)[0]) > 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_hashed_as_people_see_it(orientation: int) -> None:
    upright = jpeg(drawn(640, 480, 6))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(drawn(640, 480, 6).astype(np.uint8)).convert("RGB")
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    stored.save(out, "JPEG", quality=95, exif=exif)

    one, other = hash_picture(upright, Format.JPEG)[0], hash_picture(out.getvalue(), Format.JPEG)[0]

    assert distance(one, other) <= 12


def test_a_heic_is_hashed_as_its_container_turns_it() -> None:
    upright = Image.fromarray(drawn(640, 480, 6).astype(np.uint8)).convert("RGB")
    # The encoder carries an orientation of 6 out, and has the container turn the picture once more.
    as_given = turned(upright.transpose(Image.Transpose.ROTATE_180))

    one, other = (hash_picture(heif([each]), Format.HEIF)[0] for each in (upright, as_given))

    assert distance(one, other) <= 12


def test_a_picture_without_detail_says_so() -> None:
    assert hash_picture(jpeg(np.full((640, 480), 90)), Format.JPEG)[1] == 0


@pytest.mark.parametrize(
    "name", ["formats/selfie.png", "formats/selfie.webp", "formats/transparent.png", "formats/deep-grey.png",
             "formats/animated.gif", "formats/old.bmp", "formats/scan.tiff", "formats/print-cmyk.jpg",
             "formats/photo.heic", "phone/oversized.jpg", "formats/grey.jpg"],
)  # fmt: skip
def test_every_picture_that_can_be_decoded_has_a_hash(name: str) -> None:
    from tasks.media.sniff import sniff  # noqa: PLC0415

    content = (SAMPLE / name).read_bytes()
    found, quality = hash_picture(content, sniff(content))

    assert len(found) == 64
    assert 0 <= quality <= 100


@pytest.mark.parametrize("name", ["damaged/cut.jpg", "damaged/bomb.png"])
def test_a_picture_that_cannot_be_decoded_has_none(name: str) -> None:
    form = Format.JPEG if name.endswith("jpg") else Format.PNG
    with pytest.raises(Unfit):
        hash_picture((SAMPLE / name).read_bytes(), form)
