"""What it costs to read what objects say of themselves: CPU of metadata and of a picture's hash.

OPENBLAS_NUM_THREADS=1 python -m benchmarks.signals      (one core, as in a worker)
"""

import io
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.media.pdq import hash_picture
from tasks.media.signals import read_signals
from tasks.media.sniff import Format

ROUNDS = 20
SIZES = ((480, 640), (1080, 1440), (2448, 3264))


def grainy(width: int, height: int) -> bytes:
    """A JPEG with detail at every scale, as a photograph has: noise that falls with frequency."""
    noise = np.random.default_rng(7).standard_normal((height, width, 3))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    weight = 1 / np.maximum(np.hypot(rows, columns), 1 / max(width, height))
    shaped: npt.NDArray[np.float64] = np.fft.irfft2(
        np.fft.rfft2(noise, axes=(0, 1)) * weight[..., None], s=(height, width), axes=(0, 1)
    )
    shaped = (shaped - shaped.min()) / (shaped.max() - shaped.min()) * 255
    out = io.BytesIO()
    Image.fromarray(shaped.astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU of one call, after a first one."""
    work()
    began = time.process_time()
    for _ in range(ROUNDS):
        work()
    return (time.process_time() - began) / ROUNDS * 1000


def main() -> None:
    print(f"{'picture':<14}{'KB':>6}{'metadata µs':>13}{'PDQ ms':>8}")
    for width, height in SIZES:
        content = grainy(width, height)
        metadata_us = cpu_ms(lambda content=content: read_signals(content, Format.JPEG)) * 1000  # type: ignore[misc]
        hash_ms = cpu_ms(lambda content=content: hash_picture(content, Format.JPEG))  # type: ignore[misc]
        print(f"{width}x{height:<9}{len(content) / 1000:>6.0f}{metadata_us:>13.0f}{hash_ms:>8.1f}")


if __name__ == "__main__":
    main()
