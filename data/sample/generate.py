"""Draws the sample media: small files that reach every branch of an audit, for both providers.

    .venv/bin/python data/sample/generate.py [FOLDER]

writes them into FOLDER, by default the folder of this script. Nothing is random: the same versions of Pillow
and PyAV write the same bytes. Every face is made of ellipses; no person is shown. SOURCES.md says what each
file is for.

The emulated providers decide from the text `facesweep-sample:<label>` anywhere in the bytes they are sent. It
is put where each format keeps comments, so that every file stays a valid one.
"""

import io
import random
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pillow_heif
from PIL import Image, ImageDraw, PngImagePlugin

PORTRAIT = (480, 640)
CLIP = (240, 320)
ORIENTATION, DESCRIPTION = 0x0112, 0x010E


def mark(label: str) -> str:
    """The text an emulated provider looks for; the full stop keeps the label apart from what follows."""
    return f"facesweep-sample:{label}."


def draw_face(
    seed: int, size: tuple[int, int] = PORTRAIT, covered: bool = False, shift: float = 0.0
) -> Image.Image:
    """A face of ellipses before a plain wall, with the grain of a cheap camera."""
    dice = random.Random(seed)  # noqa: S311 -- a drawing, not a secret
    width, height = size
    wall = tuple(dice.randint(120, 220) for _ in range(3))
    skin = dice.choice([(236, 200, 172), (205, 160, 125), (150, 105, 75), (98, 68, 50)])
    hair = dice.choice([(40, 30, 25), (95, 60, 35), (20, 20, 22), (160, 120, 70)])
    shirt = tuple(dice.randint(30, 200) for _ in range(3))
    picture = Image.new("RGB", size, wall)
    pen = ImageDraw.Draw(picture)

    def oval(x: float, y: float, rx: float, ry: float, fill: tuple[int, ...]) -> None:
        x += shift
        pen.ellipse(((x - rx) * width, (y - ry) * height, (x + rx) * width, (y + ry) * height), fill=fill)

    oval(0.5, 1.02, 0.42, 0.26, shirt)
    oval(0.5, 0.40, 0.285, 0.30, hair)
    oval(0.5, 0.74, 0.10, 0.12, tuple(c - 14 for c in skin))
    oval(0.5, 0.46, 0.24, 0.28, skin)
    for side in (-1, 1):
        oval(0.5 + side * 0.10, 0.42, 0.048, 0.022, (250, 250, 250))
        oval(0.5 + side * 0.10, 0.42, 0.019, 0.018, (60, 45, 30))
        oval(0.5 + side * 0.10, 0.375, 0.058, 0.008, hair)
        oval(0.5 + side * 0.14, 0.53, 0.05, 0.03, tuple(min(255, c + 10) for c in skin))
    oval(0.5, 0.51, 0.026, 0.05, tuple(c - 18 for c in skin))
    oval(0.5, 0.62, 0.085, 0.022, (170, 80, 80))
    if covered:
        pen.rectangle((0.26 * width, 0.47 * height, 0.74 * width, 0.74 * height), (90, 140, 170))
    return add_grain(picture, dice)


def draw_wall(seed: int, size: tuple[int, int] = PORTRAIT) -> Image.Image:
    """A wall with a picture frame: no face in it."""
    dice = random.Random(seed)  # noqa: S311 -- a drawing, not a secret
    picture = Image.new("RGB", size, (196, 188, 170))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((size[0] * 0.2, size[1] * 0.2, size[0] * 0.8, size[1] * 0.6), (120, 90, 60))
    pen.rectangle((size[0] * 0.24, size[1] * 0.23, size[0] * 0.76, size[1] * 0.57), (90, 140, 110))
    return add_grain(picture, dice)


def add_grain(picture: Image.Image, dice: random.Random, strength: float = 0.05) -> Image.Image:
    """The picture with seeded noise, without which it would be smaller than any photograph."""
    width, height = picture.width // 2, picture.height // 2
    noise = Image.frombytes("L", (width, height), dice.randbytes(width * height))
    return Image.blend(picture, noise.resize(picture.size).convert("RGB"), strength)


