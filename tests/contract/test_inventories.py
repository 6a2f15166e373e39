"""Inventories and real stores: they name what a listing gives, and what they lack is looked up."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Unreadable, UsageError
from domain.objects import ObjectRef, version_of
from tasks.buckets.bucket import Bucket, parse_location
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
)
from tests.inventory_files import (
    OSS_COLUMNS,
    Row,
    csv_part,
    manifest_of,
    parquet_part,
    read,
    refusal,
)

# oss2 asks for the time in a way that Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

KEYS = [
    "selfies/plain.jpg",
    "selfies/with space.jpg",
    "selfies/trailing space ",
    "selfies/a+b.jpg",
    "selfies/100%.jpg",
    "selfies/%2F.jpg",
    "selfies/a?b=c&d#e.jpg",
    "selfies/客户/自拍.jpg",
    "selfies/cafe\u0301.jpg",
    "selfies//double.jpg",
    "selfies/tab\tin.jpg",
    "selfies/quote\"'.jpg",
]
OUTSIDE = "receipts/1.jpg"
MANIFEST = "made/kyc/daily/2026-11-20T01-00Z/manifest.json"
PARTS = {"csv": "made/kyc/daily/data/1 a.csv.gz", "parquet": "made/kyc/daily/data/1.parquet"}

Put = Callable[[str, str, bytes], None]


class Stand:
    """A bucket `kyc` of selfies, and a bucket `inv` for what is written about it."""

    def __init__(self, store: str, open_bucket: Callable[[str], Bucket], put: Put) -> None:
        self.store, self.open, self._put = store, open_bucket, put

    @property
    def source(self) -> str:
        return f"{self.store}://kyc/selfies/"

    def listed(self) -> list[ObjectRef]:
        batches = self.open(self.source).list_batches()
        return sorted((ref for batch in batches for ref in batch), key=lambda ref: ref.key)

    def everything(self) -> list[ObjectRef]:
        return [ref for batch in self.open(f"{self.store}://kyc/").list_batches() for ref in batch]

    def put(self, key: str, content: bytes, bucket: str = "inv") -> None:
        self._put(bucket, key, content)

    def put_inventory(self, rows: list[Row], form: str, **changes: Any) -> str:
        """The url of the manifest."""
        own = OSS_COLUMNS if self.store == "oss" else None
        part = parquet_part(rows) if form == "parquet" else csv_part(rows, *filter(None, [own]))
        if own and form == "csv":
            changes = {"fileSchema": ", ".join(own), "destinationBucket": "inv"} | changes
        self.put(PARTS[form], part)
        self.put(MANIFEST, json.dumps(manifest_of({PARTS[form]: part}, **changes)).encode())
        return f"{self.store}://inv/{MANIFEST}"

    def read(self, url: str, work_dir: Path, **columns: str) -> Any:
        return read(url, self.source, self.open(self.source), self.open(url), work_dir, **columns)

    def refusal(self, url: str, work_dir: Path, **more: Any) -> str:
        more = {"bucket": self.open(self.source), "own_bucket": self.open(url)} | more
        return refusal(url, self.source, work_dir=work_dir, **more)


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as running:
        yield running


@pytest.fixture(scope="module")
def oss() -> Iterator[RunningOss]:
    with running_oss() as running:
        yield running


@pytest.fixture(scope="module")
def s3_stand(moto: Moto) -> Stand:
    client = moto.client()
    for bucket in ("kyc", "inv"):
        client.create_bucket(Bucket=bucket)

    def put(bucket: str, key: str, content: bytes) -> None:
        client.put_object(Bucket=bucket, Key=key, Body=content)

    def open_bucket(url: str) -> Bucket:
        return S3Bucket(parse_location(url), s3_session(), moto.url, retry_delays_s=())

    return filled(Stand("s3", open_bucket, put))


@pytest.fixture(scope="module")
def oss_stand(oss: RunningOss) -> Stand:
    clients = {bucket: oss.client(bucket) for bucket in ("kyc", "inv")}
    for client in clients.values():
        client.create_bucket()

    def put(bucket: str, key: str, content: bytes) -> None:
        clients[bucket].put_object(key, content)

    def open_bucket(url: str) -> Bucket:
        return OssBucket(parse_location(url), oss_credentials(), oss.url, OSS_REGION, retry_delays_s=())

    return filled(Stand("oss", open_bucket, put))


def filled(stand: Stand) -> Stand:
    for number, key in enumerate([*KEYS, OUTSIDE]):
        stand.put(key, b"x" * number, "kyc")
    return stand


@pytest.fixture(params=["s3", "oss"])
def stand(request: pytest.FixtureRequest) -> Stand:
    found: Stand = request.getfixturevalue(f"{request.param}_stand")
    return found


def row_of(ref: ObjectRef) -> Row:
    """As the store's own inventory would write it: times to the second."""
    return Row(
        key=ref.key,
        size=str(ref.size_bytes),
        last_modified=ref.last_modified.replace(microsecond=0),
        etag=ref.etag or "",
    )


