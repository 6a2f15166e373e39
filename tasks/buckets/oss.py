"""Alibaba Cloud OSS."""

import asyncio
import logging
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import oss2
from oss2.credentials import (
    CredentialsProvider,
    EnvironmentVariableCredentialsProvider,
    StaticCredentialsProvider,
)

from domain.errors import Unreadable, UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets.bucket import CONNECTIONS, Location
from tasks.buckets.fetching import (
    EXPIRES_S,
    RETRY_DELAYS_S,
    bare_etag,
    fetch_presigned,
    fetch_range_presigned,
)
from tasks.buckets.oss_checksum import stored_crc64
from tasks.buckets.ranges import LISTERS, Page, list_in_ranges
from tasks.buckets.refusals import WHOLE_BUCKET_CODES, refused, shown_endpoint, unreachable, wrong_dialect
from tasks.buckets.whole_file import whole_file

# OSS gives no more at once; its own default is 100.
PAGE_OBJECTS = 1000

T = TypeVar("T")

_PERMISSIONS = (
    "oss:ListObjects and oss:GetObject, for a home oss:PutObject too, to compact it oss:DeleteObject"
)
_PUBLIC_ENDPOINT = re.compile(r"oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com")
_TIMEOUT_S = (5, 60)  # to connect, between two bytes

# oss2 writes strings to sign, with the security token in them, to its debug log.
logging.getLogger("oss2").setLevel(logging.WARNING)


