"""Real stores for tests: moto and the emulated OSS as processes, and a server that says what it is told.

with running_moto() as moto, running_oss() as oss, scripted_store() as scripted: ...
"""

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import oss2
from botocore.config import Config
from oss2.credentials import StaticCredentialsProvider

from tasks.buckets.s3 import new_session

ROOT = Path(__file__).resolve().parents[2]
OSS_REGION = "cn-shanghai"
OSS_KEY_ID, OSS_SECRET = "test-oss-key", "test-oss-secret"
STS_KEY_ID, STS_SECRET, STS_TOKEN = "test-sts-key", "test-sts-secret", "test+sts/token="


@cache  # reading boto3's descriptions of services takes 0.2 s for each session
def s3_session(key_id: str = "test-key", secret: str = "test-secret") -> boto3.Session:
    """The product's kind of session, with keys of ours instead of the environment's."""
    session = new_session()
    cast("Any", session)._session.set_credentials(key_id, secret)
    return session


def oss_credentials(secret: str = OSS_SECRET) -> StaticCredentialsProvider:
    return StaticCredentialsProvider(OSS_KEY_ID, secret)


@cache
def _plain_session() -> boto3.Session:
    return boto3.Session("test-key", "test-secret")


class Moto:
    """moto's server: S3 that stores and lists, and checks signatures only where a test turns that on."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, service: str = "s3", region: str = "us-east-1") -> Any:
        """A plain boto3 client, for a test to put things where the product will look."""
        return _plain_session().client(
            cast("Any", service),
            endpoint_url=self.url,
            region_name=region,
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=32),
        )

    @contextmanager
    def checking_signatures(self) -> Iterator[None]:
        """Inside, every request must be signed by a user of moto's IAM who may do what it asks."""
        self._unchecked("0")
        try:
            yield
        finally:
            self._unchecked("inf")

    def _unchecked(self, requests: str) -> None:
        request = Request(
            f"{self.url}/moto-api/reset-auth",
            data=requests.encode(),
            headers={"Content-Type": "text/plain"},
        )
        with urlopen(request, timeout=10):
            pass


@contextmanager
def running_moto() -> Iterator[Moto]:
    """moto on a free port, stopped at the end."""
    url = unused_url()
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not _answers(url):
                if process.poll() is not None:
                    raise RuntimeError(f"moto ended with status {process.returncode}")
                time.sleep(0.02)
            yield Moto(url)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/moto-api/", timeout=5):
            return True
    except HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def unused_url() -> str:
    """A url nobody listened at a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class RunningOss:
    """The emulated OSS: its url, official clients for it, and its controls."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, bucket: str, region: str | None = OSS_REGION, secret: str = OSS_SECRET) -> Any:
        """The official client; signs by version 4 with a region, by version 1 without."""
        sign = oss2.ProviderAuthV4 if region else oss2.ProviderAuth
        return oss2.Bucket(sign(oss_credentials(secret)), self.url, bucket, region=region, connect_timeout=10)

    def fault(self, bucket: str, key: str, kind: str, times: int | None = None, method: str = "GET") -> None:
        """Make requests for this object go wrong; kinds: emulators.oss_server.FAULTS."""
        told = {"bucket": bucket, "key": key, "kind": kind, "times": times, "method": method}
        self._control("POST", "faults", told)

    def refuse(self, bucket: str, prefix: str, kind: str, times: int | None = None) -> None:
        """Take no object whose key starts so: `deny` it, or ask to `slow_down`."""
        told = {"bucket": bucket, "prefix": prefix, "kind": kind, "times": times, "method": "PUT"}
        self._control("POST", "faults", told)

    def heal(self) -> None:
        self._control("DELETE", "faults")

    def set_clock(self, offset_s: float) -> None:
        """Let the server's clock be this far from ours."""
        self._control("POST", "clock", {"offset_s": offset_s})

    def requests(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self._control("GET", "requests"))

    def _control(self, method: str, name: str, told: Any = None) -> Any:
        body = None if told is None else json.dumps(told).encode()
        request = Request(f"{self.url}/_emulator/{name}", data=body, method=method)
        with urlopen(request, timeout=10) as response:
            return json.loads(response.read())


@contextmanager
def running_oss(*options: str) -> Iterator[RunningOss]:
    """`python -m emulators.oss` on a free port with two accounts, stopped at the end."""
    accounts = (f"{OSS_KEY_ID}:{OSS_SECRET}", f"{STS_KEY_ID}:{STS_SECRET}:{STS_TOKEN}")
    named = [text for account in accounts for text in ("--account", account)]
    with subprocess.Popen(
        [sys.executable, "-m", "emulators.oss", "--port", "0", *named, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield RunningOss(json.loads(process.stdout.readline())["oss"])
        finally:
            process.terminate()


class ScriptedStore:
    """An HTTP server that answers request after request with the bytes it was given, then hangs up."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.targets: list[str] = []  # path and query of what was asked
        self.url = ""

    def reply(self, body: bytes = b"", status: str = "200 OK", **headers: str) -> None:
        """Queue a reply; the last one is given again for ever. `Content_Type` names Content-Type."""
        lines = {"Content-Length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.replies.append(f"HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n".encode() + body)

    def next_reply(self, target: str) -> bytes:
        self.targets.append(target)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def scripted_store() -> Iterator[ScriptedStore]:
    """A scripted server on a free port, stopped at the end."""
    store = ScriptedStore()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            target = self.rfile.readline().decode().split(" ")[1]
            while self.rfile.readline().strip():
                pass
            with suppress(ConnectionError):  # a client may hang up on a reply it will not read
                self.wfile.write(store.next_reply(target))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            store.url = f"http://127.0.0.1:{server.server_address[1]}"
            yield store
        finally:
            server.shutdown()
            thread.join()
