"""Small media for tests of the emulated services, made in memory."""

import http.server
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
import PIL.Image


def image(label: str = "", width: int = 480, height: int = 640, kind: str = "JPEG", grey: int = 128) -> bytes:
    """A plain picture; the label goes into a comment behind the first marker or at the end."""
    made = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (grey, grey, grey)).save(made, kind)
    content = made.getvalue()
    if not label:
        return content
    comment = f"facesweep-sample:{label}".encode()
    if kind == "JPEG":
        size = (len(comment) + 2).to_bytes(2)
        return content[:2] + b"\xff\xfe" + size + comment + content[2:]
    return content + comment


def video(
    label: str = "",
    seconds: float = 2.0,
    width: int = 320,
    height: int = 240,
    rate: int = 10,
    container: str = "mp4",
    at_least_bytes: int = 110_000,
) -> bytes:
    """A clip of one grey, padded at its end to a size as a `free` box would."""
    made = io.BytesIO()
    with av.open(made, "w", format=container) as output:
        stream = output.add_stream("flv" if container == "flv" else "mpeg4", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        pixels = np.full((height, width, 3), 128, np.uint8)
        for _ in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    content = made.getvalue()
    padding = f"facesweep-sample:{label};".encode() if label else b""
    padding = padding.ljust(max(0, at_least_bytes - len(content) - 8), b"\0")
    if container not in ("mp4", "mov") or not padding:
        return content + padding
    return content + (len(padding) + 8).to_bytes(4) + b"free" + padding


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """An HTTP server on this machine; files are found by path and query exactly as sent."""

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path, b"")
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