def identities(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (row["url"], version_of(row["version_id"], row["etag"], row["size_bytes"], row["last_modified"]))
        for row in rows
    ]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_inventory_names_the_objects_that_a_listing_gives(stand: Stand, tmp_path: Path, form: str) -> None:
    """By url and version, so that what was asked about by the one is not asked about by the other."""
    manifest = stand.put_inventory([row_of(ref) for ref in stand.everything()], form)

    found = stand.read(manifest, tmp_path)

    listed = stand.listed()
    assert [row["key"] for row in found.rows] == sorted(KEYS)
    assert identities(found.rows) == [(ref.url, ref.version) for ref in listed]
    assert [row["size_bytes"] for row in found.rows] == [ref.size_bytes for ref in listed]
    assert (found.totals.left_out, found.totals.looked_up) == ({"outside_prefix": 1}, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["listing"]  # the parts are gone from this disk


def test_an_inventory_of_all_versions_names_the_current_ones(moto: Moto, tmp_path: Path) -> None:
    client = moto.client()
    for bucket in ("kyc-versioned", "inv-versioned"):
        client.create_bucket(Bucket=bucket)
    versioning = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket="kyc-versioned", VersioningConfiguration=versioning)
    for key, contents in {"a.jpg": [b"1", b"22"], "b.jpg": [b"1"], "c.jpg": [b"3"]}.items():
        for content in contents:
            client.put_object(Bucket="kyc-versioned", Key=key, Body=content)
    client.delete_object(Bucket="kyc-versioned", Key="b.jpg")
    told = client.list_object_versions(Bucket="kyc-versioned")
    rows = [
        Row(
            each["Key"],
            "kyc-versioned",
            each["VersionId"],
            each["IsLatest"],
            "ETag" not in each,
            str(each.get("Size", "")),
            each["LastModified"].astimezone(UTC),
            each.get("ETag", "").strip('"'),
        )
        for each in [*told["Versions"], *told["DeleteMarkers"]]
    ]
    part = csv_part(rows)
    changes = {"sourceBucket": "kyc-versioned", "destinationBucket": "arn:aws:s3:::inv-versioned"}
    client.put_object(Bucket="inv-versioned", Key=PARTS["csv"], Body=part)
    manifest = json.dumps(manifest_of({PARTS["csv"]: part}, **changes)).encode()
    client.put_object(Bucket="inv-versioned", Key=MANIFEST, Body=manifest)

    def open_bucket(url: str) -> Bucket:
        return S3Bucket(parse_location(url), s3_session(), moto.url)

    source, url = "s3://kyc-versioned/", f"s3://inv-versioned/{MANIFEST}"
    found = read(url, source, open_bucket(source), open_bucket(url), tmp_path)

    [batch] = open_bucket(source).list_batches()
    assert identities(found.rows) == [(ref.url, ref.version) for ref in batch]
    assert found.keys == ["a.jpg", "c.jpg"]
    assert found.totals.left_out == {"older_version": 2, "delete_marker": 1}


def test_what_a_list_of_names_lacks_is_looked_up(stand: Stand, tmp_path: Path) -> None:
    stand.put("list.txt", "\n".join([f"{stand.store}://kyc/{key}" for key in KEYS]).encode())

    found = stand.read(f"{stand.store}://inv/list.txt", tmp_path)

    assert identities(found.rows) == [(ref.url, ref.version) for ref in stand.listed()]
    assert found.totals.looked_up == len(KEYS)


def test_only_what_lacks_something_is_looked_up(stand: Stand, tmp_path: Path) -> None:
    """What the list says stands: it may mean an object as it was, and the fetch will find out."""
    stand.put(
        "list.csv",
        b"key,size,etag,last_modified,subject_id\n"
        b"selfies/plain.jpg,7,ABC,2026-11-20T12:00:00Z,u-1\n"
        b"selfies/a+b.jpg,,ABC,,u-2\n",
    )

    found = stand.read(f"{stand.store}://inv/list.csv", tmp_path)

    [looked_up, told] = found.rows
    assert found.totals.looked_up == 1
    assert (told["size_bytes"], told["etag"], told["subject_id"]) == (7, "ABC", "u-1")
    assert (looked_up["size_bytes"], looked_up["etag"], looked_up["subject_id"]) == (3, "ABC", "u-2")
    assert abs(looked_up["last_modified"] - datetime.now(UTC)).total_seconds() < 300


def test_more_objects_are_looked_up_than_at_once(stand: Stand, tmp_path: Path) -> None:
    stand.put("list.txt", ("selfies/plain.jpg\n" * 500 + "selfies/never.jpg\n" * 20).encode())

    found = stand.read(f"{stand.store}://inv/list.txt", tmp_path)

    assert found.totals.looked_up == len(found.rows) == 520
    assert found.totals.absent == {"gone": 20}


