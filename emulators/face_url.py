"""Fetching Aliyun's FaceUrl, as the service would: bounded in size and time, from this machine only."""

import ipaddress

import aiohttp
import yarl

SIZE_LIMIT = 10 * 10**6  # bytes; one more is read, so that too large media are seen as such
TIMEOUT_S = 5.0  # the service's own limits are not documented


class NotFetched(Exception):
    """The url gave no media; the sentence names no part of the url."""


class Fetcher:
    """Fetches over one session, opened at the first use. Redirects are not followed."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str) -> bytes:
        """The bytes behind the url, cut at SIZE_LIMIT + 1. Raises NotFetched."""
        try:
            # Escaped as the client wrote it: a signed url must not be re-quoted.
            address = yarl.URL(url, encoded=True)
            host = address.host or ""
        except ValueError:
            raise NotFetched("not a url") from None
        if address.scheme not in ("http", "https") or not _is_local(host):
            raise NotFetched("an emulator fetches http urls on this machine only")
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        try:
            async with self._session.get(address, allow_redirects=False) as response:
                if response.status != 200:
                    raise NotFetched(f"the store answered {response.status}")
                media = bytearray()
                async for chunk in response.content.iter_chunked(1 << 18):
                    media += chunk
                    if len(media) > SIZE_LIMIT:
                        break
                return bytes(media)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NotFetched(type(error).__name__) from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
