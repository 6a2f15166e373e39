"""What every provider's client promises to the line."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Answer, Delivery, Provider

ORDER_NO_LENGTH = 32  # Aliyun's OuterOrderNo: 32 alphanumeric characters


@dataclass(frozen=True, slots=True)
class ComposedRequest:
    """One question ready to be asked any number of times: only signing is left for each attempt."""

    body: bytes = field(repr=False)
    body_sha256: str  # of `body`, hex: what both providers sign
    kind: MediaKind
    media_size_bytes: int  # of the media, before base64; 0 when it is sent as a URL
    delivery: Delivery = Delivery.BASE64
    face_url: str = field(default="", repr=False)  # Aliyun with delivery by URL; may be presigned


@dataclass(frozen=True, slots=True)
class Probe:
    """What a call without media showed about a provider; `sentence` is for people.

    None stands for "cannot be told": the question behind it was never reached.
    """

    provider: Provider
    endpoint: str
    reachable: bool | None
    key_accepted: bool | None
    clock_skew_s: float | None  # our clock minus the provider's; a reply's Date counts whole seconds
    ready: bool  # everything that can be checked without a billed call is in order
    sentence: str


class Detector(Protocol):
    """A provider's detection API."""

    @property
    def provider(self) -> Provider: ...

    @property
    def action(self) -> str:
        """The API's own name for what is asked, e.g. DetectAIFakeFaces."""
        ...

    @property
    def delivery(self) -> Delivery:
        """How `compose` puts media into a request; one that encrypts takes tens of milliseconds."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether any reply so far came from an emulator."""
        ...

    def compose(self, media: PreparedMedia) -> ComposedRequest:
        """The request for `media`, its body built and hashed once; CPU only.

        Raises: Unfit: the media cannot be put into one request.
        """
        ...

    async def ask(self, request: ComposedRequest, order_no: str) -> Answer:
        """One attempt, signed anew. `order_no` is ours for this attempt; Tencent has no use for it.

        Raises: ProviderError: the subclass says what to do next.
        """
        ...

    async def probe(self) -> Probe:
        """Check way, key and clock by a signed call without media, which cannot be billed."""
        ...


def new_order_no(
    now_s: float, token_hex: Callable[[int], str] = secrets.token_hex, prefix: str = "fs"
) -> str:
    """A fresh merchant's order number: 32 alphanumeric characters that sort by time.

    `prefix`, the UTC time down to milliseconds (17 digits), then random hex digits (52 bits with a prefix of
    two, so that a million calls in one millisecond would still hardly ever share one). `now_s` is Unix time.
    """
    seconds = time.strftime("%Y%m%d%H%M%S", time.gmtime(now_s))
    head = f"{prefix}{seconds}{int(now_s * 1000) % 1000:03d}"
    return (head + token_hex(ORDER_NO_LENGTH // 2))[:ORDER_NO_LENGTH]
