"""What fetching and listing promise when the store, or the way to it, fails."""

import gzip
import hashlib
import pickle
import re
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from botocore.credentials import RefreshableCredentials
from oss2.credentials import CredentialsProvider

from domain.errors import Unfit, Unreadable, UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets import fetching
from tasks.buckets.bucket import Bucket, parse_location
from tasks.buckets.oss import OssBucket
from tasks.buckets.s3 import S3Bucket, new_session
from tests.contract.store_servers import (
    OSS_REGION,
    RunningOss,
    ScriptedStore,
    oss_credentials,
    running_moto,
    running_oss,
    s3_session,
    scripted_store,
    unused_url,
)

# oss2 asks for the time in a way that Python 3.12 deprecates.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

FACE = b"a face, as stored"
FACE_ETAG = hashlib.md5(FACE).hexdigest()
PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>kyc</Name><Prefix></Prefix>
<KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>
<IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"""
CONTENTS = """<Contents><Key>{key}</Key><LastModified>{modified}</LastModified>
<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-2&quot;</ETag><Size>5</Size>
<StorageClass>{storage}</StorageClass></Contents>"""


@pytest.fixture
def scripted() -> Iterator[ScriptedStore]:
    with scripted_store() as store:
        yield store


@pytest.fixture(scope="module")
def oss() -> Iterator[RunningOss]:
    with running_oss() as running:
        running.client("kyc-bucket").create_bucket()
        yield running


@pytest.fixture
async def http(anyio_backend: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def ref(
    store: Store = Store.S3, etag: str | None = FACE_ETAG, size_bytes: int = 17, **more: Any
) -> ObjectRef:
    bucket = "kyc-bucket"
    named = {"key": "a b/1.jpg", "version_id": None} | more
    url = f"{store}://{bucket}/{named['key']}"
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return ObjectRef(url, store, bucket, named["key"], named["version_id"], etag, size_bytes, now)


def s3(url: str, http: aiohttp.ClientSession | None = None) -> S3Bucket:
    location = parse_location("s3://kyc-bucket")
    return S3Bucket(location, s3_session(), url, region="us-east-1", http=http, retry_delays_s=(0.0, 0.0))


def alibaba(url: str, http: aiohttp.ClientSession | None = None) -> OssBucket:
    location = parse_location("oss://kyc-bucket")
    return OssBucket(location, oss_credentials(), url, OSS_REGION, http, retry_delays_s=(0.0, 0.0))


async def failure_of(bucket: Bucket, wanted: ObjectRef, max_bytes: int = 1000) -> Unreadable:
    """How a fetch ends; whatever else is asserted, it shows nothing of a signed url."""
    with pytest.raises(Unreadable) as caught:
        await bucket.fetch(wanted, max_bytes)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert not re.search(r"signature=|credential=|x-amz|ossaccesskeyid|hunter2|\?", shown, re.IGNORECASE)
    assert pickle.loads(pickle.dumps(caught.value)).code == caught.value.code
    return caught.value


async def test_a_failure_that_passes_is_not_noticed(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    """Two failures of any passing kind are borne, each attempt with a url of its own."""
    scripted.reply(b"<Error><Code>SlowDown</Code></Error>", "503 Slow Down")
    scripted.reply(FACE[:5], ETag=f'"{FACE_ETAG}"', Content_Length="17")
    scripted.reply(FACE, ETag=f'"{FACE_ETAG}"')

    assert await s3(scripted.url, http).fetch(ref(), 1000) == FACE
    assert len(scripted.targets) == 3


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>", "SlowDown"),
        ("500 Oh", b"<Error><Code>InternalError</Code></Error>", "InternalError"),
        ("502 Bad Gateway", b"<html>proxy</html>", "http_502"),
        ("400 Bad", b"<Error><Code>RequestTimeout</Code></Error>", "RequestTimeout"),
    ],
)
async def test_a_failure_that_lasts_is_told_after_three_attempts(
    scripted: ScriptedStore, http: aiohttp.ClientSession, status: str, body: bytes, code: str
) -> None:
    scripted.reply(body, status)

    assert (await failure_of(s3(scripted.url, http), ref())).code == code
    assert len(scripted.targets) == 3


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ("403 Forbidden", "AccessDenied", "Access Denied"),
        ("403 Forbidden", "InvalidObjectState", "The operation is not valid for the object's class"),
        ("404 Not Found", "NoSuchKey", "The specified key does not exist."),
        ("301 Moved Permanently", "PermanentRedirect", "The bucket is elsewhere."),
    ],
)
async def test_what_a_store_refuses_is_told_in_its_words_and_not_asked_again(
    scripted: ScriptedStore, http: aiohttp.ClientSession, status: str, code: str, message: str
) -> None:
    body = (
        f"<Error><Code>{code}</Code><Message>{message}</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>"
    )
    scripted.reply(body.encode(), status, Location="http://127.0.0.1:1/")

    failure = await failure_of(s3(scripted.url, http), ref())

    assert str(failure) == f"{code}: {message}"
    assert len(scripted.targets) == 1


async def test_a_hostile_error_reply_is_read_to_a_bound(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    scripted.reply(b"<" * 3_000_000 + b"<Code>Late</Code>", "404 Not Found")

    assert (await failure_of(s3(scripted.url, http), ref())).code == "http_404"


async def test_an_object_cut_on_the_way_is_unreadable(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    scripted.reply(FACE[:5], ETag=f'"{FACE_ETAG}"', Content_Length="17")

    assert (await failure_of(s3(scripted.url, http), ref())).code == "cut"


async def test_an_object_shorter_than_listed_is_unreadable(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    """Even where the reply's own length agrees with it."""
    scripted.reply(FACE[:5], ETag=f'"{FACE_ETAG}"')

    failure = await failure_of(s3(scripted.url, http), ref())

    assert str(failure) == "cut: 5 of 17 bytes came"