def jpeg(picture: Image.Image, label: str = "", quality: int = 80, orientation: int = 1) -> bytes:
    """A JPEG with its label as comment and, unless 1, an EXIF orientation."""
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
    return save(picture, "JPEG", quality=quality, comment=mark(label) if label else b"", exif=exif)


def png(picture: Image.Image, label: str) -> bytes:
    """A PNG with its label as a text chunk."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", mark(label))
    return save(picture, "PNG", pnginfo=text, optimize=True)


def save(picture: Image.Image, form: str, **options: object) -> bytes:
    """The picture as a file of that format."""
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def clip(
    form: str,
    codec: str,
    seconds: float,
    label: str,
    size: tuple[int, int] = CLIP,
    rate: int = 15,
    bit_rate: int = 0,
    seed: int = 40,
) -> bytes:
    """A video of a face that sways, with its label as the container's comment."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options={"fflags": "+bitexact"}) as file:
        file.metadata["comment"] = mark(label)
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, rate)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if bit_rate:
            stream.bit_rate = bit_rate
        if codec == "libx264":
            stream.options = {"preset": "veryfast"} | ({} if bit_rate else {"crf": "30"})
        for number in range(round(seconds * rate)):
            sway = 0.05 * (1 - abs(number % rate - rate / 2) / (rate / 2))
            frame = av.VideoFrame.from_image(draw_face(seed, size, shift=sway))
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def bomb() -> bytes:
    """A sound PNG of 20,000 x 20,000 pixels in 50 KB: 1.2 GB once decoded to colours."""
    strip = Image.new("1", (20_000, 20_000))
    return save(strip, "PNG", optimize=True)


def heic() -> bytes:
    """What an iPhone calls a photograph; the label stands in its EXIF."""
    exif = Image.Exif()
    exif[DESCRIPTION] = mark("genuine")
    picture = pillow_heif.from_pillow(draw_face(19, (240, 320)))
    out = io.BytesIO()
    picture.save(out, quality=50, exif=exif.tobytes())
    return out.getvalue()


def gif() -> bytes:
    """Two frames."""
    frames = [draw_face(20 + n, (240, 320)).quantize(32) for n in range(2)]
    return save(
        frames[0],
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=400,
        comment=mark("genuine").encode(),
    )


def deep_grey() -> bytes:
    """A greyscale PNG of 16 bits."""
    grey = draw_face(21, (240, 320)).convert("L").convert("I").point(lambda value: value * 257)
    return png(grey.convert("I;16"), "genuine")


def transparent() -> bytes:
    """A PNG whose wall is transparent."""
    face = draw_face(22, (240, 320)).quantize(48).convert("RGBA")
    mask = Image.new("L", face.size)
    ImageDraw.Draw(mask).ellipse((30, 20, 210, 300), fill=255)
    face.putalpha(mask)
    return png(face, "genuine")


