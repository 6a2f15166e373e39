"""How long one lister and eight take to list a bucket, by its shape and by how far away it is.

The emulated OSS and moto on this machine, as they are and behind a line that takes 50 ms longer for every
request, as a store elsewhere does. They share the processors with the listers: without the line most of the
time is the servers' own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from oss2.credentials import StaticCredentialsProvider

from benchmarks.delays import delayed
from benchmarks.processes import ROOT
from benchmarks.stores import BUCKET, KEYS, REGION, fill, running_moto
from benchmarks.tables import Page
from tasks.buckets.bucket import Bucket, parse_location
from tasks.buckets.oss import OssBucket
from tasks.buckets.s3 import S3Bucket, new_session

LISTERS = (1, 8)
LINE_MS = 50
SHAPES: dict[str, Callable[[int], str]] = {
    "one folder": lambda number: f"{number:08}.jpg",
    "a folder for each day": lambda number: f"2024-{1 + number % 336:03}/{number:08}.jpg",
    "a folder for each user": lambda number: f"{number * 7919 % 1_000_003:07}/selfie.jpg",
}
ACCOUNT = ("benchmark-key", "benchmark-secret")

Open = Callable[[str, int], Bucket]  # endpoint, listers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.listings")
    parser.add_argument("--oss-keys", type=int, default=100_000)
    parser.add_argument("--s3-keys", type=int, default=10_000, help="moto takes a while to fill")
    measure(parser.parse_args([]) if __name__ != "__main__" else parser.parse_args())


def measure(options: argparse.Namespace) -> None:
    page = Page("listings", "Listing with one lister and with eight")
    rows: list[list[str]] = []
    for shape, key_of in SHAPES.items():
        with running_oss(key_of, options.oss_keys) as endpoint:
            rows += both(f"emulated OSS, {shape}", endpoint, open_oss, options.oss_keys, 1_000)
    with running_moto() as endpoint:
        key_of = SHAPES["a folder for each user"]
        fill(endpoint, ((key_of(number), b"x") for number in range(options.s3_keys)))
        rows += both("moto, a folder for each user", endpoint, open_s3, options.s3_keys, 100)
    page.table(
        ("bucket", "objects", "a page", "line", "1 lister, s", "8 listers, s", "times as fast"),
        rows,
    )
    page.say(
        f"The line adds {LINE_MS} ms to every request. Each listing was counted: no object lacks or is twice."
    )
    page.keep()


def both(name: str, endpoint: str, open_bucket: Open, keys: int, a_page: int) -> Iterator[list[str]]:
    """A row as it is and one behind the line."""
    with delayed(int(endpoint.rpartition(":")[2]), LINE_MS) as port:
        for line, url in (("-", endpoint), (f"{LINE_MS} ms", f"http://127.0.0.1:{port}")):
            one, eight = (seconds(open_bucket(url, listers), keys) for listers in LISTERS)
            yield [name, f"{keys:,}", f"{a_page:,}", line, f"{one:.2f}", f"{eight:.2f}", f"{one / eight:.1f}"]


def seconds(bucket: Bucket, keys: int) -> float:
    """What a listing takes. Raises: RuntimeError: it is not complete."""
    next(iter(bucket.list_batches()))  # opens the client, which reads boto3's descriptions
    began = time.monotonic()
    listed = [ref.key for batch in bucket.list_batches() for ref in batch]
    took = time.monotonic() - began
    if len(listed) != keys or len(set(listed)) != keys:
        raise RuntimeError(
            f"{len(listed)} objects were listed of {keys}, {len(set(listed))} of them different"
        )
    return took


def open_oss(endpoint: str, listers: int) -> Bucket:
    location = parse_location(f"oss://{BUCKET}/")
    return OssBucket(location, StaticCredentialsProvider(*ACCOUNT), endpoint, listers=listers)


def open_s3(endpoint: str, listers: int) -> Bucket:
    location = parse_location(f"s3://{BUCKET}/")
    return S3Bucket(location, new_session(), endpoint, REGION, page_objects=100, listers=listers)


@contextmanager
def running_oss(key_of: Callable[[int], str], keys: int) -> Iterator[str]:
    """The emulated OSS with so many objects of one byte: its url."""
    with tempfile.TemporaryDirectory() as root:
        for number in range(keys):
            path = Path(root, BUCKET, key_of(number))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        with subprocess.Popen(
            [sys.executable, "-m", "emulators.oss", "--root", root, "--account", ":".join(ACCOUNT)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                yield json.loads(process.stdout.readline())["oss"]
            finally:
                process.terminate()


if __name__ == "__main__":
    os.environ.update(KEYS)
    main()