async def test_nothing_beyond_the_limit_is_kept_when_more_comes_than_was_listed(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    scripted.reply(b"x" * 5_000_000)

    with pytest.raises(Unfit, match="too_large"):
        await s3(scripted.url, http).fetch(ref(etag=None), 100)


async def test_a_store_that_does_not_listen_is_told(http: aiohttp.ClientSession) -> None:
    assert (await failure_of(s3(unused_url(), http), ref())).code == "connection"


async def test_a_store_that_does_not_answer_in_time_is_told(
    monkeypatch: pytest.MonkeyPatch, http: aiohttp.ClientSession
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        assert (await failure_of(s3(url, http), ref())).code == "timeout"


async def test_bytes_spoiled_once_are_read_again(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    scripted.reply(b"A" + FACE[1:], ETag=f'"{FACE_ETAG}"')
    scripted.reply(FACE, ETag=f'"{FACE_ETAG}"')

    assert await s3(scripted.url, http).fetch(ref(), 1000) == FACE


async def test_bytes_spoiled_each_time_otherwise_are_unreadable(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    for spoiled in (b"A", b"B", b"C"):
        scripted.reply(spoiled + FACE[1:], ETag=f'"{FACE_ETAG}"')

    assert (await failure_of(s3(scripted.url, http), ref())).code == "corrupt"


async def test_two_equal_readings_are_believed_over_an_etag_that_is_no_md5(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    etag = "0123456789abcdef0123456789abcdef"
    scripted.reply(FACE, ETag=f'"{etag}"')

    assert await s3(scripted.url, http).fetch(ref(etag=etag), 1000) == FACE
    assert len(scripted.targets) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_server_side_encryption": "aws:kms"},
        {"x_amz_server_side_encryption_customer_algorithm": "AES256"},
    ],
)
async def test_the_etag_of_an_object_under_a_key_is_not_taken_for_an_md5(
    scripted: ScriptedStore, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    etag = "0123456789abcdef0123456789abcdef"
    scripted.reply(FACE, ETag=f'"{etag}"', **headers)

    assert await s3(scripted.url, http).fetch(ref(etag=etag), 1000) == FACE
    assert len(scripted.targets) == 1


async def test_an_object_stored_compressed_comes_as_stored(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    packed = gzip.compress(FACE)
    etag = hashlib.md5(packed).hexdigest()
    scripted.reply(packed, ETag=f'"{etag}"', Content_Encoding="gzip")

    assert await s3(scripted.url, http).fetch(ref(etag=etag, size_bytes=len(packed)), 1000) == packed


async def test_a_key_goes_over_the_wire_as_it_was_signed(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    """Neither dots nor slashes nor escapes of a key are normalised on the way."""
    scripted.reply(FACE)

    await s3(scripted.url, http).fetch(ref(etag=None, key="a/../b//c/%2F\n"), 1000)

    assert scripted.targets[0].startswith("/kyc-bucket/a/../b//c/%252F%0A?")


async def test_the_listed_version_is_asked_for(http: aiohttp.ClientSession) -> None:
    """An inventory names versions; the current one may be another."""
    with running_moto() as moto:
        client = moto.client()
        client.create_bucket(Bucket="kyc-bucket")
        client.put_bucket_versioning(Bucket="kyc-bucket", VersioningConfiguration={"Status": "Enabled"})
        first = client.put_object(Bucket="kyc-bucket", Key="a b/1.jpg", Body=FACE)["VersionId"]
        client.put_object(Bucket="kyc-bucket", Key="a b/1.jpg", Body=b"another")

        assert await s3(moto.url, http).fetch(ref(version_id=first), 1000) == FACE


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("deny", "AccessDenied"),
        ("slow_down", "SlowDown"),
        ("cut", "cut"),
        ("short", "cut"),
        ("corrupt", "corrupt"),  # its CRC-64 is a proof: equal readings do not help
        ("hang_up", "connection"),
    ],
)
async def test_what_goes_wrong_in_oss_is_told(
    oss: RunningOss, http: aiohttp.ClientSession, fault: str, code: str
) -> None:
    oss.client("kyc-bucket").put_object("a b/1.jpg", FACE)
    oss.fault("kyc-bucket", "a b/1.jpg", fault)
    try:
        assert (await failure_of(alibaba(oss.url, http), ref(Store.OSS))).code == code
        oss.heal()
        if fault != "deny":
            oss.fault("kyc-bucket", "a b/1.jpg", fault, times=2)
            assert await alibaba(oss.url, http).fetch(ref(Store.OSS), 1000) == FACE
    finally:
        oss.heal()


async def test_a_key_that_cannot_be_signed_is_unreadable(http: aiohttp.ClientSession) -> None:
    version_1 = OssBucket(
        parse_location("oss://kyc-bucket"), oss_credentials(), "http://127.0.0.1:1", http=http
    )

    for key in ("?acl", " "):
        failure = await failure_of(version_1, ref(Store.OSS, key=key))
        assert failure.code == "KeyNotSignable"


async def test_credentials_that_cannot_be_had_show_nothing(http: aiohttp.ClientSession) -> None:
    class Broken(CredentialsProvider):  # type: ignore[misc]
        def get_credentials(self) -> Any:
            raise RuntimeError("secret=hunter2")

    location = parse_location("oss://kyc-bucket")
    bucket = OssBucket(location, Broken(), "http://127.0.0.1:1", OSS_REGION, http)

    failure = await failure_of(bucket, ref(Store.OSS))

    assert str(failure) == "NoCredentials: no url can be signed: RuntimeError"


async def test_credentials_that_expire_are_renewed_away_from_the_event_loop(
    scripted: ScriptedStore, http: aiohttp.ClientSession
) -> None:
    renewals: list[int] = []

    def renew() -> dict[str, str]:
        renewals.append(threading.get_ident())
        return {
            "access_key": f"renewed-{len(renewals)}",
            "secret_key": "x",
            "token": "t",
            "expiry_time": (datetime.now(UTC) + timedelta(hours=6)).isoformat(),
        }

    ended = renew() | {"expiry_time": datetime(2026, 1, 1, tzinfo=UTC).isoformat()}
    session = new_session()
    expiring = RefreshableCredentials.create_from_metadata(ended, renew, "a test")
    session._session._credentials = expiring  # type: ignore[attr-defined]
    location = parse_location("s3://kyc-bucket")
    bucket = S3Bucket(location, session, scripted.url, region="us-east-1", http=http)
    scripted.reply(FACE)

    await bucket.fetch(ref(etag=None), 1000)
    await bucket.fetch(ref(etag=None), 1000)

    assert all("Credential=renewed-2%2F" in target for target in scripted.targets)
    assert len(renewals) == 2  # the test's own and one more
    assert renewals[1] != threading.get_ident()


async def test_without_an_endpoint_a_url_is_the_public_one_of_the_region() -> None:
    amazon = S3Bucket(parse_location("s3://kyc-bucket"), s3_session(), region="eu-west-1")
    shanghai = OssBucket(parse_location("oss://kyc-bucket"), oss_credentials(), region="cn-shanghai")
    named_by_endpoint = OssBucket(
        parse_location("oss://kyc-bucket"),
        oss_credentials(),
        "https://oss-cn-beijing-internal.aliyuncs.com",
    )

    signed = [await bucket.presign(ref(), 60) for bucket in (amazon, shanghai, named_by_endpoint)]

    assert signed[0].startswith("https://kyc-bucket.s3.eu-west-1.amazonaws.com/a%20b/1.jpg?")
    assert signed[1].startswith("https://kyc-bucket.oss-cn-shanghai.aliyuncs.com/a%20b%2F1.jpg?")
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in signed[0]
    assert "cn-shanghai%2Foss%2Faliyun_v4_request" in signed[1]
    assert "cn-beijing%2Foss%2Faliyun_v4_request" in signed[2]


def test_an_oss_bucket_needs_a_region_or_an_endpoint() -> None:
    with pytest.raises(UsageError, match=r"needs a region \(like cn-shanghai\) or an endpoint_url"):
        OssBucket(parse_location("oss://kyc-bucket"), oss_credentials())


def listed(bucket: Bucket) -> list[ObjectRef]:
    return [each for batch in bucket.list_batches() for each in batch]


def test_an_s3_listing_decodes_keys_as_s3_encodes_them(scripted: ScriptedStore) -> None:
    """A space comes as a plus sign, a plus sign as %2B, and what XML cannot hold as its bytes."""
    keys = {"new%0Aline": "new\nline", "a+b": "a b", "a%2Bb": "a+b", "%252F": "%2F", "%C3%A9": "é"}
    contents = "".join(
        CONTENTS.format(key=key, modified="2026-11-20T18:07:12.345Z", storage="DEEP_ARCHIVE") for key in keys
    )
    scripted.reply(PAGE.format(count=5, contents=contents).encode(), Content_Type="application/xml")

    refs = listed(s3(scripted.url))

    assert [each.key for each in refs] == list(keys.values())
    assert refs[0].etag == "d41d8cd98f00b204e9800998ecf8427e-2"
    assert refs[0].last_modified == datetime(2026, 11, 20, 18, 7, 12, 345_000, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"<html><body>Sign in to the hotel</body></html>", b"{}", b""])
def test_a_page_that_is_no_listing_is_an_error_and_not_an_empty_bucket(
    scripted: ScriptedStore, body: bytes
) -> None:
    scripted.reply(body, x_oss_request_id="1")

    with pytest.raises(UsageError, match=r"does not answer as S3 does|failed to list bucket"):
        listed(s3(scripted.url))
    with pytest.raises(UsageError, match="does not answer as OSS does"):
        listed(alibaba(scripted.url))


def test_a_listing_in_the_words_of_s3_is_no_listing_of_oss(scripted: ScriptedStore) -> None:
    scripted.reply(PAGE.format(count=0, contents="").encode(), x_oss_request_id="1")

    with pytest.raises(UsageError, match="does not answer as OSS does"):
        listed(alibaba(scripted.url))


def test_a_listing_without_the_id_that_oss_gives_is_no_listing_of_oss(oss: RunningOss) -> None:
    oss.fault("kyc-bucket", "", "no_request_id", times=1)

    with pytest.raises(UsageError, match="does not answer as OSS does"):
        listed(alibaba(oss.url))


def test_an_oss_listing_bears_a_failure_that_passes(oss: RunningOss) -> None:
    oss.client("kyc-bucket").put_object("a b/1.jpg", FACE)
    oss.fault("kyc-bucket", "", "slow_down", times=1)
    oss.fault("kyc-bucket", "", "hang_up", times=1)

    assert "a b/1.jpg" in [each.key for each in listed(alibaba(oss.url))]
