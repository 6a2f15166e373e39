"""Alibaba's detector: one attempt, signed, sent, read and judged; with endpoints to fall back on."""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import aiohttp

from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Answer, Delivery, Provider
from tasks.providers.aliyun.signing import authorization, canonical_query
from tasks.providers.aliyun.wire import (
    ACTION,
    CONTENT_TYPE,
    VERSION,
    body_of,
    probe_shows,
    query_parameters,
    read_reply,
)
from tasks.providers.credentials import KeySource
from tasks.providers.detector import ComposedRequest, Probe, new_order_no
from tasks.providers.endpoints import Endpoint, Endpoints
from tasks.providers.exchange import Reply, Timeouts, post
from tasks.providers.failures import Failure, Meaning
from tasks.providers.probing import probe
from tasks.providers.standing import Stamp, Standing, without

ENDPOINTS = (
    "https://cloudauth.cn-shanghai.aliyuncs.com",
    "https://cloudauth.cn-beijing.aliyuncs.com",
)
_LONG = 16  # characters of a query's value: signatures, keys and tokens have more; an expiry has not
_OF_A_URL = {Meaning.SUSPECT: Meaning.REFUSED, Meaning.UPSTREAM: Meaning.UNAVAILABLE}
"""A url that cannot be fetched may be called a bad parameter or a broken source: that is the object's way,
and neither our request nor the account, however often it is said."""
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_NO_MEDIA = ComposedRequest(b"", _EMPTY_SHA256, MediaKind.IMAGE, 0)


class AliyunDetector:
    """Asks DeepfakeDetect over a session that somebody else owns and closes.

    An endpoint that is broken is left for the next one; the first is tried again after 5 minutes.
    Made for one account in one event loop; any number of `ask` may run at once.
    """

    provider = Provider.ALIYUN
    action = ACTION
    delivery = Delivery.BASE64

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keys: KeySource,
        endpoints: Sequence[str] = ENDPOINTS,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        """`clock` gives Unix seconds; `nonce` 32 characters that never come again.

        Raises: UsageError: no endpoint, or one that is no https:// address.
        """
        self._session = session
        self._endpoints = Endpoints(endpoints, clock)
        self._timeouts = timeouts
        self._clock, self._nonce = clock, nonce
        self._standing = Standing(Provider.ALIYUN, keys, clock)
        self.simulated = False

    def __repr__(self) -> str:
        return f"<AliyunDetector {self._endpoints!r}, {self._standing!r}>"

    def compose(self, media: PreparedMedia) -> ComposedRequest:
        """The form body, built and hashed once. Raises: Unfit: neither image nor video."""
        query_parameters(media.kind, "")
        body = body_of(media)
        digest = hashlib.sha256(body).hexdigest()
        return ComposedRequest(body, digest, media.kind, len(media.content))

    def compose_url(self, face_url: str, kind: MediaKind) -> ComposedRequest:
        """The request that names a URL the provider fetches by itself, e.g. a presigned one.

        Raises: Unfit: neither image nor video.
        """
        query_parameters(kind, "", face_url)
        return ComposedRequest(b"", _EMPTY_SHA256, kind, 0, Delivery.URL, face_url)

    async def ask(self, request: ComposedRequest, order_no: str) -> Answer:
        """One attempt with a fresh date, nonce and signature. `order_no`: see `new_order_no`.

        Raises: ProviderError: Throttled, Unavailable, Refused or Denied.
        """
        stamp = await self._standing.stamp()
        endpoint = self._endpoints.current()
        reply = await self._send(request, order_no, endpoint, stamp)
        outcome = self._read(reply, endpoint)
        private = _private(request.face_url)
        if isinstance(outcome, Answer):
            self._standing.answered(stamp)
            return replace(outcome, raw=without(outcome.raw, private)) if private else outcome
        if request.face_url:
            outcome = replace(outcome, meaning=_OF_A_URL.get(outcome.meaning, outcome.meaning))
        if outcome.meaning is Meaning.UNAVAILABLE:
            self._endpoints.leave(endpoint)
        date_s = reply.date_s if isinstance(reply, Reply) else None
        raise await self._standing.judge(outcome, stamp, endpoint.url, date_s, private)

    async def probe(self) -> Probe:
        """Check way, key and clock by a signed call without media, which cannot be billed."""
        endpoint = self._endpoints.current()
        order_no = new_order_no(self._clock())
        return await probe(
            self.provider,
            endpoint,
            self._standing,
            lambda stamp: self._send(_NO_MEDIA, order_no, endpoint, stamp),
            lambda reply: self._read(reply, endpoint),
            probe_shows,
            self._clock,
        )

    def _read(self, reply: Reply | Failure, endpoint: Endpoint) -> Answer | Failure:
        if isinstance(reply, Failure):
            return reply
        self.simulated = self.simulated or reply.simulated
        return read_reply(reply, endpoint.url)

    async def _send(
        self, request: ComposedRequest, order_no: str, endpoint: Endpoint, stamp: Stamp
    ) -> Reply | Failure:
        query = canonical_query(query_parameters(request.kind, order_no, request.face_url))
        headers = {
            "host": endpoint.host,
            "content-type": CONTENT_TYPE,
            "x-acs-action": ACTION,
            "x-acs-version": VERSION,
            "x-acs-date": f"{datetime.fromtimestamp(stamp.now_s, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "x-acs-signature-nonce": self._nonce(),
            "x-acs-content-sha256": request.body_sha256,
        }
        if stamp.keys.token:
            headers["x-acs-accesskey-id"] = stamp.keys.id
            headers["x-acs-security-token"] = stamp.keys.token
        headers["Authorization"] = authorization(stamp.keys, headers, query, request.body_sha256)
        return await post(
            self._session,
            endpoint,
            query,
            headers,
            request.body,
            self._timeouts.connect_s,
            self._timeouts.total_s(request.kind),
        )


def _private(face_url: str) -> tuple[str, ...]:
    """What a reply might repeat of a presigned url, whole, in part or escaped: nothing of it is kept."""
    query = urlsplit(face_url).query
    values = [value for pair in query.split("&") if len(value := pair.partition("=")[2]) >= _LONG]
    return tuple(filter(None, (face_url, query, *values, *map(unquote, values))))
