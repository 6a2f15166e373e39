"""Stores: pictures behind S3, served by moto in a process of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import boto3
from botocore.config import Config

KEYS = {"AWS_ACCESS_KEY_ID": "EXAMPLE-key", "AWS_SECRET_ACCESS_KEY": "EXAMPLE-secret"}
BUCKET, REGION = "benchmark", "us-east-1"


@contextmanager
def running_s3(pictures: Path, count: int) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """`count` pictures in a bucket: its url, the spec's keys for its store, the environment's keys."""
    with running_moto() as endpoint:
        paths = list(islice(sorted(pictures.rglob("*.jpg")), count))
        fill(endpoint, ((path.name, path.read_bytes()) for path in paths))
        yield f"s3://{BUCKET}/", {"endpoint_url": endpoint, "region": REGION}, KEYS


@contextmanager
def running_moto() -> Iterator[str]:
    """An S3 without buckets in a process of its own: its url."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            for _ in range(300):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def fill(endpoint: str, contents: Iterable[tuple[str, bytes]]) -> None:
    """Make the bucket and put these (key, content) into it."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: client.put_object(Bucket=BUCKET, Key=one[0], Body=one[1]), contents))
