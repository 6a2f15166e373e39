"""One suite for the three stores: what a bucket promises, whoever keeps it."""

import hashlib
import secrets
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest

from domain.errors import Unfit, Unreadable, UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets.bucket import Bucket, parse_location
from tasks.buckets.local import LocalBucket
from tasks.buckets.oss import OssBucket
from tasks.buckets.s3 import S3Bucket
from tests.contract.store_servers import (
    OSS_REGION,
    Moto,
    RunningOss,
    oss_credentials,
    running_moto,
    running_oss,
    s3_session,
    unused_url,
)

# oss2 asks for the time in a way that Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

STRANGE_KEYS = [
    "caf\u00e9.jpg",
    "cafe\u0301.jpg",  # the same to the eye, another object
    "with space.jpg",
    "trailing space ",
    "100%.jpg",
    "%2F",
    "a%2Fb",
    "a+b",
    "a#b",
    "a?b=c&d",
    "tab\tin",
    "carriage\rreturn",
    "😀/😀.jpg",
    ".hidden",
    "quote\"'",
    "<&>]]>",
    "back\\slash",
    "semi;colon:at@comma,star*(!)~`|^{}[]$=",
    "control\x01",
    "/".join(["k" * 255] * 4),  # 1,023 bytes, the most OSS takes
]
NEWLINE_KEYS = ["new\nline", "\n"]  # moto's router finds no such key; see test_store_faults.py
REMOTE_KEYS = ["a//b", "a/../b", "a/./b", "../up", "a/..", "x/", "x//"]  # no file's name


class Stand(Protocol):
    """A store with an empty bucket of the test's own, filled by other means than the product's."""

    store: Store
    url: str
    strange_keys: list[str]

    def put(self, key: str, content: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def delete_bucket(self) -> None: ...
    def open(
        self, prefix: str = "", http: aiohttp.ClientSession | None = None, page_objects: int = 100
    ) -> Bucket: ...


class LocalStand:
    store = Store.LOCAL

    def __init__(self, folder: Path) -> None:
        self.strange_keys = [*STRANGE_KEYS, *NEWLINE_KEYS]
        self._folder = folder
        self.url = f"file://{folder}/"

    def put(self, key: str, content: bytes) -> None:
        (self._folder / key).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / key).write_bytes(content)

    def delete(self, key: str) -> None:
        (self._folder / key).unlink()

    def delete_bucket(self) -> None:
        self._folder.rmdir()

    def open(
        self, prefix: str = "", http: aiohttp.ClientSession | None = None, page_objects: int = 100
    ) -> Bucket:
        return LocalBucket(parse_location(f"{self._folder}/{prefix}"))


class S3Stand:
    store = Store.S3

    def __init__(self, moto: Moto) -> None:
        self.strange_keys = [*STRANGE_KEYS, *REMOTE_KEYS, "k" * 1024, "//lead", "..", "?acl", " "]
        self._moto, self._bucket = moto, f"b{secrets.token_hex(8)}"
        self.client = moto.client(region="eu-west-1")
        self.client.create_bucket(
            Bucket=self._bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        self.url = f"s3://{self._bucket}/"

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self._bucket, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self._bucket, Key=key)

    def delete_bucket(self) -> None:
        self.client.delete_bucket(Bucket=self._bucket)

    def open(
        self, prefix: str = "", http: aiohttp.ClientSession | None = None, page_objects: int = 100
    ) -> Bucket:
        location = parse_location(self.url + prefix)
        return S3Bucket(
            location, s3_session(), self._moto.url, http=http, page_objects=page_objects, retry_delays_s=()
        )