def test_what_is_gone_and_what_is_denied_are_told_apart(
    oss_stand: Stand, oss: RunningOss, tmp_path: Path
) -> None:
    for method in ("HEAD", "GET"):
        oss.fault("kyc", "selfies/a+b.jpg", "deny", method=method)
    oss_stand.put("list.txt", b"selfies/plain.jpg\nselfies/a+b.jpg\nselfies/never.jpg\n")
    try:
        found = oss_stand.read("oss://inv/list.txt", tmp_path)
    finally:
        oss.heal()

    assert {row["key"]: row["absent"] for row in found.rows} == {
        "selfies/plain.jpg": None,
        "selfies/a+b.jpg": "denied",
        "selfies/never.jpg": "gone",
    }
    assert {row["size_bytes"] for row in found.rows if row["absent"]} == {None}


def test_a_lookup_bears_a_failure_that_passes_and_ends_with_one_that_lasts(
    oss: RunningOss, oss_stand: Stand, tmp_path: Path
) -> None:
    oss_stand.put("list.txt", b"selfies/plain.jpg\n")
    location = parse_location(oss_stand.source)
    patient = OssBucket(location, oss_credentials(), oss.url, OSS_REGION, retry_delays_s=(0.0, 0.0))
    own = oss_stand.open("oss://inv/list.txt")
    try:
        oss.fault("kyc", "selfies/plain.jpg", "slow_down", times=2, method="HEAD")
        found = read("oss://inv/list.txt", oss_stand.source, patient, own, tmp_path)
        oss.fault("kyc", "selfies/plain.jpg", "slow_down", method="HEAD")
        said = oss_stand.refusal("oss://inv/list.txt", tmp_path / "2", bucket=patient)
    finally:
        oss.heal()

    assert [row["absent"] for row in found.rows] == [None]
    assert "failed to look up an object of bucket kyc" in said


def test_one_object_that_is_denied_in_s3_is_unreadable_and_no_end_of_all(moto: Moto, s3_stand: Stand) -> None:
    """A policy that allows some prefixes only. Keys that are not accepted are another matter."""
    iam = moto.client("iam")
    iam.create_user(UserName="looker")
    allowed = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::kyc/selfies/plain*"}
        ],
    }
    iam.put_user_policy(UserName="looker", PolicyName="some", PolicyDocument=json.dumps(allowed))
    issued = iam.create_access_key(UserName="looker")["AccessKey"]

    def opened(secret: str) -> Bucket:
        session = s3_session(issued["AccessKeyId"], secret)
        return S3Bucket(parse_location(s3_stand.source), session, moto.url, "us-east-1")

    with moto.checking_signatures():
        assert opened(issued["SecretAccessKey"]).look_up("selfies/plain.jpg", None) is not None
        with pytest.raises(Unreadable, match="AccessDenied"):
            opened(issued["SecretAccessKey"]).look_up("selfies/a+b.jpg", None)
        with pytest.raises(UsageError, match="not accepted"):
            opened("wrong-secret").look_up("selfies/plain.jpg", None)


def test_a_store_that_shows_nothing_of_a_list_is_an_error(
    oss_stand: Stand, oss: RunningOss, tmp_path: Path
) -> None:
    """Every object denied is no fault of the objects."""
    for method in ("HEAD", "GET"):
        oss.fault("kyc", "selfies/plain.jpg", "deny", method=method)
    oss_stand.put("list.txt", b"selfies/plain.jpg\n")
    try:
        said = oss_stand.refusal("oss://inv/list.txt", tmp_path)
    finally:
        oss.heal()

    assert (
        said
        == "oss://kyc/selfies/ shows these keys no object of oss://inv/list.txt: allow them to read objects"
    )


def test_a_part_that_is_not_there_is_named(stand: Stand, tmp_path: Path) -> None:
    manifest = stand.put_inventory([Row("selfies/a.jpg")], "csv", files=[{"key": "made/never.csv.gz"}])

    assert stand.refusal(manifest, tmp_path) == (
        f"there is no object {stand.store}://inv/made/never.csv.gz: check source.inventory"
    )


def test_a_part_of_another_size_is_not_fetched(stand: Stand, tmp_path: Path) -> None:
    files = [{"key": PARTS["csv"], "size": 1}]
    manifest = stand.put_inventory([Row("selfies/a.jpg")], "csv", files=files)

    assert "and not the 1 of its manifest: use a newer inventory" in stand.refusal(manifest, tmp_path)


def test_a_manifest_that_points_out_of_its_bucket_is_refused(stand: Stand, tmp_path: Path) -> None:
    """Its parts are fetched with keys that may read more than whoever wrote it may."""
    manifest = stand.put_inventory([Row("selfies/a.jpg")], "csv", destinationBucket="arn:aws:s3:::payroll")

    assert "says that it is in bucket 'payroll'" in stand.refusal(manifest, tmp_path)


def test_an_inventory_that_is_not_there_is_named(stand: Stand, tmp_path: Path) -> None:
    url = f"{stand.store}://inv/never/manifest.json"

    assert stand.refusal(url, tmp_path) == f"there is no object {url}: check source.inventory"


def test_an_inventory_in_a_bucket_that_is_not_there_is_named(stand: Stand, tmp_path: Path) -> None:
    assert "bucket nowhere-1" in stand.refusal(f"{stand.store}://nowhere-1/list.txt", tmp_path)
