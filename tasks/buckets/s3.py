"""Amazon S3, and what speaks it."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import boto3
import botocore.session
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from domain.errors import Unreadable, UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets.bucket import Location
from tasks.buckets.fetching import (
    EXPIRES_S,
    RETRY_DELAYS_S,
    bare_etag,
    etag_md5,
    fetch_presigned,
)
from tasks.buckets.refusals import refused, shown_endpoint, unreachable, wrong_dialect

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

# S3 gives no more at once.
PAGE_OBJECTS = 1000

_PERMISSIONS = "s3:ListBucket and s3:GetObject, for a home s3:PutObject too, to compact it s3:DeleteObject"
# What boto3 raises: its own, the store's, its transfers', and what it cannot read as a reply.
_BOTO_ERRORS = (BotoCoreError, ClientError, Boto3Error, ResponseParserError)
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
        self._opening = threading.Lock()
        self._opened: S3Client | None = None

    def list_batches(self) -> Iterator[list[ObjectRef]]:
        """Everything under the prefix, whatever its storage class. Raises: UsageError."""
        for page in self._pages(self._location.prefix):
            if page:
                yield [self._ref(entry) for entry in page]

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

    async def presign(self, ref: ObjectRef, expires_s: int) -> str:
        """A url that GETs the object for `expires_s`.

        Raises: Unreadable: no credentials.  UsageError: the bucket's region cannot be asked for.
        """
        failure: Unreadable
        try:
            if self._may_block():
                return await asyncio.to_thread(self._presign, ref, expires_s)
            return self._presign(ref, expires_s)
        except _BOTO_ERRORS as error:
            failure = Unreadable("NoCredentials", f"no url can be signed: {type(error).__name__}")
        raise failure

    def put_file(self, key: str, path: Path) -> None:
        """Upload the file in one PUT, or in parts that appear together. Raises: UsageError."""
        try:
            self._client.upload_file(str(path), self._location.bucket, key, Config=_ONE_AT_A_TIME)
        except _BOTO_ERRORS as error:
            raise self._said_no(error, f"store {key!r} in") from None

    def get_file(self, key: str, path: Path) -> None:
        """Download the blob beside `path` and rename it. Raises: FileNotFoundError, UsageError."""
        try:
            # boto3 itself downloads to another name and renames
            self._client.download_file(self._location.bucket, key, str(path), Config=_ONE_AT_A_TIME)
        except _BOTO_ERRORS as error:
            if _code(error) in ("404", "NoSuchKey"):
                raise FileNotFoundError(f"s3://{self._location.bucket}/{key}") from None
            raise self._said_no(error, f"read {key!r} of") from None

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size) of every blob whose key starts with `prefix`. Raises: UsageError."""
        for page in self._pages(prefix):
            for entry in page:
                yield entry["Key"], entry["Size"]

    def delete_file(self, key: str) -> None:
        """Delete the blob; where the bucket keeps versions an old one stays. Raises: UsageError."""
        try:
            self._client.delete_object(Bucket=self._location.bucket, Key=key)
        except _BOTO_ERRORS as error:
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
        except _BOTO_ERRORS as error:
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

    def _pages(self, prefix: str) -> Iterator[list["ObjectTypeDef"]]:
        bucket = self._location.bucket
        try:
            # The paginator asks for url-encoded keys and decodes them: XML cannot hold every key.
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(
                Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": self._page_objects}
            ):
                if "IsTruncated" not in page:
                    raise wrong_dialect("S3", "oss://", bucket, self._shown_endpoint)
                yield page.get("Contents", [])
        except _BOTO_ERRORS as error:
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

    def _said_no(self, error: Exception, wish: str) -> UsageError:
        """One sentence of what went wrong, without what boto3's own texts may quote."""
        bucket, endpoint = self._location.bucket, self._shown_endpoint
        match error:
            case NoCredentialsError() | PartialCredentialsError() | CredentialRetrievalError():
                return UsageError(
                    f"no complete credentials to {wish} bucket {bucket} at {endpoint}: set "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
                )
            case ResponseParserError():
                return wrong_dialect("S3", "oss://", bucket, endpoint)
            case HTTPClientError() | BotoConnectionError():
                return unreachable(wish, bucket, endpoint, type(error).__name__)
        code = _code(error) or type(error).__name__
        return refused(code, wish, bucket, endpoint, _PERMISSIONS)

    @property
    def _shown_endpoint(self) -> str:
        return shown_endpoint(self._endpoint_url) if self._endpoint_url else "Amazon S3"


def _code(error: BaseException) -> str:
    """The store's code, also where boto3's transfers have wrapped the reply."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    cause = error.__cause__ or error.__context__
    return _code(cause) if isinstance(error, Boto3Error) and cause is not None else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _utc(modified: str | datetime) -> datetime:
    """A listing's timestamp, raw or parsed."""
    if isinstance(modified, str):
        modified = datetime.fromisoformat(modified)
    return modified.astimezone(UTC) if modified.tzinfo else modified.replace(tzinfo=UTC)
