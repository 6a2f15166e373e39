"""The emulated OSS answers the official client as OSS does, and refuses what OSS refuses."""

import http.client
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import oss2
import pytest
from anyio import to_thread
from oss2.credentials import StaticCredentialsProvider

from emulators.oss import Oss
from tests.contract.store_servers import (
    OSS_KEY_ID,
    OSS_REGION,
    OSS_SECRET,
    STS_KEY_ID,
    STS_SECRET,
    STS_TOKEN,
    RunningOss,
    running_oss,
)

VERSION_1, VERSION_4 = None, OSS_REGION
STRANGE = "a b/é+%2F?c=d&e#f/../~*'(!)//\n\t😀.jpg"

# oss2 asks for the time in a way that Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@pytest.fixture(scope="module")
def oss() -> Iterator[RunningOss]:
    with running_oss() as running:
        yield running


@pytest.fixture(params=[VERSION_1, VERSION_4], ids=["v1", "v4"])
def region(request: pytest.FixtureRequest) -> str | None:
    """Whether requests are signed by version 1 or 4."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def bucket(oss: RunningOss, region: str | None) -> Iterator[Any]:
    """An empty bucket of the test's own, through the official client."""
    client = oss.client(f"b{secrets.token_hex(8)}", region)
    client.create_bucket()
    yield client
    oss.heal()
    oss.set_clock(0)


def client_with(oss: RunningOss, region: str | None, name: str, *keys: str) -> Any:
    sign = oss2.ProviderAuthV4 if region else oss2.ProviderAuth
    return oss2.Bucket(sign(StaticCredentialsProvider(*keys)), oss.url, name, region=region)


def get(url: str, host: str | None = None) -> tuple[int, bytes]:
    """Status and body of a GET without any client of a store."""
    split = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", split.port, timeout=10)
    try:
        connection.request("GET", f"{split.path}?{split.query}", headers={"Host": host or split.netloc})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_an_object_comes_back_as_it_was_put(bucket: Any) -> None:
    put = bucket.put_object(STRANGE, b"face")  # the client checks the CRC-64 of the reply
    got = bucket.get_object(STRANGE)

    assert got.read() == b"face"
    assert got.headers["ETag"] == put.headers["ETag"]
    assert got.headers["x-oss-hash-crc64ecma"] == str(put.crc)
    assert bucket.head_object(STRANGE).content_length == 4


def test_an_etag_is_the_md5_in_capitals_and_quotes(bucket: Any) -> None:
    bucket.put_object("abc", b"abc")

    assert bucket.head_object("abc").headers["ETag"] == '"900150983CD24FB0D6963F7D28E17F72"'


def test_both_listings_hold_every_key_once_in_order(bucket: Any) -> None:
    """Counted, because a client that cannot read a reply may show no keys and no error."""
    keys = sorted([f"n/{number:03}" for number in range(230)] + [STRANGE, "é", "z z"])
    for key in keys:
        bucket.put_object(key, b"x")

    version_2 = [entry.key for entry in oss2.ObjectIteratorV2(bucket, max_keys=100)]
    version_1 = [entry.key for entry in oss2.ObjectIterator(bucket, max_keys=100)]

    assert len(version_2) == 233
    assert version_2 == version_1 == keys


def test_a_listing_knows_prefix_and_delimiter(bucket: Any) -> None:
    for key in ("a/1", "a/2", "a/b/3", "a/c/4", "d"):
        bucket.put_object(key, b"x")

    entries = list(oss2.ObjectIteratorV2(bucket, prefix="a/", delimiter="/", max_keys=1))

    assert [entry.key for entry in entries] == ["a/1", "a/2", "a/b/", "a/c/"]


def test_a_deleted_object_is_gone(bucket: Any) -> None:
    bucket.put_object("x", b"x")
    bucket.delete_object("x")

    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object("x")
    assert list(oss2.ObjectIteratorV2(bucket)) == []


def test_a_bucket_that_does_not_exist_is_named_so(oss: RunningOss, region: str | None) -> None:
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        oss.client("nowhere", region).list_objects_v2()


def test_a_signed_url_needs_no_credentials_until_it_expires(oss: RunningOss, bucket: Any) -> None:
    bucket.put_object(STRANGE, b"face")
    url = bucket.sign_url("GET", STRANGE, 300, params={"response-content-type": "image/jpeg"})

    refused, body = get(url.replace("image%2Fjpeg", "text%2Fhtml"))
    assert (refused, b"SignatureDoesNotMatch" in body) == (403, True)

    url = bucket.sign_url("GET", STRANGE, 300)
    assert get(url) == (200, b"face")
    oss.set_clock(301)
    status, body = get(url)
    assert (status, b"Request has expired" in body) == (403, True)


def test_a_signed_url_is_for_one_object(bucket: Any) -> None:
    bucket.put_object("mine", b"x")
    bucket.put_object("hers", b"x")

    status, body = get(bucket.sign_url("GET", "mine", 300).replace("/mine?", "/hers?"))

    assert (status, b"<Code>SignatureDoesNotMatch</Code>" in body) == (403, True)