class OssStand:
    store = Store.OSS

    def __init__(self, oss: RunningOss, region: str | None) -> None:
        self._oss, self._region = oss, region
        self.client = oss.client(f"b{secrets.token_hex(8)}")
        self.client.create_bucket()
        self.url = f"oss://{self.client.bucket_name}/"
        question = ["?acl"] if region else []  # version 1 cannot tell it from a sub-resource
        self.strange_keys = [*STRANGE_KEYS, *NEWLINE_KEYS[:1], *REMOTE_KEYS, *question]

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(key, content)

    def delete(self, key: str) -> None:
        self.client.delete_object(key)

    def delete_bucket(self) -> None:
        self.client.delete_bucket()

    def open(
        self, prefix: str = "", http: aiohttp.ClientSession | None = None, page_objects: int = 100
    ) -> Bucket:
        location = parse_location(self.url + prefix)
        return OssBucket(
            location, oss_credentials(), self._oss.url, self._region, http, page_objects, retry_delays_s=()
        )


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as running:
        yield running


@pytest.fixture(scope="module")
def oss() -> Iterator[RunningOss]:
    with running_oss() as running:
        yield running


REMOTE = ["s3", "oss-v1", "oss-v4"]


@pytest.fixture(params=["local", *REMOTE])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Stand:
    if request.param == "local":
        return LocalStand(tmp_path)
    if request.param == "s3":
        return S3Stand(request.getfixturevalue("moto"))
    region = OSS_REGION if request.param == "oss-v4" else None
    return OssStand(request.getfixturevalue("oss"), region)


@pytest.fixture
async def http(anyio_backend: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def whole_s(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def listed(bucket: Bucket) -> list[ObjectRef]:
    return [ref for batch in bucket.list_batches() for ref in batch]


def test_every_object_is_listed_once_however_many_pages_it_takes(stand: Stand) -> None:
    """Three pages of the remote stores here, three of a thousand of the local one."""
    many = 2500 if stand.store is Store.LOCAL else 250
    keys = [f"selfies/{number // 100}/{number:04}.jpg" for number in range(many)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda key: stand.put(key, b"x"), keys))

    batches = list(stand.open().list_batches())

    assert len(batches) >= 3
    assert sorted(ref.key for batch in batches for ref in batch) == sorted(keys)


@pytest.mark.parametrize("stand", REMOTE, indirect=True)
def test_strange_keys_are_listed_once_by_many_listers(stand: Stand) -> None:
    """Pages of three: every lister gets ranges to list, and every range is cut between odd keys."""
    keys = [*stand.strange_keys, "a", "a/", "a/b", "aa", "a/b/c/d", "a0", "\U0010ffff", "x/\U0010fffe", "zz"]
    keys = sorted({*keys, *(f"a/{number}" for number in range(40))})
    for key in keys:
        stand.put(key, b"x")

    for _ in range(3):
        assert sorted(ref.key for ref in listed(stand.open(page_objects=3))) == keys


@pytest.mark.parametrize("stand", REMOTE, indirect=True)
def test_a_listing_that_is_given_up_leaves_no_lister_behind(stand: Stand) -> None:
    for number in range(60):
        stand.put(f"{number:02}", b"x")

    batches = stand.open(page_objects=2).list_batches()
    assert isinstance(batches, Generator)
    for _ in range(3):
        next(batches)
    batches.close()

    for lister in [each for each in threading.enumerate() if each.name.startswith("lister-")]:
        lister.join(10)
        assert not lister.is_alive()


def test_what_is_looked_up_is_what_a_listing_says(stand: Stand) -> None:
    for number, key in enumerate(stand.strange_keys):
        stand.put(key, b"x" * number)
    bucket = stand.open()
    refs = listed(bucket)

    for ref in refs:
        found = bucket.look_up(ref.key, None)
        assert found is not None
        # the reply to a HEAD has no parts of seconds, which real stores' listings have not either
        exact = ref if stand.store is Store.LOCAL else replace(ref, last_modified=whole_s(ref.last_modified))
        assert found == exact


def test_what_is_not_there_is_looked_up_as_nothing(stand: Stand) -> None:
    stand.put("a/here.jpg", b"face")
    bucket = stand.open()

    for key in ("a/gone.jpg", "a", "a/here.jpg/b", "A/HERE.JPG", "k" * 1000):
        assert bucket.look_up(key, None) is None


@pytest.mark.parametrize("stand", REMOTE, indirect=True)
def test_a_bucket_that_does_not_exist_is_an_error_and_not_an_object_that_is_gone(stand: Stand) -> None:
    bucket = stand.open()
    stand.delete_bucket()

    with pytest.raises(UsageError, match="does not exist"):
        bucket.look_up("a.jpg", None)


def test_an_empty_bucket_lists_nothing(stand: Stand) -> None:
    assert listed(stand.open()) == []


@pytest.mark.anyio
async def test_strange_keys_are_listed_and_fetched_verbatim(
    stand: Stand, http: aiohttp.ClientSession
) -> None:
    for number, key in enumerate(stand.strange_keys):
        stand.put(key, f"{number} {key}".encode())
    bucket = stand.open(http=http)

    refs = {ref.key: ref for ref in listed(bucket)}

    assert sorted(refs) == sorted(stand.strange_keys)
    for number, key in enumerate(stand.strange_keys):
        assert await bucket.fetch(refs[key], 10_000) == f"{number} {key}".encode()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("start", "size_bytes"), [(0, 10), (0, 1000), (500, 500), (999, 1), (990, 100), (1000, 5), (0, 5000)]
)
async def test_a_range_is_that_part_of_the_object_and_ends_where_it_does(
    stand: Stand, http: aiohttp.ClientSession, start: int, size_bytes: int
) -> None:
    content = secrets.token_bytes(1000)
    stand.put("a b.mp4", content)
    bucket = stand.open(http=http)
    (ref,) = listed(bucket)

    assert await bucket.fetch_range(ref, start, size_bytes) == content[start : start + size_bytes]