class OssBucket:
    """A bucket of Alibaba Cloud OSS, listed by oss2 and fetched by urls that oss2 signs.

    With a region (given, or read off a public endpoint's name) requests are signed by version 4,
    otherwise by version 1, which cannot sign a key that starts with a question mark. Credentials
    are asked of the provider for every request, so what it renews is used.
    """

    store = Store.OSS

    def __init__(
        self,
        location: Location,
        credentials: CredentialsProvider,
        endpoint_url: str | None = None,
        region: str | None = None,
        http: aiohttp.ClientSession | None = None,  # only `fetch` needs it
        page_objects: int = PAGE_OBJECTS,
        retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S,
        listers: int = LISTERS,
    ) -> None:
        """Raises: UsageError: neither endpoint nor region, or one that cannot be."""
        if location.store is not Store.OSS:
            raise ValueError(f"{location.url} is not in OSS")
        self._location = location
        self._http = http
        self._page_objects = page_objects
        self._retry_delays_s = retry_delays_s
        self._listers = listers
        self._may_block = not isinstance(
            credentials, StaticCredentialsProvider | EnvironmentVariableCredentialsProvider
        )
        region = region.removeprefix("oss-") if region else _region_of(endpoint_url)
        if endpoint_url is None:
            if region is None:
                raise UsageError(f"{location.url} needs a region (like cn-shanghai) or an endpoint_url")
            endpoint_url = f"https://oss-{region}.aliyuncs.com"
        self._shown_endpoint = shown_endpoint(endpoint_url)
        sign = oss2.ProviderAuthV4 if region else oss2.ProviderAuth
        try:
            self._bucket = oss2.Bucket(
                sign(credentials),
                endpoint_url,
                location.bucket,
                session=oss2.Session(pool_size=CONNECTIONS),
                connect_timeout=_TIMEOUT_S,
                region=region,
            )
        except oss2.exceptions.ClientError:
            raise UsageError(
                f"{location.url} at {self._shown_endpoint} cannot be an OSS bucket: an endpoint is "
                "scheme and host, a bucket's name 3 to 63 small letters, digits and hyphens"
            ) from None

    def list_batches(self) -> Iterator[list[ObjectRef]]:
        """Everything under the prefix, whatever its storage class. Raises: UsageError."""
        where = f"bucket {self._location.bucket} at {self._shown_endpoint}"
        return list_in_ranges(self._ref_pages, self._listers, where)

    def look_up(self, key: str, version_id: str | None) -> ObjectRef | None:
        """The object as a listing would give it, or None. Raises: Unreadable, UsageError."""
        self._check_signable(key)
        params = {"versionId": version_id} if version_id else None
        try:
            head = self._attempted(lambda: self._bucket.head_object(key, params=params))
        except oss2.exceptions.OssError as error:
            said = self._spelled_out(error, key, params)
            if said.code in _NO_SUCH_OBJECT:
                return None
            if not 400 <= said.status < 500 or said.code in WHOLE_BUCKET_CODES:
                raise self._said_no(said, "look up an object of") from None
            raise Unreadable(said.code or f"http_{said.status}", "the store does not show it") from None
        if head.content_length is None or head.last_modified is None:
            raise self._not_oss()
        return ObjectRef(
            url=f"oss://{self._location.bucket}/{key}",
            store=Store.OSS,
            bucket=self._location.bucket,
            key=key,
            version_id=version_id,
            etag=bare_etag(head.etag or "") or None,
            size_bytes=head.content_length,
            last_modified=datetime.fromtimestamp(head.last_modified, UTC),
        )

    async def fetch(self, ref: ObjectRef, max_bytes: int) -> bytes:
        """The object's bytes. Raises: Unreadable, Unfit: see `Bucket.fetch`."""
        if self._http is None:
            raise ValueError("this bucket was opened without an HTTP session, for listing only")
        return await fetch_presigned(
            self._http,
            lambda: self.presign(ref, EXPIRES_S),
            ref,
            max_bytes,
            stored_crc64,
            self._retry_delays_s,
        )

    async def fetch_range(self, ref: ObjectRef, start: int, size_bytes: int) -> bytes:
        """A part of the object. Raises: Unreadable: see `Bucket.fetch_range`."""
        if self._http is None:
            raise ValueError("this bucket was opened without an HTTP session, for listing only")
        return await fetch_range_presigned(
            self._http,
            lambda: self.presign(ref, EXPIRES_S),
            ref,
            start,
            size_bytes,
            self._retry_delays_s,
        )

    async def presign(self, ref: ObjectRef, expires_s: int) -> str:
        """A url that GETs the object for `expires_s`.

        Raises: Unreadable: `KeyNotSignable`: oss2 signs no blank key, and by version 1 none that
                starts with a question mark.  `NoCredentials`: the provider gave none.
        """
        self._check_signable(ref.key)
        failure: Unreadable
        try:
            if self._may_block:
                return await asyncio.to_thread(self._presign, ref, expires_s)
            return self._presign(ref, expires_s)
        except Exception as error:  # a provider may be anybody's and raise anything
            failure = Unreadable("NoCredentials", f"no url can be signed: {type(error).__name__}")
        raise failure

    def put_file(self, key: str, path: Path) -> None:
        """Upload the file in one PUT (OSS takes up to 5 GB in one). Raises: UsageError."""
        self._tried(lambda: self._bucket.put_object_from_file(key, str(path)), f"store {key!r} in")

    def get_file(self, key: str, path: Path) -> None:
        """Download the blob beside `path` and rename it. Raises: FileNotFoundError, UsageError."""
        with whole_file(path) as unfinished:
            self._tried(lambda: self._bucket.get_object_to_file(key, str(unfinished)), f"read {key!r} of")

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size) of every blob whose key starts with `prefix`. Raises: UsageError."""
        for page, _ in self._pages(prefix):
            for entry in page:
                yield entry.key, entry.size

    def delete_file(self, key: str) -> None:
        """Delete the blob; where the bucket keeps versions an old one stays. Raises: UsageError."""
        self._tried(lambda: self._bucket.delete_object(key), f"delete {key!r} of")

    def _check_signable(self, key: str) -> None:
        if not key.strip() or (key.startswith("?") and self._bucket.is_verify_object_strict):
            raise Unreadable("KeyNotSignable", "no url can be signed for this key: give the bucket's region")

    def _presign(self, ref: ObjectRef, expires_s: int) -> str:
        params = {"versionId": ref.version_id} if ref.version_id else None
        return str(self._bucket.sign_url("GET", ref.key, expires_s, params=params))

    def _ref_pages(self, start_after: str, most: int | None) -> Iterator[Page]:
        for page, more in self._pages(self._location.prefix, start_after, most):
            yield [self._ref(entry) for entry in page], more

    def _pages(
        self, prefix: str, start_after: str = "", most: int | None = None
    ) -> Iterator[tuple[list[Any], bool]]:
        """Pages of oss2's entries behind a key; ends only where the server says that it was the last."""
        token = ""
        while True:
            page = self._page(prefix, start_after, token, most or self._page_objects)
            yield page.object_list, page.is_truncated
            if not page.is_truncated:
                return
            if page.next_continuation_token in ("", token):
                raise self._not_oss()
            token = page.next_continuation_token

    def _page(self, prefix: str, start_after: str, token: str, most: int) -> Any:
        try:
            page = self._tried(
                lambda: self._bucket.list_objects_v2(prefix, "", token, start_after, max_keys=most), "list"
            )
        except (RuntimeError, ValueError, ET.ParseError):
            # oss2 cannot find OSS's elements: S3 puts them in a namespace, others have none
            raise self._not_oss() from None
        if not page.request_id:
            raise self._not_oss()
        return page

    def _tried(self, call: Callable[[], T], wish: str) -> T:
        """The call's result. Raises: FileNotFoundError, UsageError."""
        try:
            return self._attempted(call)
        except oss2.exceptions.NoSuchKey as error:
            raise FileNotFoundError(f"oss://{self._location.bucket}: {error.code}") from None
        except oss2.exceptions.OssError as error:
            raise self._said_no(error, wish) from None

    def _attempted(self, call: Callable[[], T]) -> T:
        """The call's result, tried again where the failure may pass: oss2 itself never retries."""
        for pause_s in self._retry_delays_s:
            try:
                return call()
            except oss2.exceptions.OssError as error:
                if not isinstance(error, _PASSING) and error.status < 500:
                    raise
            time.sleep(pause_s)
        return call()

    def _spelled_out(self, error: Any, key: str, params: dict[str, str] | None) -> Any:
        """The error with its code: the reply to a HEAD may have no body to tell it in."""
        if error.code or error.status < 400:
            return error
        try:
            self._bucket.get_object(key, byte_range=(0, 0), params=params).close()
        except oss2.exceptions.OssError as spelled_out:
            return spelled_out
        return error

    def _ref(self, entry: Any) -> ObjectRef:
        return ObjectRef(
            url=f"oss://{self._location.bucket}/{entry.key}",
            store=Store.OSS,
            bucket=self._location.bucket,
            key=entry.key,
            version_id=None,
            etag=bare_etag(entry.etag) or None,
            size_bytes=entry.size,
            last_modified=datetime.fromtimestamp(entry.last_modified, UTC),
        )

    def _said_no(self, error: oss2.exceptions.OssError, wish: str) -> UsageError:
        """One sentence of what went wrong; oss2's own texts repeat the key id and what was signed."""
        bucket, endpoint = self._location.bucket, self._shown_endpoint
        if isinstance(error, oss2.exceptions.RequestError):
            return unreachable(wish, bucket, endpoint, type(error.exception).__name__)
        if isinstance(error, oss2.exceptions.InconsistentError):
            return refused("checksum mismatch", wish, bucket, endpoint, _PERMISSIONS)
        if isinstance(error, oss2.exceptions.ClientError):
            return UsageError(
                f"no request to {wish} bucket {bucket} at {endpoint} can be made: set "
                "OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET"
            )
        code = str(error.code or f"HTTP {error.status}")
        return refused(code, wish, bucket, endpoint, _PERMISSIONS)

    def _not_oss(self) -> UsageError:
        return wrong_dialect("OSS", "s3://", self._location.bucket, self._shown_endpoint)


_NO_SUCH_OBJECT = frozenset({"NoSuchKey", "NoSuchVersion"})
_PASSING = (oss2.exceptions.RequestError, oss2.exceptions.InconsistentError)


def _region_of(endpoint_url: str | None) -> str | None:
    """The region a public endpoint of OSS names, or None: `oss-cn-shanghai-internal.aliyuncs.com`.

    Source: www.alibabacloud.com/help/en/oss/user-guide/regions-and-endpoints.
    """
    if endpoint_url is None:
        return None
    host = urlsplit(endpoint_url if "://" in endpoint_url else f"//{endpoint_url}").hostname
    named = _PUBLIC_ENDPOINT.fullmatch(host or "")
    return named[1] if named else None
