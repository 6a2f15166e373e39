"""Opening: clients, sessions and homes, from what a spec and the usual credential chains give."""

import hashlib
import importlib.metadata
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import oss2.credentials
import oss2.exceptions

from domain.errors import UsageError
from domain.objects import Store
from domain.verdicts import SCHEMA_VERSION, Provider
from tasks.buckets.bucket import Bucket, Location, parse_location
from tasks.buckets.local import LocalBucket
from tasks.buckets.oss import OssBucket
from tasks.buckets.s3 import S3Bucket, new_session
from tasks.media.limits import ALIYUN, TENCENT, TENCENT_ENCRYPTED, ImagePolicy, ProviderLimits
from tasks.providers.aliyun.client import AliyunDetector
from tasks.providers.credentials import aliyun_keys, tencent_keys
from tasks.providers.detector import Detector
from tasks.providers.tencent.client import TencentDetector
from tasks.providers.vocabulary import MAPPING_VERSION
from tasks.records.home import Home
from tasks.settings import (
    Aliyun,
    Spec,
    Tencent,
    environment_with,
    has_proxy,
    quiet_prefect,
    read_spec,
    spare_this_machine,
    state_folder,
    tencent_session_token,
    with_sample,
)
from tasks.units.delivery import check_libraries

__all__ = [
    "Audit",
    "Home",
    "Spec",
    "environment_with",
    "limits_of",
    "open_audit",
    "open_bucket",
    "open_detector",
    "open_home",
    "open_session",
    "quiet_prefect",
    "read_spec",
    "versions",
]


def open_session() -> aiohttp.ClientSession:
    """The one HTTP session of a run: TLS verified, proxies from the environment, no cookies kept.

    The number of connections is bounded by the calls on the way, not here: a call that waited for a
    connection after the lane admitted it would arrive late, beside its successors.
    """
    spare_this_machine()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        # With it aiohttp looks for a .netrc before each request, in a thread: half a call's CPU for nothing
        # where there is no proxy, and a late departure after the lane has let the call go.
        trust_env=has_proxy(),
    )


def open_bucket(
    location: Location,
    endpoint_url: str | None,
    region: str | None,
    http: aiohttp.ClientSession | None = None,
) -> Bucket:
    """The bucket a location is in, with credentials from its store's own chain.

    Raises:
        UsageError: OSS credentials are missing, or the endpoint cannot be one.
    """
    match location.store:
        case Store.LOCAL:
            return LocalBucket(location)
        case Store.S3:
            return S3Bucket(location, new_session(), endpoint_url, region, http)
        case Store.OSS:
            try:
                credentials = oss2.credentials.EnvironmentVariableCredentialsProvider()
            except oss2.exceptions.ClientError:
                raise UsageError(
                    f"{location.url}: no OSS credentials: set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET "
                    "(and OSS_SESSION_TOKEN with temporary keys)"
                ) from None
            return OssBucket(location, credentials, endpoint_url, region, http)


@dataclass(frozen=True, slots=True)
class Audit:
    """A spec and the home it names."""

    spec: Spec
    home: Home


def open_audit(spec_path: Path, sample: int | str | None = None) -> Audit:
    """The audit a spec file describes, of `sample` instead of its own where one is given.

    Raises:
        UsageError: the spec, the sample or the home is wrong; names the file and the key.
    """
    spec = read_spec(spec_path)
    if sample is not None:
        spec = with_sample(spec, sample)
    check_libraries(spec)
    return Audit(spec, open_home(spec.home, spec.audit.home_endpoint_url, spec.audit.home_region))


def open_home(url: str, endpoint_url: str | None = None, region: str | None = None) -> Home:
    """The home at a folder or a bucket url; nothing is written yet.

    Raises:
        UsageError: the url is no place for a home, or its store's credentials are missing.
    """
    location = parse_location(url)
    if location.store is Store.LOCAL:
        return Home.local(Path(location.bucket))
    if location.prefix.strip("/") == "":
        raise UsageError(
            f"{url}: a home needs a prefix of its own in the bucket, such as {url.rstrip('/')}/audits/name"
        )
    location = replace(location, prefix=location.prefix.rstrip("/") + "/")
    workspace = state_folder() / "homes" / hashlib.sha256(location.url.encode()).hexdigest()[:16]
    return Home.in_bucket(open_bucket(location, endpoint_url, region), location.prefix, workspace)


def open_detector(provider: Provider, spec: Spec, session: aiohttp.ClientSession) -> Detector:
    """The client of one provider, with keys from its official chain.

    Raises:
        UsageError: an endpoint is not acceptable.
    """
    match spec.asked[provider]:
        case Tencent() as table:
            keys = tencent_keys(tencent_session_token())
            return TencentDetector(session, keys, table.endpoint, table.region, cipher=table.cipher)
        case Aliyun() as table:
            return AliyunDetector(session, aliyun_keys(), table.endpoints)


def limits_of(provider: Provider, spec: Spec) -> ProviderLimits:
    """What the provider accepts, as documented, and what of its documents the spec wants followed."""
    match spec.asked[provider]:
        case Tencent() as table:
            limits = TENCENT if table.encryption == "none" else TENCENT_ENCRYPTED
            if table.image_base64_bytes is not None:
                most = table.image_base64_bytes
                if limits is TENCENT_ENCRYPTED:
                    most = min(most, TENCENT_ENCRYPTED.video_base64_bytes)
                limits = replace(limits, image_base64_bytes=most)
        case Aliyun() as table:
            limits = ALIYUN
    policy = ImagePolicy(table.images)
    return replace(limits, image_policy=policy, video_segments=table.video_segments)


def versions() -> dict[str, str | int]:
    """What a run was made with, for its record."""
    return {
        "facesweep": importlib.metadata.version("facesweep"),
        "python": platform.python_version(),
        "prefect": importlib.metadata.version("prefect"),
        "schema": SCHEMA_VERSION,
        "mapping": MAPPING_VERSION,
    }
