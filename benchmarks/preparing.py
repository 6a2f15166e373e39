"""What it costs to prepare an image or a clip, and whether preparing slows a lane.

Ours beside the plain use of the libraries it rests on (Pillow, PyAV, and ffmpeg's command where it is
installed), to the same size and length, in one process and turn by turn. Then the real `audit` command over a
folder of ordinary pictures, and over one where some have to be prepared, against an emulated Tencent.
"""

import argparse
import io
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageFilter, ImageOps

from benchmarks.audits import audit
from benchmarks.lanes import line, score
from benchmarks.pictures import SIZE_BYTES, SIZE_PX, base_picture, picture
from benchmarks.processes import running_emulator
from benchmarks.tables import Page, spread
from tasks.media import clips, reencode
from tasks.media.limits import ALIYUN, TENCENT
from tasks.media.sniff import sniff

LATENCY_MS = "150-800"
MIXED = {
    "webp": 0.04,
    "heic": 0.015,
    "mp4": 0.005,
}  # shares of what has to be prepared; the rest is untouched
_CLIP_S = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preparing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cap", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=30, help="of calls at the cap; 0 leaves the lanes out")
    measure(parser.parse_args([]) if __name__ != "__main__" else parser.parse_args())


def measure(options: argparse.Namespace) -> None:
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False)
    page = Page("preparing", "Preparing an image or a clip, and a lane beside it")
    page.table(
        ("image", "KB", "CPU ms, ours", "CPU ms, Pillow's plain use", "times", "what is done"),
        [image_row(name, content, options.rounds) for name, content in images().items()],
    )
    page.say(
        "To what Aliyun takes. Plain: open, exif_transpose, convert, thumbnail to 1080x1920, save at "
        "quality 92, whose chroma is halved; ours is not. Medians and ranges; one thread."
    )
    page.table(
        (
            "clip",
            "KB",
            "for",
            "CPU ms, ours",
            "CPU ms, PyAV's plain use",
            "ms, ffmpeg",
            "times",
            "what is done",
        ),
        [clip_row(*each, options.rounds) for each in videos()],
    )
    page.say(
        "Plain: decode, scale to 480 lines, H.264 as the library does it by itself, of as many seconds as "
        "ours; ffmpeg: the same by its command, wall time, one thread, where the command is installed."
    )
    if options.seconds:
        page.table(
            (
                "who",
                "cap",
                "calls",
                "of the cap",
                "after 3 s",
                "calendar",
                "fixed",
                "any second",
                "turned away",
                "until the last untouched",
            ),
            [
                lane_row("untouched pictures alone", {}, options),
                lane_row("6 % of them to be prepared", MIXED, options),
            ],
        )
        page.say(
            f"Pictures of 150 KB, latency {LATENCY_MS} ms. To be prepared: 4 % WebP of 720x960, 1.5 % HEIC "
            "of 720x960, 0.5 % clips of 1080p and 1 s, which become 480 lines. Until the last untouched: the "
            "share of the cap before only those were left that the children had still to prepare."
        )
    page.keep()


# --- images ---


