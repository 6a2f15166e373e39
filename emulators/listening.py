"""Listening on 127.0.0.1: when a request arrived, its whole body, and replies that can be cut."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

from aiohttp import ClientPayloadError, web
from aiohttp.web_protocol import RequestHandler

BODY_LIMIT = 12 * 10**6  # bytes; above both providers' limits, so that their own codes answer
_DRAIN_LIMIT = 64 * 10**6  # bytes read and thrown away before a body is called endless


@dataclass(slots=True)
class Reply:
    """A reply, and how it is delivered."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: Literal["", "before", "middle"] = ""


class TooLarge(Exception):
    """A body above BODY_LIMIT; it was read and thrown away, so that the client can read a reply."""


class Lost(Exception):
    """The client went away before its whole body had arrived."""


class _Connection(RequestHandler):  # type: ignore[type-arg, misc, unused-ignore]
    """Notes when the first byte of a request was read: before parsing, before the body."""

    __slots__ = ("first_byte",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.first_byte: tuple[float, float] | None = None

    def data_received(self, data: bytes) -> None:
        if self.first_byte is None:
            self.first_byte = (time.time(), time.monotonic())
        super().data_received(data)


class _Server(web.Server):  # type: ignore[type-arg, misc, unused-ignore]
    def __call__(self) -> _Connection:
        return _Connection(self, loop=asyncio.get_running_loop(), access_log=None)


def arrival(request: web.BaseRequest) -> tuple[float, float]:
    """When the request's first byte was read: unix and monotonic seconds."""
    connection = request.protocol
    if isinstance(connection, _Connection) and connection.first_byte is not None:
        return connection.first_byte
    return time.time(), time.monotonic()


async def read_body(request: web.BaseRequest) -> bytes:
    """The whole body. Raises TooLarge or Lost."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        thrown_away = BODY_LIMIT
        while thrown_away < _DRAIN_LIMIT and (chunk := await request.content.readany()):
            thrown_away += len(chunk)
        raise TooLarge from None
    except (ClientPayloadError, ConnectionError, asyncio.IncompleteReadError):
        raise Lost from None


async def deliver(request: web.BaseRequest, reply: Reply, now: float) -> tuple[web.Response, bool]:
    """Send the reply, or part of it, or nothing; whether all of it went to an open connection."""
    connection = request.protocol
    if isinstance(connection, _Connection):
        connection.first_byte = None
    headers = {
        "Content-Type": reply.content_type,
        "Date": formatdate(now, usegmt=True),
        "X-Emulated": "facesweep-emulator",
        **reply.headers,
    }
    response = web.Response(status=reply.status, body=reply.body, headers=headers)
    transport = request.transport
    if transport is None or transport.is_closing():
        return response, False
    try:
        if reply.cut == "before":
            transport.close()
            return response, False
        if reply.cut == "middle":
            half = web.StreamResponse(status=reply.status, headers=headers)
            half.content_length = len(reply.body)
            await half.prepare(request)
            await half.write(reply.body[: len(reply.body) // 2])
            transport.close()
            return response, False
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        return response, False
    return response, not transport.is_closing()


class Listener:
    """One port on 127.0.0.1 and the handler behind it."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._handler = handler
        self._web: _Server | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, port: int) -> str:
        """Listen; port 0 takes a free one. Returns the url. Raises OSError: the port is taken."""
        loop = asyncio.get_running_loop()

        def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Any:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)

        self._web = _Server(self._handler, request_factory=make)
        self._listening = await loop.create_server(self._web, "127.0.0.1", port, backlog=1024)
        return f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and close every connection, the busy ones within a second."""
        if self._listening is not None and self._web is not None:
            self._listening.close()
            self._web.pre_shutdown()
            await self._web.shutdown(1.0)
            await self._listening.wait_closed()
