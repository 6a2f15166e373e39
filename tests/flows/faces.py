"""Faces to look at, and the emulated providers that look."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.contract.emulated_media import image
from tests.contract.emulator_process import RunningEmulators, running_emulators
from tests.flows.facesweep_process import ALIYUN_KEY, ALIYUN_SECRET, TENCENT_KEY, TENCENT_SECRET


def face(number: int, label: str = "genuine") -> bytes:
    """A picture unlike that of any other number up to 200."""
    return image(label, grey=number + 30)


def folder_of_faces(folder: Path, count: int) -> Path:
    """`000.jpg`, `001.jpg`, … in a new folder."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(face(number))
    return folder


def folder_of_many_faces(folder: Path, count: int) -> Path:
    """The same for any number: all sizes differ where greys do not."""
    folder.mkdir()
    for number in range(count):
        size, grey = divmod(number, 200)
        (folder / f"{number:05}.jpg").write_bytes(image("genuine", width=480 + size, grey=grey + 30))
    return folder


@contextmanager
def emulated(**options: Any) -> Iterator[RunningEmulators]:
    """Both providers, who know the keys of `Facesweep`."""
    with running_emulators(**options) as emulators:
        know_keys(emulators)
        yield emulators


def know_keys(emulators: RunningEmulators) -> None:
    emulators.account("tencent", key_id=TENCENT_KEY, secret=TENCENT_SECRET)
    emulators.account("aliyun", key_id=ALIYUN_KEY, secret=ALIYUN_SECRET)


def both(emulators: RunningEmulators, qps: int = 50) -> dict[str, Any]:
    """The tables of both providers for a spec."""
    return {
        "tencent": {"qps": qps, "endpoint": emulators.tencent_url},
        "aliyun": {"qps": qps, "endpoints": [emulators.aliyun_url]},
    }


def totals(emulators: RunningEmulators) -> dict[str, int]:
    """Calls each provider has seen."""
    return {name: int(emulators.summary(name)["total"]) for name in ("tencent", "aliyun")}
