"""Signals: what is read of an object's own bytes, wherever its writer put it."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from domain.signals import C2pa, Signals
from tasks.media.aigc import label_in_text, label_in_xmp
from tasks.media.boxes import boxes
from tasks.media.signals import read_signals, verify_manifest
from tasks.media.sniff import sniff
from tests.spec.signed_media import signed

FIELDS = {
    "Label": "1",
    "ContentProducer": "001191440300708461136T1XGW3",
    "ProduceID": "e2f1",
    "ReservedCode1": "c2ln",
    "ContentPropagator": "001191440300708461136T1XGW3",
    "PropagateID": "e2f1",
    "ReservedCode2": "",
}
LABEL = json.dumps(FIELDS)
ESCAPED = LABEL.replace('"', "&quot;")
NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"


def packet(inside: str, attributes: str = "", prefix: str = "TC260") -> bytes:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:{prefix}="{NAMESPACE}" {attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


XMP = packet(f"<TC260:AIGC>{ESCAPED}</TC260:AIGC>")


def picture(kind: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 80), (90, 120, 150)).save(out, kind, **options)
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2) + body


def in_jpeg(*segments: bytes) -> bytes:
    plain = picture()
    return plain[:2] + b"".join(segments) + plain[2:]


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)


def in_png(*chunks: bytes) -> bytes:
    plain = picture("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def in_webp(name: bytes, body: bytes) -> bytes:
    plain = picture("WEBP")
    added = name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
    return b"RIFF" + (len(plain) - 8 + len(added)).to_bytes(4, "little") + plain[8:] + added


def clip(container: str = "mp4", **metadata: str) -> bytes:
    """A clip with tags, written as FFmpeg writes them."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, options={"movflags": "use_metadata_tags"}) as file:
        file.metadata.update(metadata)
        stream = file.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 80, "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((80, 64, 3), 90, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def box(name: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4) + name + body


def read(content: bytes) -> Signals:
    return read_signals(content, sniff(content))


