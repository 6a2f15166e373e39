"""Whether a provider can fetch from a store by itself: what a presigned url is good for."""

import ipaddress
from urllib.parse import urlsplit

from domain.objects import Store
from tasks.buckets.bucket import parse_location
from tasks.settings.spec import Aliyun, Source


def no_url_for(source: Source, aliyun: Aliyun) -> str | None:
    """Why Aliyun cannot fetch the source's objects by a url, as half a sentence; None where it can.

    Only what an address says is judged. Whether a bucket's policy lets Aliyun in shows with the first call.
    A provider on this machine is an emulator, which fetches from this machine and from nowhere else.
    """
    if parse_location(source.url).store is Store.LOCAL:
        return "nobody else can fetch the files of a folder"
    is_emulator = all(_is_loopback(_host(endpoint)) for endpoint in aliyun.endpoints)
    if source.endpoint_url is None:
        return "an emulator fetches from this machine only" if is_emulator else None
    host = _host(source.endpoint_url)
    if is_emulator:
        return None if _is_loopback(host) else "an emulator fetches from this machine only"
    if urlsplit(source.endpoint_url).scheme != "https":
        return "source.endpoint_url is not https, and faces do not travel in the clear"
    if _is_private(host):
        return f"source.endpoint_url {host} is an address Aliyun cannot reach"
    return None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private(host: str) -> bool:
    """An address of a private network, a name without a domain, or OSS's own internal names."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        is_internal_oss = host.endswith(".aliyuncs.com") and "-internal." in host
        return is_internal_oss or "." not in host or host.endswith((".local", ".internal", ".lan"))
