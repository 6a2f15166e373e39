"""Delivery by url: the provider fetches the object by a presigned GET; we read a few ranges of it."""

from collections.abc import Callable
from dataclasses import dataclass

from domain.errors import ProviderError
from domain.objects import MediaKind, ObjectRef
from domain.questions import Question
from tasks.buckets.bucket import Bucket
from tasks.buckets.fetching import EXPIRES_S
from tasks.media.glimpse import Glimpse, glimpse
from tasks.media.limits import ProviderLimits
from tasks.providers.detector import ComposedRequest

ADVISED_BYTES = 1_000_000
"""Above this Aliyun advises a url for images; for videos it always does."""

REFUSED_IN_A_ROW = 3
"""So many urls without a verdict, and not for want of a face: the provider cannot reach the store, and is no
longer asked to. A bucket's policy may let in a private network only, and nobody can tell beforehand."""

_ABOUT_THE_FACE = "406"
"""Aliyun's "no face found": it has seen the picture, however that came."""

Compose = Callable[[str, MediaKind], ComposedRequest]
"""(url, kind) to the request that names it."""


@dataclass(slots=True)
class ByUrl:
    """Which objects of a line go by url, and how. Belongs to one event loop."""

    bucket: Bucket
    limits: ProviderLimits  # those of delivery by base64
    compose: Compose
    is_wanted: (
        bool  # the spec says `url`: whatever the provider takes as it is, and no other way after a refusal
    )
    is_given_up: bool = False
    _refused: int = 0

    async def glimpse(self, question: Question) -> Glimpse | None:
        """What was seen of an object that should go by url and can; None for all others.

        Raises: Unreadable: the object cannot be read.
        """
        each = question.object
        is_advised = each.size_bytes > ADVISED_BYTES or question.media is MediaKind.VIDEO
        if self.is_given_up or not (self.is_wanted or is_advised):
            return None

        async def read(start: int, size_bytes: int) -> bytes:
            return await self.bucket.fetch_range(each, start, size_bytes)

        return await glimpse(read, each.size_bytes, self.limits)

    async def request(self, each: ObjectRef, kind: MediaKind) -> ComposedRequest:
        """A request of its own for each call: its url is good for `EXPIRES_S` and was never shown to anybody.

        Raises: Unreadable: no url can be signed.
        """
        url = await self.bucket.presign(each, EXPIRES_S)
        if url is None:
            raise ValueError("nobody else can fetch a local file")
        return self.compose(url, kind)

    def is_worth_sending(self, error: ProviderError) -> bool:
        """Whether an object whose url got no verdict should go by base64 now: the url may be to blame."""
        if self.is_wanted or error.code == _ABOUT_THE_FACE:
            return False
        self._refused += 1
        self.is_given_up = self.is_given_up or self._refused >= REFUSED_IN_A_ROW
        return True

    def arrived(self) -> None:
        """The provider fetched by a url: it can."""
        self._refused = 0
