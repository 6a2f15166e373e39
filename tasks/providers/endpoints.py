"""Where requests go, and where to go next when that place is broken."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from domain.errors import UsageError

RETURN_AFTER_S = 300.0  # ours: long enough for a region to recover, short beside a night's run


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider's address: `url` is scheme and host, `host` is what is signed and sent as Host."""

    url: str
    host: str

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """The endpoint that `text` names, in lower case and without a default port.

        Raises: UsageError: not a plain https:// address. Plain http is for this machine only: faces
        and keys do not travel in the clear.
        """
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        if "@" in text:  # before anything quotes it
            raise UsageError("an endpoint must be scheme and host only, without user or password")
        if not host or parts.scheme not in ("http", "https"):
            raise UsageError(f"endpoint {text!r} is not an address such as https://host")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise UsageError(f"endpoint of host {host!r} must be scheme and host only")
        if parts.scheme == "http" and not _is_loopback(host):
            raise UsageError(f"endpoint {text!r} must be https: only this machine may be asked by http")
        if ":" in host:
            host = f"[{host}]"
        if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
            host = f"{host}:{port}"
        return cls(f"{parts.scheme}://{host}", host)


class Endpoints:
    """The endpoints of one service, the preferred one first.

    A failure moves the next request on to the next endpoint; after 5 minutes the preferred one is
    tried again. Not safe across event loops; made for one detector.
    """

    def __init__(self, endpoints: Sequence[str], clock: Callable[[], float]) -> None:
        """`clock` gives seconds; it only has to move forward.

        Raises: UsageError: no endpoint, or one that `Endpoint.parse` refuses.
        """
        if not endpoints:
            raise UsageError("a provider needs at least one endpoint")
        self._endpoints = [Endpoint.parse(text) for text in endpoints]
        self._clock = clock
        self._at = 0
        self._left_at_s = 0.0

    def __repr__(self) -> str:
        return f"<Endpoints at {self.current().url}, {len(self._endpoints)} in all>"

    def current(self) -> Endpoint:
        """Where the next request goes."""
        if self._at and self._clock() - self._left_at_s >= RETURN_AFTER_S:
            self._at = 0
        return self._endpoints[self._at]

    def leave(self, endpoint: Endpoint) -> None:
        """Go on to the next endpoint, unless somebody has already left `endpoint`."""
        if len(self._endpoints) == 1 or endpoint != self._endpoints[self._at]:
            return
        self._at = (self._at + 1) % len(self._endpoints)
        self._left_at_s = self._clock()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