@pytest.mark.anyio
async def test_a_range_of_an_object_that_changed_or_is_gone_is_none(
    stand: Stand, http: aiohttp.ClientSession
) -> None:
    stand.put("a.mp4", b"x" * 1000)
    bucket = stand.open(http=http)
    (ref,) = listed(bucket)

    stand.put("a.mp4", b"y" * 1001)
    with pytest.raises(Unreadable, match="changed"):
        await bucket.fetch_range(ref, 0, 10)
    stand.delete("a.mp4")
    with pytest.raises(Unreadable, match="NoSuchKey"):
        await bucket.fetch_range(ref, 0, 10)


def test_a_listing_says_what_identifies_an_object(stand: Stand) -> None:
    stand.put("a/é b.jpg", b"face")

    [ref] = listed(stand.open())

    assert (ref.store, ref.key, ref.size_bytes) == (stand.store, "a/é b.jpg", 4)
    assert ref.url == f"{stand.url}a/é b.jpg"
    assert ref.url == f"{stand.url[: stand.url.index('://')]}://{ref.bucket}/{ref.key}"
    assert ref.version_id is None
    assert ref.last_modified.tzinfo is UTC
    assert abs(datetime.now(UTC) - ref.last_modified) < timedelta(minutes=5)
    if stand.store is Store.LOCAL:
        assert ref.etag is None
    else:
        assert ref.etag is not None
        assert ref.etag.lower() == hashlib.md5(b"face").hexdigest()


@pytest.mark.parametrize("stand", REMOTE, indirect=True)
def test_a_prefix_is_the_start_of_keys_and_no_folder(stand: Stand) -> None:
    for key in ("ab/1", "ab/2", "abc", "b", "a b"):
        stand.put(key, b"x")

    assert sorted(ref.key for ref in listed(stand.open("ab"))) == ["ab/1", "ab/2", "abc"]
    assert [ref.key for ref in listed(stand.open("a b"))] == ["a b"]


