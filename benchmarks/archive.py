"""An archive and a provider that cost next to nothing: `python -m benchmarks.archive`.

For runs of millions of questions on one machine, where the emulators would take more CPU than what is
measured. Every picture is made when it is fetched, each one different; every call is answered alike after
`--latency-ms`. Nothing is checked: the contract is the emulators' to test. Replies carry the emulators' mark,
so that a run against it counts as simulated. `GET /_counts` says what was served, and the fullest second.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from urllib.request import urlopen

from benchmarks.pictures import picture, small_picture
from benchmarks.processes import ROOT

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PICTURE = re.compile(rb"/(\d{10})\.jpg")
HEAD = "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n"
BASE = small_picture()


def key_sql(number: str) -> str:
    """The key of a picture as SQL, of a column that counts from 0."""
    return f"'selfies/' || ({number} // 50000) || '/' || lpad({number}::VARCHAR, 10, '0') || '.jpg'"


def etag_sql(number: str) -> str:
    """Its ETag, as of an upload in parts: no MD5 of anything."""
    return f"lpad({number}::VARCHAR, 32, '0') || '-1'"


class Counts:
    """What was served."""

    def __init__(self) -> None:
        self.fetched = 0
        self.calls_in: Counter[int] = Counter()  # by second of this machine's clock

    def to_json(self) -> bytes:
        fullest = max(self.calls_in.values(), default=0)
        return json.dumps(
            {"fetched": self.fetched, "calls": self.calls_in.total(), "fullest": fullest}
        ).encode()


class Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    def __init__(self, counts: Counts, latency_s: float) -> None:
        self._counts, self._latency_s = counts, latency_s
        self._received = bytearray()
        self._head_end = -1
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._head_end < 0:
            self._head_end = self._received.find(b"\r\n\r\n")
            if self._head_end < 0:
                return
            length = _LENGTH.search(self._received, 0, self._head_end + 2)
            self._length = int(length[1]) if length else 0
        if len(self._received) >= self._head_end + 4 + self._length:
            line = bytes(self._received[: self._received.index(b"\r\n")])
            self._received.clear()
            self._head_end = -1
            self._serve(line)

    def _serve(self, line: bytes) -> None:
        if line.startswith(b"POST"):
            self._counts.calls_in[int(time.time())] += 1
            asyncio.get_running_loop().call_later(self._latency_s, self._answer)
        elif found := _PICTURE.search(line):
            self._counts.fetched += 1
            number = int(found[1])
            self._send(picture(number, BASE), f'ETag: "{number:032d}-1"\r\n')
        else:
            self._send(self._counts.to_json(), "Content-Type: application/json\r\n")

    def _answer(self) -> None:
        body = (
            b'{"Response":{"AttackRiskLevel":"Low","AttackRiskDetailList":[],'
            b'"ExtraInfo":{"RetrievalLivenessExtraInfo":null},'
            b'"RequestId":"00000000-0000-4000-8000-%012x"}}' % self._counts.calls_in.total()
        )
        self._send(
            body, f"Content-Type: application/json\r\nX-Emulated: 1\r\nDate: {formatdate(usegmt=True)}\r\n"
        )

    def _send(self, body: bytes, headers: str) -> None:
        if not self._transport.is_closing():
            self._transport.write((HEAD.format(length=len(body)) + headers + "\r\n").encode() + body)


class Archive:
    """The one that runs in a process of its own."""

    def __init__(self, url: str, process_id: int) -> None:
        self.url, self.process_id = url, process_id

    def counts(self) -> dict[str, int]:
        """`fetched`, `calls` and the `fullest` calendar second, so far."""
        with urlopen(f"{self.url}/_counts", timeout=60) as reply:
            counts: dict[str, int] = json.load(reply)
            return counts


@contextmanager
def running_archive(latency_ms: int) -> Iterator[Archive]:
    """An archive on a free port of this machine, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.archive", "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Archive(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


async def serve(latency_s: float) -> None:
    counts = Counts()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(counts, latency_s), "127.0.0.1", 0, backlog=1024
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive")
    parser.add_argument("--latency-ms", type=int, default=100)
    asyncio.run(serve(parser.parse_args().latency_ms / 1000))
