"""One HTTP request and its reply, or what went wrong below the provider's own codes.

The one place that knows aiohttp's exceptions. The question it answers for the books: may the provider
have had the whole request, so that a call we know nothing of may be billed?
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from domain.objects import MediaKind
from tasks.providers.endpoints import Endpoint
from tasks.providers.failures import Failure, Meaning, unreadable

EMULATED = "X-Emulated"  # a header of every reply of an emulator, and of no provider's
MAX_REPLY_BYTES = 1 << 20  # replies are a few hundred bytes; a proxy's page is some kilobytes
_WRITE_BYTES = 1 << 18  # aiohttp drains between writes: 256 KiB keeps the loop free of long copies


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, and for a whole call by kind of media.

    Aliyun wants more than 3 s for a video; neither provider documents more. Measured latencies of
    such APIs lie under 1 s, so the totals are for a slow line: 10 MB in 60 s is 1.4 Mbit/s.
    """

    connect_s: float = 5.0
    image_s: float = 20.0
    video_s: float = 60.0

    def total_s(self, kind: MediaKind) -> float:
        return self.video_s if kind is MediaKind.VIDEO else self.image_s


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: any status, the body as text."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def simulated(self) -> bool:
        """Whether an emulator answered."""
        return EMULATED in self.headers

    @property
    def date_s(self) -> float | None:
        """The provider's clock as Unix time in whole seconds; None when the reply has no date."""
        try:
            return parsedate_to_datetime(self.headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):
            return None


class _Body(Payload):
    """Bytes that know whether they have all been handed to the connection."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._size = len(content)
        self.handed_over = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        view = memoryview(self._value)[:content_length]
        for start in range(0, len(view), _WRITE_BYTES):
            # Set before the last write: it may be cut after the bytes have left.
            self.handed_over = start + _WRITE_BYTES >= len(view)
            await writer.write(view[start : start + _WRITE_BYTES])
        self.handed_over = True


async def post(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    connect_s: float,
    total_s: float,
) -> Reply | Failure:
    """POST `body` to `/?query` and read the whole reply; never raises for anything the network does.

    A failure is in doubt when every byte of the request was handed to the connection before it broke:
    a provider that lacks the last byte cannot have served the call. `query` goes out exactly as given.
    Messages name neither the query nor a header.
    """
    url = URL(f"{endpoint.url}/{'?' if query else ''}{query}", encoded=True)
    payload = _Body(body)
    try:
        async with session.post(
            url,
            data=payload,
            headers=headers,
            allow_redirects=False,  # a redirect would carry signature and face to another host
            timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s),
        ) as response:
            content = await _read(response)
            status, reply_headers = response.status, response.headers
    except (aiohttp.ClientError, OSError) as error:
        code, message = _explain(error, endpoint, connect_s, total_s)
    except ValueError:
        # A session that trusts the environment takes .netrc for our Authorization's rival.
        message = f"no request can be made to {endpoint.host}: remove its entry, or default, in .netrc"
        return Failure(Meaning.DENIED, "configuration", message)
    else:
        if content is None:
            message = f"the reply from {endpoint.host} is larger than {MAX_REPLY_BYTES} bytes"
            return unreadable("oversized_reply", message)
        return Reply(status, content.decode("utf-8-sig", "replace"), reply_headers)
    return Failure(Meaning.UNAVAILABLE, code, message, in_doubt=payload.handed_over)


async def is_emulated(
    session: aiohttp.ClientSession, endpoint: Endpoint, patience_s: float = 5.0
) -> bool | None:
    """Whether what answers at the endpoint is an emulator; None where nobody answers in time.

    An unsigned HEAD: no call of either API, so it counts against no quota and cannot be billed.
    """
    try:
        async with session.head(
            endpoint.url, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=patience_s)
        ) as response:
            return EMULATED in response.headers
    except (aiohttp.ClientError, OSError):
        return None


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The whole body, or None when it is larger than we are willing to hold."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _explain(error: Exception, endpoint: Endpoint, connect_s: float, total_s: float) -> tuple[str, str]:
    """A code and a sentence for what the network did; aiohttp's own texts hold the whole URL."""
    host = endpoint.host
    for kinds, code, sentence in (
        (
            aiohttp.ConnectionTimeoutError,
            "connect_timeout",
            f"{host} did not accept a connection within {connect_s:g} s",
        ),
        (asyncio.TimeoutError, "timeout", f"no complete reply from {host} within {total_s:g} s"),
        (aiohttp.ClientConnectorDNSError, "dns", f"the name {host} could not be resolved"),
        (
            (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch),
            "tls",
            f"no trusted TLS connection to {host}: check its certificate and any proxy",
        ),
        (
            aiohttp.ClientConnectorError,
            "connection",
            f"no connection to {host}: is the address right, does a firewall or proxy stand between?",
        ),
        (aiohttp.ClientHttpProxyError, "proxy", f"the proxy on the way to {host} refuses to connect"),
        (aiohttp.ClientResponseError, "malformed_reply", f"{host} does not speak HTTP as expected"),
    ):
        if isinstance(error, kinds):
            return code, sentence
    return "connection", f"the connection to {host} was cut ({type(error).__name__})"


def broken_service(reply: Reply, raw: str) -> Failure:
    """What a reply without the provider's JSON means: infrastructure between us and the service.

    A gateway's 504 says that it did pass the request on and heard nothing: that call is in doubt.
    """
    return Failure(
        Meaning.UNAVAILABLE,
        f"http_{reply.status}",
        f"HTTP status {reply.status} instead of an answer",
        raw=raw,
        in_doubt=reply.status == 504,
    )