def test_a_bucket_may_stand_in_the_host(oss: RunningOss, bucket: Any, region: str | None) -> None:
    """The same signature holds, for it names the bucket whatever the style of the address."""
    bucket.put_object("a/b c", b"face")
    keys = StaticCredentialsProvider(OSS_KEY_ID, OSS_SECRET)
    sign = oss2.ProviderAuthV4 if region else oss2.ProviderAuth
    virtual = oss2.Bucket(
        sign(keys), f"http://oss.localhost:{urlsplit(oss.url).port}", bucket.bucket_name, region=region
    )

    url = virtual.sign_url("GET", "a/b c", 300)

    assert urlsplit(url).hostname == f"{bucket.bucket_name}.oss.localhost"
    assert get(url, host=urlsplit(url).netloc) == (200, b"face")


def test_a_wrong_secret_is_refused(oss: RunningOss, bucket: Any, region: str | None) -> None:
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch):
        oss.client(bucket.bucket_name, region, secret="wrong").list_objects_v2()


def test_an_unknown_key_is_refused(oss: RunningOss, bucket: Any, region: str | None) -> None:
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        client_with(oss, region, bucket.bucket_name, "unknown", "x").list_objects_v2()
    assert (refusal.value.status, refusal.value.code) == (403, "InvalidAccessKeyId")


def test_a_temporary_key_needs_its_token(oss: RunningOss, bucket: Any, region: str | None) -> None:
    bucket.put_object("x", b"face")
    name = bucket.bucket_name
    temporary = client_with(oss, region, name, STS_KEY_ID, STS_SECRET, STS_TOKEN)

    assert temporary.get_object("x").read() == b"face"
    assert len(temporary.list_objects_v2().object_list) == 1
    assert get(temporary.sign_url("GET", "x", 300)) == (200, b"face")
    for token, code in (("", "InvalidAccessKeyId"), ("other", "InvalidSecurityToken")):
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            client_with(oss, region, name, STS_KEY_ID, STS_SECRET, token).list_objects_v2()
        assert refusal.value.code == code


@pytest.mark.parametrize("offset_s", [901, -901])
def test_a_clock_a_quarter_of_an_hour_off_is_refused(oss: RunningOss, bucket: Any, offset_s: int) -> None:
    oss.set_clock(offset_s)

    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.list_objects_v2()
    assert (refusal.value.status, refusal.value.code) == (403, "RequestTimeTooSkewed")


def test_version_4_must_sign_for_the_region(oss: RunningOss) -> None:
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        oss.client("any-bucket", "cn-beijing").list_objects_v2()
    assert (refusal.value.status, refusal.value.code) == (403, "AccessDenied")


def test_a_request_without_a_signature_is_refused(oss: RunningOss) -> None:
    status, body = get(f"{oss.url}/any-bucket/x?a=b")

    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)


def test_what_is_not_emulated_is_refused_and_not_ignored(bucket: Any) -> None:
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.get_bucket_acl()
    assert (refusal.value.status, refusal.value.code) == (501, "NotImplemented")


def test_faults_come_as_ordered_and_end(oss: RunningOss, bucket: Any) -> None:
    bucket.put_object("x", b"0123456789")
    url = bucket.sign_url("GET", "x", 300)

    oss.fault(bucket.bucket_name, "x", "slow_down", times=1)
    assert get(url)[0] == 503
    oss.fault(bucket.bucket_name, "x", "deny", times=1)
    assert get(url)[0] == 403
    oss.fault(bucket.bucket_name, "x", "short", times=1)
    assert get(url) == (200, b"01234")
    oss.fault(bucket.bucket_name, "x", "corrupt", times=1)
    assert get(url) == (200, b"\xcf123456789")
    oss.fault(bucket.bucket_name, "x", "cut", times=1)
    with pytest.raises(http.client.IncompleteRead):
        get(url)
    oss.fault(bucket.bucket_name, "x", "hang_up", times=1)
    with pytest.raises(http.client.RemoteDisconnected):
        get(url)
    assert get(url) == (200, b"0123456789")


def test_a_folder_of_folders_can_be_served_as_buckets(tmp_path: Path) -> None:
    (tmp_path / "selfies" / "2026").mkdir(parents=True)
    (tmp_path / "selfies" / "2026" / "a.jpg").write_bytes(b"face")

    with running_oss("--root", str(tmp_path)) as oss:
        assert oss.client("selfies").get_object("2026/a.jpg").read() == b"face"


@pytest.mark.anyio
async def test_it_starts_and_stops_as_one_of_several_services() -> None:
    service = Oss()
    url = await service.start(0)
    try:
        status, _ = await to_thread.run_sync(get, f"{url}/any-bucket/x")
        assert status == 403
    finally:
        await service.stop()
    with pytest.raises(ConnectionRefusedError):
        await to_thread.run_sync(get, f"{url}/any-bucket/x")
