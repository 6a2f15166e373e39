"""More than 200 small files in every form an archive may hold, drawn in seconds, and what becomes of them.

    python -m tests.media_corpus            prints the table of docs/media.md

`files()` gives them by path; the first folder of a path is the file's form, a row of the table.
"""

import asyncio
import functools
import io
import random
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from tests.icc import swapped_profile

ORIENTATION = 0x0112
PORTRAIT, LANDSCAPE, SMALL = (240, 320), (320, 240), (120, 160)
Size = tuple[int, int]


# --- pictures ---


@functools.cache
def drawn(size: Size, seed: int = 1, grain: float = 0.04) -> Image.Image:
    """An oval before a wall, with grain."""
    dice = random.Random(seed)
    width, height = size
    picture = Image.new("RGB", size, tuple(dice.randint(60, 200) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((width * 0.25, height * 0.2, width * 0.75, height * 0.8), fill=(210, 170, 140))
    pen.ellipse((width * 0.35, height * 0.35, width * 0.45, height * 0.42), fill=(40, 40, 60))
    noise = Image.frombytes("L", (64, 64), dice.randbytes(4096)).resize(size, Image.Resampling.NEAREST)
    return Image.blend(picture, noise.convert("RGB"), grain)


def noisy(size: Size, seed: int = 1) -> Image.Image:
    """Noise alone, which no codec makes small."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3))


def saved(picture: Image.Image, form: str, orientation: int = 1, **options: object) -> bytes:
    if orientation != 1:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def jpeg(size: Size = PORTRAIT, orientation: int = 1, seed: int = 1, **options: object) -> bytes:
    return saved(drawn(size, seed), "JPEG", orientation, **{"quality": 85, **options})


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2) + body


def with_segments(content: bytes, *segments: bytes) -> bytes:
    return content[:2] + b"".join(segments) + content[2:]


def twelve_bit(content: bytes) -> bytes:
    """The frame segment of a JPEG of 12 bits a sample, which nothing here can write."""
    made = bytearray(content)
    at = next(at for at in range(len(made)) if made[at] == 0xFF and made[at + 1] in (0xC0, 0xC2))
    made[at + 1], made[at + 4] = 0xC1, 12
    return bytes(made)


def alpha(size: Size = PORTRAIT, seed: int = 1) -> Image.Image:
    picture = drawn(size, seed).convert("RGBA")
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse((0, 0, *size), fill=255)
    picture.putalpha(mask)
    return picture


def wide_grey(size: Size = PORTRAIT) -> Image.Image:
    return drawn(size).convert("L").convert("I").point(lambda value: value * 257).convert("I;16")


def png_of_16_bits(size: Size = PORTRAIT) -> bytes:
    """RGB of 16 bits, written by FFmpeg, since Pillow writes it grey only."""
    pixels = np.asarray(drawn(size), np.uint16) * 257
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format="rgb48be")
    coder = av.CodecContext.create("png", "w")
    coder.width, coder.height, coder.pix_fmt = *size, "rgb48be"
    coder.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])


def frames(mode: str = "RGB", size: Size = PORTRAIT) -> list[Image.Image]:
    return [drawn(size, seed).convert(mode) for seed in (1, 2)]


def several(form: str, pictures: list[Image.Image], **options: object) -> bytes:
    return saved(pictures[0], form, save_all=True, append_images=pictures[1:], **options)


def heif(pictures: Iterable[Image.Image], **options: object) -> bytes:
    made = pillow_heif.HeifFile()
    for picture in pictures:
        made.add_from_pillow(picture)
    out = io.BytesIO()
    made.save(out, quality=50, **options)
    return out.getvalue()


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_text(size_bytes: int) -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * size_bytes)
    return text


def jpegs() -> dict[str, Callable[[], bytes]]:
    made: dict[str, Callable[[], bytes]] = {}
    for quality in (20, 60, 95):
        for chroma in (0, 1, 2):
            made[f"JPEG baseline/q{quality}-{chroma}.jpg"] = functools.partial(
                jpeg, quality=quality, subsampling=chroma
            )
    for number, size in enumerate(((100, 100), (100, 178), (480, 640), (720, 960), (1080, 1920))):
        made[f"JPEG baseline/size-{number}.jpg"] = functools.partial(jpeg, size)
    for size in (SMALL, PORTRAIT, (720, 960), LANDSCAPE):
        made[f"JPEG progressive/{size[0]}.jpg"] = functools.partial(jpeg, size, progressive=True)
    for size in (SMALL, PORTRAIT, LANDSCAPE):
        made[f"JPEG greyscale/{size[0]}.jpg"] = lambda size=size: saved(drawn(size).convert("L"), "JPEG")
        made[f"JPEG CMYK/{size[0]}.jpg"] = lambda size=size: saved(drawn(size).convert("CMYK"), "JPEG")
    for orientation in range(1, 9):
        made[f"JPEG portrait with EXIF orientation/{orientation}.jpg"] = functools.partial(
            jpeg, PORTRAIT, orientation
        )
        made[f"JPEG landscape with EXIF orientation/{orientation}.jpg"] = functools.partial(
            jpeg, LANDSCAPE, orientation
        )
    for number, size in enumerate(((1200, 1600), (1600, 1200), (1920, 1080), (1081, 1921), (3000, 4000))):
        made[f"JPEG beyond 1080x1920/{number}.jpg"] = functools.partial(jpeg, size)
        made[f"JPEG beyond 1080x1920/turned-{number}.jpg"] = functools.partial(jpeg, size, 6)
    for number, size in enumerate(((1000, 900), (900, 1200), (1400, 1000))):
        made[f"JPEG over 2.25 MB/{number}.jpg"] = lambda size=size: saved(
            noisy(size), "JPEG", quality=99, subsampling=0
        )
    made["JPEG with an ICC profile/srgb.jpg"] = lambda: jpeg(icc_profile=srgb())
    made["JPEG with an ICC profile/wide.jpg"] = lambda: jpeg(icc_profile=swapped_profile())
    made["JPEG with an ICC profile/wide-large.jpg"] = lambda: jpeg(
        (1200, 1600), icc_profile=swapped_profile()
    )
    made["JPEG with an ICC profile/broken.jpg"] = lambda: jpeg((1200, 1600), icc_profile=b"icc" * 99)
    made["JPEG of several pictures (MPO)/two.jpg"] = lambda: several("MPO", frames())
    made["JPEG of several pictures (MPO)/large.jpg"] = lambda: several("MPO", frames(size=(1200, 1600)))
    made["JPEG of 12 bits/baseline.jpg"] = lambda: twelve_bit(jpeg())
    made["JPEG of 12 bits/progressive.jpg"] = lambda: twelve_bit(jpeg(progressive=True))
    made["JPEG with something around it/bytes-behind.jpg"] = lambda: jpeg() + bytes(50_000)
    made["JPEG with something around it/app-segments.jpg"] = lambda: with_segments(
        jpeg(), *[segment(0xEB, bytes(60_000))] * 3
    )
    made["JPEG with something around it/thumbnail.jpg"] = lambda: with_segments(
        jpeg(), segment(0xE2, jpeg((40, 30)))
    )
    made["JPEG with something around it/fill-bytes.jpg"] = lambda: b"\xff\xd8\xff\xff\xff" + jpeg()[2:]
    made["JPEG with something around it/comment.jpg"] = lambda: jpeg(comment=b"at home")
    for share in (5, 50, 99):
        made[f"JPEG cut/{share}.jpg"] = lambda share=share: jpeg()[: len(jpeg()) * share // 100]
        made[f"PNG cut or damaged/{share}.png"] = lambda share=share: saved(drawn(SMALL), "PNG")[
            : len(saved(drawn(SMALL), "PNG")) * share // 100
        ]
    for number, size in enumerate(((99, 200), (200, 99), (60, 80), (1, 1))):
        made[f"Image below 100x100/{number}.jpg"] = functools.partial(jpeg, size)
    made["Image below 100x100/small.png"] = lambda: saved(drawn((64, 64)), "PNG")
    made["Name that lies/a-png.jpg"] = lambda: saved(drawn(PORTRAIT), "PNG")
    made["Name that lies/a-jpeg.png"] = jpeg
    made["Name that lies/a-webp.jpg"] = lambda: saved(drawn(PORTRAIT), "WEBP")
    made["Name that lies/a-heic.jpg"] = lambda: heif([drawn(PORTRAIT)])
    return made


def other_images() -> dict[str, Callable[[], bytes]]:
    made: dict[str, Callable[[], bytes]] = {}
    for mode in ("RGB", "L", "1"):
        made[f"PNG/{mode}.png"] = lambda mode=mode: saved(drawn(PORTRAIT).convert(mode), "PNG")
    for bits in (1, 2, 4, 8):
        made[f"PNG palette/{bits}.png"] = lambda bits=bits: saved(
            drawn(PORTRAIT).quantize(2**bits), "PNG", bits=bits
        )
    made["PNG palette/clear.png"] = lambda: saved(drawn(PORTRAIT).quantize(16), "PNG", transparency=3)
    made["PNG 16 bits/grey.png"] = lambda: saved(wide_grey(), "PNG")
    made["PNG 16 bits/rgb.png"] = png_of_16_bits
    made["PNG with alpha/rgba.png"] = lambda: saved(alpha(), "PNG")
    made["PNG with alpha/grey.png"] = lambda: saved(alpha().convert("LA"), "PNG")
    made["PNG with alpha/large.png"] = lambda: saved(alpha((1200, 1600)), "PNG")
    made["PNG landscape/1.png"] = lambda: saved(drawn(LANDSCAPE), "PNG")
    made["PNG landscape/orientation.png"] = lambda: saved(drawn(LANDSCAPE), "PNG", 6)
    made["PNG with metadata/icc.png"] = lambda: saved(drawn(PORTRAIT), "PNG", icc_profile=swapped_profile())
    made["PNG with metadata/text.png"] = lambda: saved(drawn(PORTRAIT), "PNG", pnginfo=png_text(5_000))
    made["PNG with metadata/bytes-behind.png"] = lambda: saved(drawn(PORTRAIT), "PNG") + b"more" * 99
    made["PNG animated/two.png"] = lambda: several("PNG", frames())
    made["PNG over 2.25 MB/noise.png"] = lambda: saved(noisy((900, 900)), "PNG", compress_level=1)
    made["PNG cut or damaged/checksum.png"] = lambda: saved(drawn(SMALL), "PNG").replace(b"IDAT", b"IDAX", 1)
    made["Decompression bomb/bomb.png"] = lambda: saved(Image.new("1", (8_100, 8_000)), "PNG")
    made["Decompression bomb/bomb.jpg"] = lambda: claiming_jpeg(60_000)
    made["Decompression bomb/bomb.gif"] = lambda: b"GIF89a" + b"\xff" * 4 + b"\0\0\0" + bytes(64)
    for name, options in {"lossy": {}, "lossless": {"lossless": True}, "low": {"quality": 5}}.items():
        made[f"WebP/{name}.webp"] = lambda options=options: saved(drawn(PORTRAIT), "WEBP", **options)
    made["WebP/large.webp"] = lambda: saved(drawn((1200, 1600)), "WEBP", method=0)
    made["WebP/orientation.webp"] = lambda: saved(drawn(LANDSCAPE), "WEBP", 6)
    made["WebP with alpha/alpha.webp"] = lambda: saved(alpha(), "WEBP")
    made["WebP animated/two.webp"] = lambda: several("WEBP", frames())
    made["WebP cut/cut.webp"] = lambda: saved(drawn(PORTRAIT), "WEBP")[:900]
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        made[f"BMP/{mode}.bmp"] = lambda mode=mode: saved(drawn(PORTRAIT).convert(mode), "BMP")
    made["BMP cut/cut.bmp"] = lambda: saved(drawn(PORTRAIT), "BMP")[:9_000]
    for packing in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        made[f"TIFF/{packing}.tiff"] = lambda packing=packing: saved(
            drawn(PORTRAIT), "TIFF", compression=packing
        )
    made["TIFF/fax.tiff"] = lambda: saved(drawn(PORTRAIT).convert("1"), "TIFF", compression="group4")
    made["TIFF/big.tiff"] = lambda: saved(drawn(PORTRAIT), "TIFF", big_tiff=True)
    made["TIFF/orientation.tiff"] = lambda: saved(drawn(LANDSCAPE), "TIFF", tiffinfo={ORIENTATION: 6})
    made["TIFF CMYK or LAB/cmyk.tiff"] = lambda: saved(drawn(PORTRAIT).convert("CMYK"), "TIFF")
    made["TIFF CMYK or LAB/lab.tiff"] = lambda: saved(lab(), "TIFF")
    made["TIFF 16 bits/grey.tiff"] = lambda: saved(wide_grey(), "TIFF")
    made["TIFF with alpha/alpha.tiff"] = lambda: saved(alpha(), "TIFF")
    made["TIFF of several pages/two.tiff"] = lambda: several("TIFF", frames())
    made["TIFF of floating point/float.tiff"] = lambda: saved(drawn(PORTRAIT).convert("F"), "TIFF")
    made["TIFF cut/cut.tiff"] = lambda: saved(drawn(PORTRAIT), "TIFF")[:9_000]
    made["GIF/still.gif"] = lambda: saved(drawn(PORTRAIT).quantize(64), "GIF")
    made["GIF/landscape.gif"] = lambda: saved(drawn(LANDSCAPE).quantize(64), "GIF", interlace=1)
    made["GIF animated/two.gif"] = lambda: several("GIF", frames())
    made["GIF transparent/clear.gif"] = lambda: saved(drawn(PORTRAIT).quantize(16), "GIF", transparency=2)
    made["GIF cut/cut.gif"] = lambda: saved(drawn(PORTRAIT).quantize(64), "GIF")[:900]
    for size in (SMALL, PORTRAIT, LANDSCAPE, (1100, 600)):
        made[f"HEIC/{size[0]}.heic"] = lambda size=size: heif([drawn(size)])
    made["HEIC/orientation.heic"] = lambda: heif([turned(drawn(LANDSCAPE))])
    made["HEIC/grey.heic"] = lambda: heif([drawn(PORTRAIT).convert("L")])
    made["HEIC/ten-bits.heic"] = lambda: heif([wide_grey()])
    made["HEIC with alpha/alpha.heic"] = lambda: heif([alpha()])
    made["HEIC of several pictures/two.heic"] = lambda: heif(frames())
    made["HEIC with an ICC profile/wide.heic"] = lambda: heif([profiled(drawn(PORTRAIT))])
    made["HEIF by another brand/mif1.heif"] = lambda: heif([drawn(PORTRAIT)]).replace(b"heic", b"mif1", 1)
    made["HEIF by another brand/heix.heif"] = lambda: heif([drawn(PORTRAIT)]).replace(b"heic", b"heix", 1)
    made["HEIC cut/cut.heic"] = lambda: heif([drawn(PORTRAIT)])[:1_500]
    made["HEIC cut/head.heic"] = lambda: heif([drawn(PORTRAIT)])[:40]
    for size in (SMALL, PORTRAIT, (1200, 1600)):
        made[f"AVIF/{size[0]}.avif"] = lambda size=size: saved(drawn(size), "AVIF", speed=10, quality=40)
    made["AVIF/orientation.avif"] = lambda: saved(drawn(LANDSCAPE), "AVIF", 6, speed=10)
    made["AVIF with alpha/alpha.avif"] = lambda: saved(alpha(), "AVIF", speed=10)
    made["AVIF animated/two.avif"] = lambda: several("AVIF", frames(), speed=10)
    made["AVIF cut/cut.avif"] = lambda: saved(drawn(PORTRAIT), "AVIF", speed=10)[:700]
    made["JPEG 2000/boxed.jp2"] = lambda: saved(drawn(PORTRAIT), "JPEG2000")
    made["JPEG 2000/stream.j2k"] = lambda: saved(drawn(PORTRAIT), "JPEG2000", no_jp2=True)
    made["JPEG XL/stream.jxl"] = lambda: b"\xff\x0a" + bytes(99)
    made["JPEG XL/boxed.jxl"] = lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99)
    made["Not media/empty.jpg"] = lambda: b""
    made["Not media/text.jpg"] = lambda: b"no picture at all\n" * 9
    made["Not media/page.png"] = lambda: b"<!doctype html><title>404</title>"
    made["Not media/archive.mp4"] = lambda: b"PK\x03\x04" + bytes(99)
    made["Not media/zeros.heic"] = lambda: bytes(4096)
    return made


def claiming_jpeg(side: int) -> bytes:
    made = bytearray(jpeg())
    at = made.index(b"\xff\xc0")
    made[at + 5 : at + 9] = side.to_bytes(2) * 2
    return bytes(made)


def lab() -> Image.Image:
    srgb_profile, lab_profile = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    made = ImageCms.profileToProfile(drawn(PORTRAIT), srgb_profile, lab_profile, outputMode="LAB")
    assert made is not None
    return made


def turned(picture: Image.Image) -> Image.Image:
    """A picture that an encoder of HEIF will have its container turn."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = picture.copy()
    picture.info["exif"] = exif.tobytes()
    return picture


def profiled(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.info["icc_profile"] = swapped_profile()
    return picture


# --- clips ---


def clip(
    form: str = "mp4",
    codec: str = "libx264",
    seconds: float = 2.0,
    rate: int = 10,
    size: Size = (96, 128),
    grain: float = 0.3,
    gop: int = 0,
    sound: bool = False,
    is_noise: bool = False,
    **options: str,
) -> bytes:
    """A grainy picture that moves: about 15 KB a second at this size."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": "18"}
        if codec in ("libvpx", "libvpx-vp9"):
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        if codec == "libx265":
            stream.options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none"}
        if is_noise:
            stream.options = {"qmin": "1", "qmax": "1"}
        if gop:
            stream.codec_context.gop_size = gop
        audio = file.add_stream("aac", rate=8000) if sound else None
        base = np.asarray(noisy(size) if is_noise else drawn(size, 3, grain))
        for number in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(np.roll(base, 3 * number, 1), format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio is not None:
            for number in range(round(seconds * 8000 / 1024)):
                silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                silence.sample_rate, silence.pts = 8000, number * 1024
                for plane in silence.planes:
                    plane.update(bytes(plane.buffer_size))
                file.mux(audio.encode(silence))
            file.mux(audio.encode(None))
    return out.getvalue()


def filled(content: bytes, size_bytes: int = 120_000) -> bytes:
    """An MP4 or MOV with an empty box at its end."""
    missing = max(size_bytes - len(content), 8)
    return content + missing.to_bytes(4) + b"free" + bytes(missing - 8)


def rotated(content: bytes, degrees: int) -> bytes:
    """An MP4 whose track is to be shown turned clockwise, as phones write it."""
    one, minus = 0x10000, 0xFFFF0000
    matrix = {
        90: (0, one, 0, minus, 0, 0, 0, 0, 0x40000000),
        180: (minus, 0, 0, 0, minus, 0, 0, 0, 0x40000000),
        270: (0, minus, 0, one, 0, 0, 0, 0, 0x40000000),
    }[degrees]
    at = content.index(b"tkhd") + 4 + 40
    return content[:at] + b"".join(each.to_bytes(4) for each in matrix) + content[at + 36 :]


def clips() -> dict[str, Callable[[], bytes]]:
    made: dict[str, Callable[[], bytes]] = {}
    for form in ("mp4", "mov"):
        name = form.upper()
        for seconds in (1.0, 2.0, 3.0):
            made[f"{name} of 1 to 3 s/{seconds:g}.{form}"] = lambda form=form, seconds=seconds: filled(
                clip(form, seconds=seconds)
            )
        made[f"{name} up to 100 KB/tiny.{form}"] = lambda form=form: clip(form, seconds=1.5, grain=0.01)
        for seconds in (3.5, 5, 12, 20):
            made[f"{name} of 3 to 20 s/{seconds:g}.{form}"] = lambda form=form, seconds=seconds: clip(
                form, seconds=seconds, gop=10
            )
        for seconds in (21, 40):
            made[f"{name} over 20 s/{seconds}.{form}"] = lambda form=form, seconds=seconds: clip(
                form, seconds=seconds, gop=20
            )
    made["MP4 of 3 to 20 s/one-key-frame.mp4"] = lambda: clip(seconds=8, gop=900)
    made["MP4 of 3 to 20 s/sound.mp4"] = lambda: clip(seconds=5, gop=10, sound=True)
    made["MP4 of 1 to 3 s/sound.mp4"] = lambda: filled(clip(seconds=2, sound=True))
    made["MP4 of 1 to 3 s/fragments.mp4"] = lambda: filled(clip(movflags="frag_keyframe+empty_moov"))
    made["MP4 of 1 to 3 s/bytes-behind.mp4"] = lambda: filled(clip()) + b"more" * 9
    made["MP4 up to 100 KB/bytes-behind.mp4"] = lambda: clip() + b"more" * 9
    for degrees in (90, 180, 270):
        made[f"MP4 with a rotation/{degrees}.mp4"] = lambda degrees=degrees: rotated(
            filled(clip(size=(128, 96))), degrees
        )
        made[f"MP4 with a rotation/{degrees}-long.mp4"] = lambda degrees=degrees: rotated(
            clip(codec="mpeg4", size=(128, 96), seconds=22, gop=300), degrees
        )
    for codec in ("libx265", "mpeg4"):
        made[f"MP4 HEVC or MPEG-4/{codec}.mp4"] = lambda codec=codec: filled(clip(codec=codec))
        made[f"MP4 HEVC or MPEG-4/{codec}-long.mp4"] = lambda codec=codec: clip(
            codec=codec, seconds=5, gop=10
        )
    made["MOV Motion JPEG/short.mov"] = lambda: filled(clip("mov", "mjpeg"))
    made["MOV Motion JPEG/long.mov"] = lambda: clip("mov", "mjpeg", seconds=6)
    for number, size in enumerate(((1280, 720), (720, 1280))):
        made[f"MP4 of 720p/{number}.mp4"] = lambda size=size: filled(clip(size=size, seconds=1))
    for number, size in enumerate(((1920, 1080), (1080, 1920), (800, 800))):
        made[f"MP4 over 720p/{number}.mp4"] = lambda size=size: filled(clip(size=size, seconds=1))
    made["MP4 of 60 frames a second/short.mp4"] = lambda: filled(clip(rate=60))
    made["MP4 of 60 frames a second/webm.webm"] = lambda: clip("webm", "libvpx", rate=60)
    made["Video of few frames/slow.mp4"] = lambda: filled(clip(rate=2, seconds=3))
    made["Video of few frames/slow-long.mp4"] = lambda: filled(clip(rate=1, seconds=15, gop=2))
    made["Video under 1 s/half.mp4"] = lambda: filled(clip(seconds=0.5, rate=20))
    made["Video under 1 s/half.webm"] = lambda: clip("webm", "libvpx", seconds=0.5, rate=20)
    made["MP4 over 6 MB/noise.mp4"] = lambda: filled(clip(seconds=4, gop=10), 6_500_000)
    made["MP4 over 6 MB/mjpeg.mov"] = lambda: clip(
        "mov", "mjpeg", size=(640, 480), seconds=2, rate=12, is_noise=True
    )
    for name, form, codec in (
        ("AVI/mpeg4.avi", "avi", "mpeg4"),
        ("AVI/h264.avi", "avi", "libx264"),
        ("AVI/mjpeg.avi", "avi", "mjpeg"),
        ("FLV/flv1.flv", "flv", "flv"),
        ("FLV/h264.flv", "flv", "libx264"),
        ("WebM/vp8.webm", "webm", "libvpx"),
        ("WebM/vp9.webm", "webm", "libvpx-vp9"),
        ("Matroska/h264.mkv", "matroska", "libx264"),
        ("Matroska/vp8.mkv", "matroska", "libvpx"),
        ("3GP/mpeg4.3gp", "3gp", "mpeg4"),
        ("3GP/h264.3gp", "3gp", "libx264"),
        ("MPEG/h264.ts", "mpegts", "libx264"),
        ("MPEG/mpeg2.ts", "mpegts", "mpeg2video"),
        ("MPEG/mpeg2.mpg", "mpeg", "mpeg2video"),
        ("ASF/wmv2.wmv", "asf", "wmv2"),
    ):
        rate = 25 if codec == "mpeg2video" else 10
        options = {"strict": "-2"} if form == "mpeg" else {}
        made[name] = functools.partial(clip, form, codec, 2.0, rate, **options)
        long = name.replace(".", "-long.")
        made[long] = functools.partial(
            clip, form, codec, 24.0 if rate == 10 else 8.0, rate, gop=20, **options
        )
    made["Video cut/half.mp4"] = lambda: clip(seconds=2)[: len(clip(seconds=2)) // 2]
    made["Video cut/half.avi"] = lambda: clip("avi", "mpeg4")[: len(clip("avi", "mpeg4")) // 2]
    made["Video cut/head.flv"] = lambda: clip("flv", "flv")[:64]
    made["Video cut/head.webm"] = lambda: clip("webm", "libvpx")[:200]
    made["Video without a picture/sound.mp4"] = sound_alone
    return made


def sound_alone() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=8000)
        for number in range(8):
            silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            silence.sample_rate, silence.pts = 8000, number * 1024
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            file.mux(stream.encode(silence))
        file.mux(stream.encode(None))
    return out.getvalue()


# --- all of them, and the table ---


def files() -> dict[str, bytes]:
    """Every file by its path."""
    return {name: make() for name, make in {**jpegs(), **other_images(), **clips()}.items()}


def write(folder: Path) -> dict[str, bytes]:
    """The files in a folder; returns them."""
    made = files()
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return made


def form_of(key: str) -> str:
    return key.partition("/")[0]


def said(preparation: str) -> str:
    """A preparation, or `unfit: reason`, without its numbers."""
    text = re.sub(r"segment [\d.]+\+[\d.]+ of [\d.]+ s, at the [^,]+", "a segment", preparation)
    text = re.sub(r"resized \d+x\d+ to \d+x\d+", "resized", text)
    text = re.sub(r"padded \d+ to \d+ bytes", "padded", text)
    return re.sub(r"((?:jpeg q|h264 crf)\d+|copied \w+) from \w+(?: in \w+)?", r"\1", text)


def table(results: Mapping[str, tuple[str, str]]) -> list[str]:
    """The table's rows: form, files, and what is done for Tencent and for Aliyun."""
    rows = []
    for form in dict.fromkeys(map(form_of, results)):
        found = [result for key, result in results.items() if form_of(key) == form]
        cells = (" / ".join(sorted({said(each[side]) for each in found})) for side in (0, 1))
        rows.append(f"| {form} | {len(found)} | {' | '.join(cells)} |")
    return rows


async def _results() -> dict[str, tuple[str, str]]:
    from domain.errors import Unfit  # noqa: PLC0415
    from tasks.media.limits import ALIYUN, TENCENT, ProviderLimits  # noqa: PLC0415
    from tasks.media.prepare import prepare  # noqa: PLC0415
    from tasks.media.workers import MediaWorkers  # noqa: PLC0415

    async with MediaWorkers() as workers:

        async def result(content: bytes, limits: ProviderLimits) -> str:
            try:
                return (await prepare(content, limits, workers)).preparation
            except Unfit as refusal:
                return f"unfit: {refusal.reason}"

        return {
            name: (await result(content, TENCENT), await result(content, ALIYUN))
            for name, content in files().items()
        }


if __name__ == "__main__":
    found = asyncio.run(_results())
    sys.stderr.write("".join(f"{key}: {' | '.join(said_of_both)}\n" for key, said_of_both in found.items()))
    sys.stdout.write("\n".join(table(found)) + "\n")