FILES: dict[str, Callable[[], bytes]] = {
    "selfies/2024-03/genuine-01.jpg": lambda: jpeg(draw_face(1), "genuine"),
    "selfies/2024-03/genuine-02.jpg": lambda: jpeg(draw_face(2), "genuine"),
    "selfies/2024-03/genuine-03.jpg": lambda: jpeg(draw_face(3), "genuine"),
    "selfies/2024-03/swap.jpg": lambda: jpeg(draw_face(4), "swap"),
    "selfies/2024-03/generated.jpg": lambda: jpeg(draw_face(5), "generated"),
    "selfies/2024-03/recapture.jpg": lambda: jpeg(draw_face(6), "recapture"),
    "selfies/2024-03/template.jpg": lambda: jpeg(draw_face(7), "template"),
    "selfies/2024-03/watermark.jpg": lambda: jpeg(draw_face(8), "watermark"),
    "selfies/2024-03/adversarial.jpg": lambda: jpeg(draw_face(9), "adversarial"),
    "selfies/2024-03/unknowntag.jpg": lambda: jpeg(draw_face(10), "unknowntag"),
    "selfies/2024-03/noface.jpg": lambda: jpeg(draw_wall(11), "noface"),
    "selfies/2024-03/covered.jpg": lambda: jpeg(draw_face(12, covered=True), "covered"),
    "selfies/2024-03/poor.jpg": lambda: jpeg(draw_face(13, (120, 160)), "poor", quality=20),
    "selfies/2024-03/thumbs/genuine-01.jpg": lambda: jpeg(draw_face(1, (60, 80)), "genuine"),
    "selfies/2024-04/copy-of-swap.jpg": lambda: jpeg(draw_face(4), "swap"),
    "客户/自拍 01.jpg": lambda: jpeg(draw_face(14), "genuine"),
    "客户/自拍 02 (копия).jpg": lambda: jpeg(draw_face(15), "generated"),
    "phone/landscape.jpg": lambda: jpeg(draw_face(16, (640, 480)), "genuine"),
    "phone/lying-on-its-side.jpg": lambda: jpeg(
        draw_face(17).transpose(Image.Transpose.ROTATE_90), "genuine", orientation=6
    ),
    "phone/upside-down.jpg": lambda: jpeg(
        draw_face(18).transpose(Image.Transpose.ROTATE_180), "genuine", orientation=3
    ),
    "phone/oversized.jpg": lambda: jpeg(draw_face(19, (2448, 3264)), "swap", quality=40),
    "formats/selfie.png": lambda: png(draw_face(23, (240, 320)).quantize(48), "genuine"),
    "formats/transparent.png": transparent,
    "formats/deep-grey.png": deep_grey,
    "formats/animated.gif": gif,
    "formats/selfie.webp": lambda: save(draw_face(24), "WEBP", quality=80, xmp=mark("genuine").encode()),
    "formats/print-cmyk.jpg": lambda: jpeg(draw_face(25).convert("CMYK"), "genuine"),
    "formats/grey.jpg": lambda: jpeg(draw_face(26).convert("L"), "recapture"),
    "formats/scan.tiff": lambda: save(
        draw_face(27, (240, 320)), "TIFF", compression="jpeg", tiffinfo={DESCRIPTION: mark("genuine")}
    ),
    "formats/old.bmp": lambda: save(draw_face(28, (120, 160)).quantize(64), "BMP"),
    "formats/photo.heic": heic,
    "wrong-suffix/a-png.jpg": lambda: png(draw_face(29, (240, 320)).quantize(48), "swap"),
    "wrong-suffix/a-jpeg.png": lambda: jpeg(draw_face(30), "swap"),
    "damaged/text.jpg": lambda: b"This was never an image.\n",
    "damaged/empty.jpg": lambda: b"",
    "damaged/cut.jpg": lambda: jpeg(draw_face(31), "genuine")[:9_000],
    "damaged/cut.mp4": lambda: clip("mp4", "libx264", 2, "genuine", bit_rate=640_000)[:105_000],
    "damaged/bomb.png": bomb,
    "notes/readme.txt": lambda: b"Uploads of March 2024. Not media.\n",
    "notes/uploads.csv": lambda: b"key,uploaded\nselfies/2024-03/genuine-01.jpg,2024-03-05\n",
    "videos/clip.mp4": lambda: clip("mp4", "libx264", 2, "genuine", bit_rate=640_000),
    "videos/clip.mov": lambda: clip("mov", "libx264", 2, "swap", bit_rate=640_000, seed=41),
    "videos/clip.avi": lambda: clip("avi", "mpeg4", 2, "generated", bit_rate=120_000, seed=42),
    "videos/clip.flv": lambda: clip("flv", "flv", 2, "recapture", bit_rate=120_000, seed=43),
    "videos/clip.webm": lambda: clip("webm", "libvpx", 1, "genuine", bit_rate=80_000, seed=44),
    "videos/long.mp4": lambda: clip("mp4", "libx264", 5, "swap", bit_rate=230_000, seed=45),
    "videos/short.mp4": lambda: clip(
        "mp4", "libx264", 0.4, "genuine", size=(360, 480), bit_rate=6_000_000, seed=46
    ),
    "videos/tiny.mp4": lambda: clip("mp4", "libx264", 2, "template", seed=47),
    "videos/half-minute.mp4": lambda: clip("mp4", "libx264", 30, "genuine", size=(120, 160), rate=1, seed=48),
    "videos/full-hd.mp4": lambda: clip(
        "mp4", "libx264", 1, "genuine", size=(1080, 1920), rate=8, bit_rate=1_000_000, seed=49
    ),
}


def generate(folder: Path) -> None:
    """Write every sample file below `folder`."""
    for key, draw in FILES.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw())


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