@pytest.mark.anyio
async def test_an_empty_object_is_fetched_as_no_bytes(stand: Stand, http: aiohttp.ClientSession) -> None:
    stand.put("empty", b"")
    bucket = stand.open(http=http)
    [ref] = listed(bucket)

    assert await bucket.fetch(ref, 10) == b""


@pytest.mark.anyio
async def test_an_object_at_the_limit_is_fetched_and_one_above_it_is_unfit(
    stand: Stand, http: aiohttp.ClientSession
) -> None:
    content = secrets.token_bytes(300_000)
    stand.put("big", content)
    bucket = stand.open(http=http)
    [ref] = listed(bucket)

    assert await bucket.fetch(ref, 300_000) == content
    with pytest.raises(Unfit, match="too_large: 300000 bytes, the limit is 299999"):
        await bucket.fetch(ref, 299_999)


@pytest.mark.anyio
async def test_an_object_that_is_gone_is_unreadable(stand: Stand, http: aiohttp.ClientSession) -> None:
    stand.put("here", b"face")
    bucket = stand.open(http=http)
    [ref] = listed(bucket)
    stand.delete("here")

    with pytest.raises(Unreadable) as failure:
        await bucket.fetch(ref, 10)
    assert failure.value.code == "NoSuchKey"


@pytest.mark.anyio
async def test_an_object_that_changed_since_it_was_listed_is_unreadable(
    stand: Stand, http: aiohttp.ClientSession
) -> None:
    stand.put("here", b"face")
    bucket = stand.open(http=http)
    [ref] = listed(bucket)
    stand.put("here", b"mask")

    with pytest.raises(Unreadable) as failure:
        await bucket.fetch(ref, 10)
    assert failure.value.code == "changed"


