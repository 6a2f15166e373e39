"""Tencent's detector: one attempt, signed, sent, read and judged."""

import hashlib
import time
from collections.abc import Callable

import aiohttp

from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Answer, Delivery, Provider
from tasks.providers.credentials import KeySource
from tasks.providers.detector import ComposedRequest, Probe
from tasks.providers.endpoints import Endpoint
from tasks.providers.exchange import Reply, Timeouts, post
from tasks.providers.failures import Failure
from tasks.providers.probing import probe
from tasks.providers.standing import Stamp, Standing
from tasks.providers.tencent.encryption import BodyCipher
from tasks.providers.tencent.signing import authorization
from tasks.providers.tencent.wire import (
    ACTION,
    CONTENT_TYPE,
    VERSION,
    body_of,
    probe_shows,
    read_reply,
)

_NO_MEDIA = ComposedRequest(b"{}", hashlib.sha256(b"{}").hexdigest(), MediaKind.IMAGE, 0)


class TencentDetector:
    """Asks DetectAIFakeFaces over a session that somebody else owns and closes.

    Made for one account in one event loop; any number of `ask` may run at once.
    """

    provider = Provider.TENCENT
    action = ACTION

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keys: KeySource,
        endpoint: str = "https://faceid.tencentcloudapi.com",
        region: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.time,
        cipher: BodyCipher | None = None,
    ) -> None:
        """`region` goes into X-TC-Region; the API works without. `clock` gives Unix seconds. With `cipher`
        every body that holds media is encrypted.

        Raises: UsageError: `endpoint` is no https:// address.
        """
        self._session = session
        self._endpoint = Endpoint.parse(endpoint)
        self._region = region
        self._timeouts = timeouts
        self._clock = clock
        self._cipher = cipher
        self.delivery = Delivery.BASE64 if cipher is None else Delivery.ENCRYPTED
        self._standing = Standing(Provider.TENCENT, keys, clock)
        self.simulated = False

    def __repr__(self) -> str:
        return f"<TencentDetector at {self._endpoint.url}, {self._standing!r}>"

    def compose(self, media: PreparedMedia) -> ComposedRequest:
        """The signed-for body, built and hashed once. Raises: Unfit: see `wire.body_of`."""
        body = body_of(media, self._cipher)
        digest = hashlib.sha256(body).hexdigest()
        return ComposedRequest(body, digest, media.kind, len(media.content), self.delivery)

    async def ask(self, request: ComposedRequest, order_no: str = "") -> Answer:  # noqa: ARG002
        """One attempt with a fresh signature; Tencent has no field for an order number.

        Raises: ProviderError: Throttled, Unavailable, Refused or Denied.
        """
        stamp = await self._standing.stamp()
        reply = await self._send(request, stamp)
        outcome = self._read(reply)
        if isinstance(outcome, Answer):
            self._standing.answered(stamp)
            return outcome
        date_s = reply.date_s if isinstance(reply, Reply) else None
        raise await self._standing.judge(outcome, stamp, self._endpoint.url, date_s)

    async def probe(self) -> Probe:
        """Check way, key and clock by a signed call with an empty body, which cannot be billed."""
        return await probe(
            self.provider,
            self._endpoint,
            self._standing,
            lambda stamp: self._send(_NO_MEDIA, stamp),
            self._read,
            probe_shows,
            self._clock,
        )

    def _read(self, reply: Reply | Failure) -> Answer | Failure:
        if isinstance(reply, Failure):
            return reply
        self.simulated = self.simulated or reply.simulated
        return read_reply(reply, self._endpoint.url)

    async def _send(self, request: ComposedRequest, stamp: Stamp) -> Reply | Failure:
        return await post(
            self._session,
            self._endpoint,
            "",
            self._headers(request.body_sha256, stamp),
            request.body,
            self._timeouts.connect_s,
            self._timeouts.total_s(request.kind),
        )

    def _headers(self, body_sha256: str, stamp: Stamp) -> dict[str, str]:
        timestamp = int(stamp.now_s)
        host = self._endpoint.host
        headers = {
            "Host": host,
            "Content-Type": CONTENT_TYPE,
            "Authorization": authorization(stamp.keys, timestamp, host, CONTENT_TYPE, body_sha256),
            "X-TC-Action": ACTION,
            "X-TC-Version": VERSION,
            "X-TC-Timestamp": str(timestamp),
            "X-TC-Language": "en-US",
        }
        if self._region:
            headers["X-TC-Region"] = self._region
        if stamp.keys.token:
            headers["X-TC-Token"] = stamp.keys.token
        return headers