def grainy(size: tuple[int, int]) -> Image.Image:
    """A picture with the grain of a phone's camera."""
    noise = np.random.default_rng(1).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    large = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    soft = Image.radial_gradient("L").resize(size).convert("RGB")
    return Image.blend(soft, large.filter(ImageFilter.GaussianBlur(1)), 0.25)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def images() -> dict[str, bytes]:
    """What archives hold that Aliyun does not take as it is."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo, screen = grainy((4032, 3024)), grainy((1440, 1920))
    return {
        "JPEG, 12 MP, turned by EXIF": saved(photo, "JPEG", quality=90, exif=exif),
        "JPEG, 12 MP, progressive": saved(photo, "JPEG", quality=90, progressive=True),
        "PNG, 1440x1920": saved(screen, "PNG", compress_level=1),
        "WebP, 1440x1920": saved(screen, "WEBP", method=0),
        "HEIC, 1440x1920": saved(screen, "HEIF", quality=60),
        "AVIF, 1440x1920": saved(screen, "AVIF", speed=10),
    }


def image_row(name: str, content: bytes, rounds: int) -> list[str]:
    form = sniff(content)
    steps = ""

    def ours() -> None:
        nonlocal steps
        _, steps = reencode.reencode(content, form, ALIYUN)

    def plain() -> None:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((1080, 1920))
            saved(upright, "JPEG", quality=92)

    mine, theirs = alternately((ours, plain), rounds)
    times = statistics.median(theirs) / statistics.median(mine)
    return [name, f"{len(content) / 1000:,.0f}", spread(mine, 1), spread(theirs, 1), f"{times:.1f}", steps]


def alternately(jobs: Sequence[Callable[[], None]], rounds: int) -> list[list[float]]:
    """CPU milliseconds of each job, each round after a first one that does not count."""
    found: list[list[float]] = [[] for _ in jobs]
    for number in range(rounds + 1):
        for job, values in zip(jobs, found, strict=True):
            began = time.process_time()
            job()
            if number:
                values.append((time.process_time() - began) * 1000)
    return found


# --- clips ---


def clip(size: tuple[int, int], seconds: float, codec: str = "libx264", form: str = "mp4") -> bytes:
    """Grain that drifts, 30 frames a second, a key frame each second, as phones write it."""
    out = io.BytesIO()
    base = np.asarray(grainy(size))
    with av.open(out, "w", format=form) as file:
        stream = file.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = 30
        stream.codec_context.thread_count = 1
        stream.options = (
            {"preset": "ultrafast", "crf": "23"} if codec == "libx264" else {"deadline": "realtime"}
        )
        for number in range(round(seconds * 30)):
            frame = av.VideoFrame.from_ndarray(np.roll(base, number * 2, 1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def videos() -> list[tuple[str, bytes, bool]]:
    """Name, content, and whether Aliyun (else Tencent) is to take it."""
    return [
        ("MP4, 1080p, 5 s: cut", clip((1080, 1920), _CLIP_S), True),
        ("MP4, 1080p, 5 s: scaled", clip((1080, 1920), _CLIP_S), False),
        ("WebM, 480x640, 5 s", clip((480, 640), _CLIP_S, "libvpx", "webm"), False),
    ]


def clip_row(name: str, content: bytes, is_aliyun: bool, rounds: int) -> list[str]:
    form, limits = sniff(content), ALIYUN if is_aliyun else TENCENT
    length_s = 2.9 if is_aliyun else 5.0
    steps = ""

    def ours() -> None:
        nonlocal steps
        made = clips.fit(content, form, limits)
        ((_, steps),) = made

    mine, theirs = alternately((ours, lambda: plain_clip(content, length_s)), min(rounds, 3))
    times = statistics.median(theirs) / statistics.median(mine)
    return [
        name,
        f"{len(content) / 1000:,.0f}",
        limits.provider,
        spread(mine, 0),
        spread(theirs, 0),
        by_command(content, length_s),
        f"{times:.1f}",
        steps,
    ]


def plain_clip(content: bytes, length_s: float) -> None:
    """As the library's own examples do it, from the first frame on."""
    with av.open(io.BytesIO(content)) as source, av.open(io.BytesIO(), "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=30)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        coder = source.streams.video[0].codec_context
        coder.thread_count = 1
        scale = min(1.0, 480 / min(coder.width, coder.height))
        stream.width, stream.height = (int(side * scale) // 2 * 2 for side in (coder.width, coder.height))
        for frame in source.decode(video=0):
            if frame.time is None or frame.time >= length_s:
                break
            target.mux(stream.encode(frame.reformat(stream.width, stream.height, "yuv420p")))
        target.mux(stream.encode(None))


def by_command(content: bytes, length_s: float) -> str:
    command = shutil.which("ffmpeg")
    if command is None:
        return "not here"
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "in", Path(place) / "out.mp4"
        source.write_bytes(content)
        began = time.monotonic()
        subprocess.run(
            [
                *(command, "-v", "error", "-threads", "1", "-i", source, "-t", str(length_s)),
                *("-vf", "scale=480:-2", "-an", "-threads", "1", target),
            ],
            check=True,
        )
        return f"{(time.monotonic() - began) * 1000:.0f}"


# --- lanes ---


def lane_row(who: str, shares: dict[str, float], options: argparse.Namespace) -> list[str]:
    cap: int = options.cap
    count = cap * options.seconds
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_mixed(folder / "media", count, shares)
        with running_emulator(cap, LATENCY_MS) as emulator:
            audit(folder, str(folder / "media"), emulator.url, cap, limit=count)
            calls = emulator.control("calls")["calls"]
    last = max(call["arrived_at"] for call in calls if call["media_bytes"] == SIZE_BYTES)
    until_then = score(cap, [call for call in calls if call["arrived_at"] <= last])
    return [*line(who, cap, score(cap, calls)), f"{until_then.share:.1%}"]


def write_mixed(folder: Path, count: int, shares: dict[str, float]) -> None:
    """So many different files; each of a kind is one file with another number behind it."""
    small = grainy(SIZE_PX)
    bases = {
        "webp": saved(small, "WEBP", method=0),
        "heic": saved(small, "HEIF", quality=50),
        "mp4": clip((1080, 1920), 1),
    }
    jpeg = base_picture()
    dice = np.random.default_rng(7)
    kinds = dice.choice([*shares, "jpg"], count, p=[*shares.values(), 1 - sum(shares.values())])
    for number, kind in enumerate(kinds):
        place = folder / f"{number // 1000:04d}"
        place.mkdir(parents=True, exist_ok=True)
        # A box that readers skip; behind a WebP, where readers stop
        box = (24).to_bytes(4) + b"free" + f"{number:016d}".encode()
        content = picture(number, jpeg) if kind == "jpg" else bases[str(kind)] + box
        (place / f"{number:07d}.{kind}").write_bytes(content)


if __name__ == "__main__":
    main()
