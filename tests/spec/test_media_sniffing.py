"""Media: what the bytes are, whatever the name says."""

import io

import pytest
from PIL import Image

from domain.errors import Unfit
from domain.objects import MediaKind
from tasks.media.sniff import Format, sniff


def drawn(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "tan").save(out, form)
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("JPEG", Format.JPEG),
        ("PNG", Format.PNG),
        ("GIF", Format.GIF),
        ("BMP", Format.BMP),
        ("WEBP", Format.WEBP),
        ("TIFF", Format.TIFF),
        ("AVIF", Format.AVIF),
        ("JPEG2000", Format.JPEG2000),
    ],
)
def test_images_are_known_by_their_content(form: str, found: Format) -> None:
    assert sniff(drawn(form)) is found
    assert found.kind is MediaKind.IMAGE


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", Format.MP4),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", Format.MP4),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", Format.MOV),
        (b"\0\0\0\x08wide\0\0\0\0mdat", Format.MOV),
        (b"\0\0\0\x14ftyp3gp5\0\0\0\x003gp5", Format.THREE_GP),
        (b"RIFF\0\0\0\0AVI LIST", Format.AVI),
        (b"FLV\x01\x05\0\0\0\x09", Format.FLV),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", Format.WEBM),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", Format.MKV),
    ],
)
def test_videos_are_known_by_their_container(head: bytes, found: Format) -> None:
    assert sniff(head) is found
    assert found.kind is MediaKind.VIDEO


@pytest.mark.parametrize(
    ("brands", "found"),
    [
        (b"heic\0\0\0\0mif1heic", Format.HEIF),
        (b"mif1\0\0\0\0mif1heic", Format.HEIF),
        (b"mif1\0\0\0\0mif1avif", Format.AVIF),
        (b"avif\0\0\0\0mif1avif", Format.AVIF),
    ],
)
def test_still_images_in_video_boxes_are_images(brands: bytes, found: Format) -> None:
    assert sniff((8 + len(brands)).to_bytes(4) + b"ftyp" + brands) is found


def test_an_object_without_bytes_is_unfit_as_empty() -> None:
    with pytest.raises(Unfit) as refusal:
        sniff(b"")
    assert refusal.value.reason == "empty"


@pytest.mark.parametrize(
    "content",
    [
        b"This was never an image.\n",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",  # a playlist would make FFmpeg open what it names
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"BMW owners, March 2024\n" * 3,
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom",
        b"\xff\xd8",
    ],
)
def test_anything_else_is_unfit_as_not_media(content: bytes) -> None:
    with pytest.raises(Unfit) as refusal:
        sniff(content)
    assert refusal.value.reason == "not_media"