def test_blobs_are_put_got_and_listed_whole(stand: Stand, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("blobs")
    (outside / "part").write_bytes(b"PAR1")
    bucket = stand.open()

    bucket.put_file("home/runs/é 1.json", outside / "part")
    bucket.put_file("home/runs/2.json", outside / "part")
    (outside / "part").write_bytes(b"PAR1 PAR1")
    bucket.put_file("home/runs/2.json", outside / "part")
    bucket.get_file("home/runs/2.json", outside / "copy")

    assert (outside / "copy").read_bytes() == b"PAR1 PAR1"
    assert list(bucket.list_keys("home/r")) == [("home/runs/2.json", 9), ("home/runs/é 1.json", 4)]
    assert list(bucket.list_keys("home/x")) == []


def test_a_deleted_blob_is_neither_listed_nor_got_and_may_be_deleted_again(
    stand: Stand, tmp_path_factory: Any
) -> None:
    outside = tmp_path_factory.mktemp("blobs")
    (outside / "part").write_bytes(b"PAR1")
    bucket = stand.open()
    for key in ("home/é 1.json", "home/2.json"):
        bucket.put_file(key, outside / "part")

    for _ in range(2):
        bucket.delete_file("home/é 1.json")
    bucket.delete_file("home/2.json/no folder")

    assert list(bucket.list_keys("home/")) == [("home/2.json", 4)]
    with pytest.raises(FileNotFoundError):
        bucket.get_file("home/é 1.json", outside / "copy")


def test_a_missing_blob_leaves_the_file_it_should_have_replaced(stand: Stand, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("blobs")
    (outside / "copy").write_bytes(b"before")

    with pytest.raises(FileNotFoundError):
        stand.open().get_file("nothing", outside / "copy")

    assert [(path.name, path.read_bytes()) for path in outside.iterdir()] == [("copy", b"before")]


def test_a_bucket_that_does_not_exist_is_an_error_and_not_empty(
    moto: Moto, oss: RunningOss, tmp_path: Path
) -> None:
    s3 = S3Bucket(parse_location("s3://nowhere-1/x"), s3_session(), moto.url)
    alibaba = OssBucket(parse_location("oss://nowhere-1/x"), oss_credentials(), oss.url)
    local = LocalBucket(parse_location(f"{tmp_path}/nowhere-1"))

    for bucket, at in ((s3, moto.url), (alibaba, oss.url)):
        with pytest.raises(UsageError, match=f"nowhere-1 at {at[7:]} does not exist"):
            listed(bucket)
    with pytest.raises(UsageError, match="nowhere-1 is not a folder"):
        listed(local)


def test_credentials_that_are_not_accepted_are_an_error_that_does_not_show_them(
    moto: Moto, oss: RunningOss
) -> None:
    iam = moto.client("iam")
    iam.create_user(UserName="auditor")
    issued = iam.create_access_key(UserName="auditor")["AccessKey"]
    key_id, secret = issued["AccessKeyId"], issued["SecretAccessKey"]
    location = parse_location(S3Stand(moto).url)
    alibaba = OssBucket(parse_location("oss://any-bucket"), oss_credentials("wrong-secret"), oss.url)

    with moto.checking_signatures():
        for keys, said in (
            ((key_id, "wrong-secret"), "SignatureDoesNotMatch"),
            (("AKIAUNKNOWN", "wrong-secret"), "InvalidAccessKeyId"),
            ((key_id, secret), r"may not list bucket .* \(AccessDenied"),
        ):
            bucket = S3Bucket(location, s3_session(*keys), moto.url, region="eu-west-1")
            with pytest.raises(UsageError, match=said) as failure:
                listed(bucket)
            assert not any(text in str(failure.value) for text in keys)
    with pytest.raises(UsageError, match=r"not accepted \(SignatureDoesNotMatch") as failure:
        listed(alibaba)
    assert "test-oss-key" not in str(failure.value)


def test_a_server_that_cannot_be_reached_is_named() -> None:
    url = unused_url()
    s3 = S3Bucket(parse_location("s3://bucket"), s3_session(), url, "us-east-1")
    alibaba = OssBucket(parse_location("oss://bucket"), oss_credentials(), url, retry_delays_s=(0.0,))

    for bucket in (s3, alibaba):
        with pytest.raises(UsageError, match=f"{url[7:]} cannot be reached to list"):
            listed(bucket)


def test_an_oss_listing_of_a_server_that_speaks_s3_is_an_error_and_not_empty(moto: Moto) -> None:
    stand = S3Stand(moto)
    stand.put("here", b"face")
    bucket = OssBucket(parse_location(stand.url.replace("s3://", "oss://")), oss_credentials(), moto.url)

    with pytest.raises(UsageError, match="failed to list bucket"):
        listed(bucket)


def test_an_s3_listing_of_an_oss_is_an_error_and_not_empty(oss: RunningOss) -> None:
    stand = OssStand(oss, OSS_REGION)
    stand.put("here", b"face")
    bucket = S3Bucket(parse_location(stand.url.replace("oss://", "s3://")), s3_session(), oss.url)

    with pytest.raises(UsageError, match="failed to list bucket"):
        listed(bucket)


@pytest.mark.anyio
async def test_a_url_is_signed_for_the_region_the_bucket_says_it_is_in(
    moto: Moto, http: aiohttp.ClientSession
) -> None:
    stand = S3Stand(moto)  # in eu-west-1, and opened without a region
    stand.put("a.jpg", b"face")
    bucket = stand.open(http=http)

    url = await bucket.presign(listed(bucket)[0], 60)

    assert url is not None
    assert "%2Feu-west-1%2Fs3%2Faws4_request" in url


@pytest.mark.anyio
async def test_a_presigned_url_gets_the_object_without_credentials(
    stand: Stand, http: aiohttp.ClientSession
) -> None:
    stand.put("a/b.jpg", b"face")
    bucket = stand.open(http=http)
    [ref] = listed(bucket)

    url = await bucket.presign(ref, 60)

    if stand.store is Store.LOCAL:
        assert url is None
    else:
        assert url is not None
        async with http.get(url) as response:
            assert await response.read() == b"face"