def exif_with_comment(comment: bytes) -> bytes:
    """EXIF whose UserComment holds this."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    return exif.tobytes()


LABELLED: dict[str, Callable[[], bytes]] = {
    "jpeg xmp element": lambda: in_jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "jpeg xmp attribute": lambda: in_jpeg(
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet("", f'TC260:AIGC="{ESCAPED}"'))
    ),
    "jpeg xmp of another prefix": lambda: in_jpeg(
        segment(
            0xE1,
            b"http://ns.adobe.com/xap/1.0/\0" + packet(f"<a:AIGC>{ESCAPED}</a:AIGC>", prefix="a"),
        )
    ),
    "jpeg xmp unescaped": lambda: in_jpeg(
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet(f"<TC260:AIGC>{LABEL}</TC260:AIGC>"))
    ),
    "jpeg xmp behind the picture": lambda: picture() + XMP,
    "jpeg user comment": lambda: picture(exif=exif_with_comment(b"ASCII\0\0\0" + LABEL.encode())),
    "jpeg user comment, nested": lambda: picture(
        exif=exif_with_comment(b"ASCII\0\0\0" + json.dumps({"AIGC": FIELDS}).encode())
    ),
    "jpeg user comment, unicode": lambda: picture(
        exif=exif_with_comment(b"UNICODE\0" + LABEL.encode("utf-16-le"))
    ),
    "jpeg comment": lambda: in_jpeg(segment(0xFE, LABEL.encode())),
    "png xmp": lambda: in_png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "png xmp, packed": lambda: in_png(
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP))
    ),
    "png text": lambda: in_png(chunk(b"tEXt", b"AIGC\0" + LABEL.encode())),
    "png packed text": lambda: in_png(chunk(b"zTXt", b"AIGC\0\0" + zlib.compress(LABEL.encode()))),
    "png chunk": lambda: in_png(chunk(b"AIGC", LABEL.encode())),
    "webp xmp": lambda: in_webp(b"XMP ", XMP),
    "webp exif": lambda: in_webp(b"EXIF", exif_with_comment(b"ASCII\0\0\0" + LABEL.encode())),
    "gif, anywhere": lambda: picture("GIF") + XMP,
    "mp4 tag": lambda: clip(AIGC=LABEL),
    "mov tag": lambda: clip("mov", AIGC=LABEL),
    "mp4 comment": lambda: clip(comment=LABEL),
    "mp4 xmp": lambda: clip() + box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP),
}  # fmt: skip


@pytest.mark.parametrize("where", LABELLED)
def test_the_label_of_gb_45438_is_read_wherever_it_may_stand(where: str) -> None:
    found = read(LABELLED[where]())

    assert found.aigc_label == "generated"
    assert found.aigc_producer == FIELDS["ContentProducer"]
    assert found.says_generated
    assert found.aigc_raw is not None
    assert json.loads(found.aigc_raw).get("AIGC", json.loads(found.aigc_raw)) == FIELDS


@pytest.mark.parametrize(
    ("label", "meaning"),
    [("1", "generated"), (1, "generated"), ("2", "possible"), ("3", "suspected"), ("AIGC", "other:AIGC")],
)
def test_each_value_of_the_label_has_its_meaning(label: object, meaning: str) -> None:
    found = label_in_text(json.dumps(FIELDS | {"Label": label}))
    assert found is not None
    assert found.label == meaning


def test_a_label_of_elements_is_read_too() -> None:
    inside = "<TC260:Label>2</TC260:Label><TC260:ContentProducer>somebody &amp; co</TC260:ContentProducer>"
    found = label_in_xmp(packet(f"<TC260:AIGC rdf:parseType='Resource'>{inside}</TC260:AIGC>"))
    assert found is not None
    assert (found.label, found.producer) == ("possible", "somebody & co")


@pytest.mark.parametrize(
    "content",
    [
        picture(),
        picture("PNG"),
        in_jpeg(segment(0xFE, b'{"Label": "1"}')),  # anybody's JSON
        in_jpeg(segment(0xFE, b"this picture is AIGC, Label 1")),
        in_png(chunk(b"tEXt", b"AIGC\0not json")),
        in_png(chunk(b"tEXt", b"AIGC\0[1]")),
        in_png(chunk(b"tEXt", b"AIGC\0" + b'{"Label":' + b"[" * 5000)),
        in_jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet("<TC260:AIGC>"))),
        clip(title="AIGC"),
    ],
)
def test_what_is_no_label_is_none(content: bytes) -> None:
    assert read(content).aigc_label is None


def test_camera_and_software_of_a_picture() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Apple\0", "Apple iPhone 13", "17.4.1\n\x07"
    exif.get_ifd(0x8825)[1] = "N"  # where it was made is nobody's business
    found = read(picture(exif=exif))

    assert (found.camera, found.software) == ("Apple iPhone 13", "17.4.1")


def test_the_tool_that_xmp_names_and_the_way_a_picture_came_about() -> None:
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    attributes = f'xmp:CreatorTool="Some Painter 3" Iptc4xmpExt:DigitalSourceType="{kind}"'
    found = read(in_jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet("", attributes))))

    assert (found.software, found.source_type) == ("Some Painter 3", "trainedAlgorithmicMedia")
    assert found.says_generated


def test_encoder_camera_and_software_of_a_video() -> None:
    found = read(
        clip("mov", **{"com.apple.quicktime.make": "Apple", "com.apple.quicktime.model": "iPhone 13"})
    )
    assert found.camera == "Apple iPhone 13"
    assert found.encoder is not None
    assert found.encoder.startswith("Lavf")


def test_a_video_is_read_from_its_index_alone() -> None:
    content = clip(AIGC=LABEL)
    index = next(content[each.start - 8 : each.end] for each in boxes(content) if each.type == b"moov")

    assert read_signals(content[:32], sniff(content), index).aigc_label == "generated"


# --- C2PA ---


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_manifest_is_noticed_without_the_library_and_verified_with_it(kind: str) -> None:
    content = signed(picture(kind), kind)
    form = sniff(content)

    found = read_signals(content, form)

    assert found.c2pa == C2pa.PRESENT
    assert found.source_type == "trainedAlgorithmicMedia"
    assert verify_manifest(content, form) == C2pa.VALID  # whose key it is, nobody vouches for


def test_a_manifest_of_another_picture_is_invalid() -> None:
    content = bytearray(signed(picture(), "JPEG"))
    content[-20] ^= 0x55

    assert verify_manifest(bytes(content), sniff(bytes(content))) == C2pa.INVALID


def test_what_the_library_cannot_read_is_present_and_no_more() -> None:
    content = signed(picture(), "JPEG")
    at = content.index(b"jumd") + 40
    broken = content[:at] + bytes(2000) + content[at + 2000 :]

    assert verify_manifest(broken, sniff(broken)) in (None, C2pa.INVALID)


def test_a_jumbf_box_of_something_else_is_no_manifest() -> None:
    other = b"JP\0\1\0\0\0\1" + box(b"jumb", box(b"jumd", bytes(16) + b"\3other\0"))
    assert read(in_jpeg(segment(0xEB, other))).c2pa is None


# --- bounds ---


def test_packed_text_is_unpacked_up_to_a_bound() -> None:
    bomb = zlib.compress(b'{"Label":"1"}' + b" " * 50_000_000)
    found = read(in_png(chunk(b"zTXt", b"AIGC\0\0" + bomb)))
    assert found.aigc_label in (None, "generated")


def test_directories_that_point_at_themselves_end() -> None:
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + bytes(4)
    assert read(in_jpeg(segment(0xE1, b"Exif\0\0" + tiff))).camera is None


def test_every_sample_file_is_read_in_peace() -> None:
    for path in (Path(__file__).parents[2] / "data" / "sample").rglob("*.*"):
        content = path.read_bytes()
        try:
            form = sniff(content)
        except Exception:
            continue
        assert read_signals(content, form).aigc_label is None
