"""Amazon S3, and what speaks it."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from domain.errors import Unreadable, UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets.bucket import CONNECTIONS, Location
from tasks.buckets.fetching import (
    EXPIRES_S,
    RETRY_DELAYS_S,
    bare_etag,
    etag_md5,
    fetch_presigned,
    fetch_range_presigned,
)
from tasks.buckets.ranges import LISTERS, Page, list_in_ranges
from tasks.buckets.refusals import WHOLE_BUCKET_CODES, shown_endpoint, wrong_dialect
from tasks.buckets.s3_refusals import BOTO_ERRORS, NO_SUCH_OBJECT, code_of, said_no, status_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

# S3 gives no more at once.
PAGE_OBJECTS = 1000

_ONE_AT_A_TIME = TransferConfig(use_threads=False)


def new_session(profile: str | None = None) -> boto3.Session:
    """A boto3 session with the usual chain of credentials whose clients leave timestamps unparsed.

    Parsing dates is 60 % of what boto3 spends on a listing (measured: 36,000 keys/s without, 14,000
    with). An `S3Bucket` on any other session is as right, only slower to list.
    """
    session = botocore.session.Session(profile=profile)
    factory = session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=lambda text: text)
    return boto3.Session(botocore_session=session)


class S3Bucket:
    """A bucket of Amazon S3, or of whatever answers S3's requests at `endpoint_url`.

    Credentials come from the session and are renewed by it. Without a region the bucket's own is
    asked for once, because a signature for another region is refused. A custom endpoint is
    addressed in path style, as local S3 servers need it.
    """

    store = Store.S3

    def __init__(
        self,
        location: Location,
        session: boto3.Session,
        endpoint_url: str | None = None,
        region: str | None = None,
        http: aiohttp.ClientSession | None = None,  # only `fetch` needs it
        page_objects: int = PAGE_OBJECTS,
        retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S,
        listers: int = LISTERS,
    ) -> None:
        if location.store is not Store.S3:
            raise ValueError(f"{location.url} is not in S3")
        self._location = location
        self._session = session
        self._endpoint_url = endpoint_url
        self._region = region
        self._http = http
        self._page_objects = page_objects
        self._retry_delays_s = retry_delays_s
        self._listers = listers
        self._opening = threading.Lock()
        self._opened: S3Client | None = None

    def list_batches(self) -> Iterator[list[ObjectRef]]:
        """Everything under the prefix, whatever its storage class. Raises: UsageError."""
        bucket = self._location.bucket
        # A directory bucket lists in no order and starts where it likes.
        listers = 1 if bucket.endswith("--x-s3") else self._listers
        return list_in_ranges(self._ref_pages, listers, f"bucket {bucket} at {self._shown_endpoint}")

    def look_up(self, key: str, version_id: str | None) -> ObjectRef | None:
        """The object as a listing would give it, or None. Raises: Unreadable, UsageError."""
        named: Any = {"Bucket": self._location.bucket, "Key": key}
        if version_id:
            named["VersionId"] = version_id
        try:
            entry: Any = self._client.head_object(**named)
        except BOTO_ERRORS:
            # The reply to a HEAD has no body: only a GET tells the bucket's fault from the object's.
            self._check_absent(named)
            return None
        entry |= {"Key": key, "Size": entry["ContentLength"]}
        return replace(self._ref(entry), version_id=version_id)

    async def fetch(self, ref: ObjectRef, max_bytes: int) -> bytes:
        """The object's bytes. Raises: Unreadable, Unfit: see `Bucket.fetch`."""
        if self._http is None:
            raise ValueError("this bucket was opened without an HTTP session, for listing only")
        return await fetch_presigned(
            self._http,
            lambda: self.presign(ref, EXPIRES_S),
            ref,
            max_bytes,
            etag_md5,
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

        Raises: Unreadable: no credentials.  UsageError: the bucket's region cannot be asked for.
        """
        failure: Unreadable
        try:
            if self._may_block():
                return await asyncio.to_thread(self._presign, ref, expires_s)
            return self._presign(ref, expires_s)
        except BOTO_ERRORS as error:
            failure = Unreadable("NoCredentials", f"no url can be signed: {type(error).__name__}")
        raise failure

    def put_file(self, key: str, path: Path) -> None:
        """Upload the file in one PUT, or in parts that appear together. Raises: UsageError."""
        try:
            self._client.upload_file(str(path), self._location.bucket, key, Config=_ONE_AT_A_TIME)
        except BOTO_ERRORS as error:
            raise self._said_no(error, f"store {key!r} in") from None

    def get_file(self, key: str, path: Path) -> None:
        """Download the blob beside `path` and rename it. Raises: FileNotFoundError, UsageError."""
        try:
            # boto3 itself downloads to another name and renames
            self._client.download_file(self._location.bucket, key, str(path), Config=_ONE_AT_A_TIME)
        except BOTO_ERRORS as error:
            if code_of(error) in ("404", "NoSuchKey"):
                raise FileNotFoundError(f"s3://{self._location.bucket}/{key}") from None
            raise self._said_no(error, f"read {key!r} of") from None

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size) of every blob whose key starts with `prefix`. Raises: UsageError."""
        for page, _ in self._pages(prefix):
            for entry in page:
                yield entry["Key"], entry["Size"]

    def delete_file(self, key: str) -> None:
        """Delete the blob; where the bucket keeps versions an old one stays. Raises: UsageError."""
        try:
            self._client.delete_object(Bucket=self._location.bucket, Key=key)
        except BOTO_ERRORS as error:
            raise self._said_no(error, f"delete {key!r} of") from None

    @property
    def _client(self) -> "S3Client":
        with self._opening:  # the first fetches come together, and sessions are not thread-safe
            if self._opened is None:
                self._opened = self._new_client(self._region or self._bucket_region())
            return self._opened

    def _new_client(self, region: str | None) -> "S3Client":
        # Left to itself boto3 signs urls for the global endpoint, which redirects to the region's.
        style: Any = {"addressing_style": "path" if self._endpoint_url else "virtual"}
        # Trailing checksums are refused by many servers that speak S3; Amazon's own keep them.
        checksums: Any = "when_required" if self._endpoint_url else "when_supported"
        config = Config(
            signature_version="s3v4",  # presigned urls are of version 2 otherwise
            s3=style,
            retries={"mode": "standard", "total_max_attempts": 5},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=CONNECTIONS,
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
        )
        try:
            return self._session.client(
                "s3", region_name=region, endpoint_url=self._endpoint_url, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise UsageError(
                f"S3 cannot be reached at {self._shown_endpoint}, region {region}: {_first_line(error)}"
            ) from None

    def _bucket_region(self) -> str:
        """The region the bucket says it is in, even where it refuses all else."""
        fallback = self._session.region_name or "us-east-1"
        client = self._new_client(fallback)
        try:
            reply: Any = client.head_bucket(Bucket=self._location.bucket)
        except ClientError as error:
            reply = error.response
        except BOTO_ERRORS as error:
            raise self._said_no(error, "look at") from None
        headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return str(headers.get("x-amz-bucket-region") or fallback)

    def _may_block(self) -> bool:
        """Whether signing now may ask the network: for a region, or for fresh credentials."""
        if self._opened is None:
            return True
        credentials = self._session.get_credentials()
        refresh_needed = getattr(credentials, "refresh_needed", None)
        return bool(refresh_needed and refresh_needed())

    def _presign(self, ref: ObjectRef, expires_s: int) -> str:
        named = {"Bucket": self._location.bucket, "Key": ref.key}
        if ref.version_id:
            named["VersionId"] = ref.version_id
        return self._client.generate_presigned_url("get_object", Params=named, ExpiresIn=expires_s)

    def _ref_pages(self, start_after: str, most: int | None) -> Iterator[Page]:
        for page, more in self._pages(self._location.prefix, start_after, most):
            yield [self._ref(entry) for entry in page], more

    def _pages(
        self, prefix: str, start_after: str = "", most: int | None = None
    ) -> Iterator[tuple[list["ObjectTypeDef"], bool]]:
        """Pages of boto3's entries behind a key, each with whether more follow."""
        bucket = self._location.bucket
        behind: Any = {"StartAfter": start_after} if start_after else {}
        try:
            # The paginator asks for url-encoded keys and decodes them: XML cannot hold every key.
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(
                Bucket=bucket,
                Prefix=prefix,
                PaginationConfig={"PageSize": most or self._page_objects},
                **behind,
            ):
                if "IsTruncated" not in page:
                    raise wrong_dialect("S3", "oss://", bucket, self._shown_endpoint)
                yield page.get("Contents", []), page["IsTruncated"]
        except BOTO_ERRORS as error:
            raise self._said_no(error, "list") from None

    def _ref(self, entry: "ObjectTypeDef") -> ObjectRef:
        key = entry["Key"]
        modified: Any = entry["LastModified"]
        etag = entry.get("ETag")
        return ObjectRef(
            url=f"s3://{self._location.bucket}/{key}",
            store=Store.S3,
            bucket=self._location.bucket,
            key=key,
            version_id=None,
            etag=bare_etag(etag) if etag else None,
            size_bytes=entry["Size"],
            last_modified=_utc(modified),
        )

    def _check_absent(self, named: Any) -> None:
        """Return where there is no such object. Raises: Unreadable, UsageError."""
        try:
            self._client.get_object(**named, Range="bytes=0-0")["Body"].close()
        except BOTO_ERRORS as error:
            code, status = code_of(error), status_of(error)
            if code in NO_SUCH_OBJECT or ("VersionId" in named and status == 400):
                return
            if not 400 <= status < 500 or code in WHOLE_BUCKET_CODES:
                raise self._said_no(error, "look up an object of") from None
            raise Unreadable(code, "the store does not show it to these keys") from None
        raise Unreadable("HeadRefused", "the store gives it, and says nothing about it")

    def _said_no(self, error: Exception, wish: str) -> UsageError:
        return said_no(error, wish, self._location.bucket, self._shown_endpoint)

    @property
    def _shown_endpoint(self) -> str:
        return shown_endpoint(self._endpoint_url) if self._endpoint_url else "Amazon S3"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _utc(modified: str | datetime) -> datetime:
    """A timestamp, parsed or as it came: of a listing, or of a header."""
    if isinstance(modified, str):
        is_header = modified.endswith("GMT")
        modified = parsedate_to_datetime(modified) if is_header else datetime.fromisoformat(modified)
    return modified.astimezone(UTC) if modified.tzinfo else modified.replace(tzinfo=UTC)
