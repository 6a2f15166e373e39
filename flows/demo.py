"""The first run: the sample media, both providers emulated on this machine, no account and no network."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import UsageError
from flows.children import ended, start_python

SAMPLE = Path(__file__).parent.parent / "data" / "sample"

EMULATED_KEYS = {
    "TENCENTCLOUD_SECRET_ID": "AKIDEXAMPLE",
    "TENCENTCLOUD_SECRET_KEY": "EXAMPLE-secret-key-not-real",
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIEXAMPLE",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "EXAMPLE-access-key-secret-not-real",
}
"""Keys of the emulated accounts; they open nothing anywhere else."""

SPEC = """\
[audit]
name = "demo"
home = {home}

[source]
url = {source}
include = ["*"]
exclude = ["*/thumbs/*", "*.md", "*.py"]

[providers.tencent]
qps = 5
endpoint = "{tencent}"
price_per_call = 0.10

[providers.aliyun]
qps = 10
endpoints = ["{aliyun}"]
price_per_call = 0.10
"""


@contextmanager
def emulated_spec(folder: Path) -> Iterator[Path]:
    """A spec that audits the sample with both providers emulated while the block runs.

    Raises:
        UsageError: the sample or the emulators are not there.
    """
    if not SAMPLE.is_dir():
        raise UsageError(f"{SAMPLE} is missing: the demo runs from a clone of the repository")
    folder.mkdir(parents=True, exist_ok=True)
    with _emulators() as urls:
        spec = folder / "demo.toml"
        spec.write_text(
            SPEC.format(home=_toml(str(folder / "home")), source=_toml(str(SAMPLE)), **urls), encoding="utf-8"
        )
        os.environ.update(EMULATED_KEYS)
        yield spec


def clear(folder: Path) -> None:
    """Forget an earlier demo, so that this one asks again."""
    if (folder / "demo.toml").exists():
        shutil.rmtree(folder)


@contextmanager
def _emulators() -> Iterator[dict[str, str]]:
    process = start_python(
        [
            "-m",
            "emulators",
            "--tencent-port",
            "0",
            "--aliyun-port",
            "0",
            "--latency-ms",
            "150-800",
            "--seed",
            "1",
        ],
        cwd=str(SAMPLE.parent.parent),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        urls: dict[str, str] = {}
        for line in process.stdout:
            service, _, url = line.decode().strip().partition(" ")
            urls[service] = url
            if {"tencent", "aliyun"} <= urls.keys():
                break
        else:
            raise UsageError("the emulators did not start")
        yield urls
    finally:
        ended(process)
        if process.stdout:
            process.stdout.close()


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
