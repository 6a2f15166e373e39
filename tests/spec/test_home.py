"""The home: files appear whole or not at all, in a folder and in a bucket."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError

from domain.errors import UsageError
from tasks.records.home import Home, HomeUnwritable
from tests.spec.test_journal import RUN, child

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Blobs:
    """A bucket of a real S3 server."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client, self._bucket = client, bucket
        self.fetched: list[str] = []

    def put_file(self, key: str, path: Path) -> None:
        self._client.upload_file(str(path), self._bucket, key)

    def get_file(self, key: str, path: Path) -> None:
        self.fetched.append(key)
        try:
            self._client.download_file(self._bucket, key, str(path))
        except ClientError:
            raise FileNotFoundError(key) from None

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for each in page.get("Contents", []):
                yield each["Key"], each["Size"]

    def delete_file(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Client"]:
    """A client of a moto server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=out,
            stderr=out,
        )
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    try:
        _wait_for(endpoint)
        yield client
    finally:
        client.close()
        server.kill()
        server.wait()


def _wait_for(endpoint: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(endpoint)


@pytest.fixture
def blobs(s3: "S3Client", request: pytest.FixtureRequest) -> S3Blobs:
    bucket = f"b{abs(hash(request.node.name))}"
    s3.create_bucket(Bucket=bucket)
    return S3Blobs(s3, bucket)


@pytest.fixture(params=["folder", "bucket"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Both kinds of home keep the same promises."""
    if request.param == "folder":
        return Home.local(tmp_path / "home")
    return Home.in_bucket(request.getfixturevalue("blobs"), "audits/kyc", tmp_path / "workspace")


def put(home: Home, relative: str, text: str) -> Path:
    with home.staging() as folder:
        (folder / "staged").write_text(text)
        return home.adopt(folder / "staged", relative)


def test_an_adopted_file_lies_where_it_was_wanted(home: Home) -> None:
    path = put(home, "reports/r1/report.html", "hello")
    assert path == home.path("reports/r1/report.html")
    assert path.read_text() == "hello"
    assert home.names("reports") == ["reports/r1/report.html"]


def test_a_later_file_replaces_an_earlier_one(home: Home) -> None:
    put(home, "reports/r1/report.html", "old")
    assert put(home, "reports/r1/report.html", "new").read_text() == "new"


def test_a_folder_is_adopted_with_all_it_holds(home: Home) -> None:
    with home.staging() as folder:
        for name in ("provider=tencent/shard-00001.parquet", "skipped-00001.parquet"):
            (folder / "plan" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "plan" / name).write_text(name)
        home.adopt(folder / "plan", "plans/run=r1")
    assert home.names("plans") == [
        "plans/run=r1/provider=tencent/shard-00001.parquet",
        "plans/run=r1/skipped-00001.parquet",
    ]


def test_an_adopted_folder_never_replaces_another(home: Home) -> None:
    put(home, "plans/run=r1/kept", "kept")
    with home.staging() as folder:
        (folder / "plan").mkdir()
        with pytest.raises(HomeUnwritable, match="plans/run=r1 exists already"):
            home.adopt(folder / "plan", "plans/run=r1")
    assert home.names("plans") == ["plans/run=r1/kept"]


def test_what_is_removed_is_gone_with_the_folder_it_leaves_empty(home: Home) -> None:
    """Removing twice is no error: a process that was killed in between does it again."""
    for name in ("run=r1/part-00001.parquet", "run=r1/part-00002.parquet", "run=r2/part-00001.parquet"):
        put(home, f"verdicts/{name}", name)
    for _ in range(2):
        home.remove(["verdicts/run=r1/part-00001.parquet", "verdicts/run=r2/part-00001.parquet"])
    assert home.names("verdicts") == ["verdicts/run=r1/part-00002.parquet"]
    assert home.paths("verdicts/**/*") == [home.path("verdicts/run=r1/part-00002.parquet")]
    assert not home.path("verdicts/run=r2").exists()


def test_a_document_that_may_be_missing_is_none_until_it_is_there(home: Home) -> None:
    assert home.find_json("verdicts/_compaction.json") is None
    home.write_json("verdicts/_compaction.json", {"state": "over"})
    assert home.find_json("verdicts/_compaction.json") == {"state": "over"}


def test_what_is_staged_is_seen_by_nobody_and_gone_afterwards(home: Home) -> None:
    with home.staging() as folder:
        (folder / "part-00001.parquet").write_text("half")
        assert home.paths("**/*.parquet") == []
        assert home.names("verdicts") == []
    assert not folder.exists()


def test_json_comes_back_as_it_was_written(home: Home) -> None:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    home.write_json("runs/r1.json", {"name": "夜间", "at": moment})
    assert home.read_json("runs/r1.json") == {"name": "夜间", "at": "2026-11-20T00:00:00+00:00"}


def test_a_missing_document_is_named(home: Home) -> None:
    with pytest.raises(UsageError, match=r"no runs/r1\.json"):
        home.read_json("runs/r1.json")


def test_a_damaged_document_is_named(home: Home) -> None:
    put(home, "runs/r1.json", "{")
    with pytest.raises(UsageError, match=r"runs/r1\.json cannot be read"):
        home.read_json("runs/r1.json")


@pytest.mark.parametrize(
    "relative", ["", ".", "..", "../x", "a/../../x", "/etc/passwd", ".journal/x", "a/.b", "a\x00b"]
)
def test_no_path_leaves_the_home_or_enters_its_workshop(home: Home, relative: str) -> None:
    with home.staging() as folder:
        (folder / "staged").write_text("x")
        with pytest.raises(UsageError, match="not a path inside a home"):
            home.adopt(folder / "staged", relative)


def test_the_journal_stays_on_this_machine_and_out_of_the_readers_sight(home: Home) -> None:
    path = home.journal_path(RUN)
    path.parent.mkdir(parents=True)
    path.write_text("x")
    assert home.paths("**/*") == []
    assert home.names("runs") == []
    with pytest.raises(UsageError, match="not a run id"):
        home.journal_path("../x")


def test_another_machine_sees_what_was_adopted(blobs: S3Blobs, tmp_path: Path) -> None:
    """Parts are fetched once; documents, which change, are fetched each time."""
    one = Home.in_bucket(blobs, "audits/kyc", tmp_path / "one")
    two = Home.in_bucket(blobs, "audits/kyc/", tmp_path / "two")
    put(one, "verdicts/provider=tencent/run=r1/part-00001.parquet", "rows")
    put(one, "verdicts-old/part-00001.parquet", "not asked for")
    one.write_json("runs/r1.json", {"status": "running"})

    for _ in range(2):
        two.refresh("verdicts")
    assert [path.read_text() for path in two.paths("**/*.parquet")] == ["rows"]
    assert blobs.fetched == ["audits/kyc/verdicts/provider=tencent/run=r1/part-00001.parquet"]

    assert two.read_json("runs/r1.json") == {"status": "running"}
    one.write_json("runs/r1.json", {"status": "stopped"})
    assert two.read_json("runs/r1.json") == {"status": "stopped"}


def test_a_mirror_gives_up_what_another_machine_removed(blobs: S3Blobs, tmp_path: Path) -> None:
    """Under the prefix that is refreshed, and nothing else."""
    one = Home.in_bucket(blobs, "audits/kyc", tmp_path / "one")
    two = Home.in_bucket(blobs, "audits/kyc", tmp_path / "two")
    for number in (1, 2):
        put(one, f"verdicts/run=r1/part-0000{number}.parquet", "rows")
    put(one, "reports/r1/report.html", "elsewhere")
    two.refresh("verdicts")
    two.refresh("reports")
    one.remove(["verdicts/run=r1/part-00001.parquet", "reports/r1/report.html"])

    two.refresh("verdicts")

    assert two.paths("verdicts/**/*") == [two.path("verdicts/run=r1/part-00002.parquet")]
    assert two.paths("reports/**/*") == [two.path("reports/r1/report.html")]


def test_foreign_objects_under_the_prefix_are_left_alone(
    blobs: S3Blobs, s3: "S3Client", tmp_path: Path
) -> None:
    home = Home.in_bucket(blobs, "kyc", tmp_path / "workspace")
    for key in ("kyc/verdicts/../../../escaped", "kyc/verdicts/.hidden", "kyc/verdicts/fine"):
        s3.put_object(Bucket=blobs._bucket, Key=key, Body=b"x")
    home.refresh("verdicts")
    assert [path.name for path in home.paths("**/*")] == ["fine"]
    assert not (tmp_path / "escaped").exists()


def stage_and_die(root: str) -> None:
    with Home.local(Path(root)).staging() as folder:
        (folder / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_staged_is_cleared_away(tmp_path: Path) -> None:
    """And what a living one stages is not."""
    home = Home.local(tmp_path)
    with home.staging() as alive:
        with child("tests.spec.test_home.stage_and_die", tmp_path) as process:
            pass
        assert process.returncode == -signal.SIGKILL
        assert len(list((tmp_path / ".staging").iterdir())) == 2
        with home.staging() as folder:
            assert set((tmp_path / ".staging").iterdir()) == {alive, folder}


def write_beyond_the_disk(root: str) -> None:
    home = Home.local(Path(root))
    home.write_json("runs/r1.json", {"old": True})
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        home.write_json("runs/r1.json", {"long": "x" * 50_000})
    except HomeUnwritable as error:
        os.write(1, json.dumps(str(error)).encode())


def test_a_full_disk_is_named_and_leaves_the_old_document(tmp_path: Path) -> None:
    with child("tests.spec.test_home.write_beyond_the_disk", tmp_path) as process:
        assert process.stdout is not None
        sentence = json.loads(process.stdout.read())
    assert sentence == f"{tmp_path}/runs/r1.json cannot be written: File too large"
    assert Home.local(tmp_path).read_json("runs/r1.json") == {"old": True}
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HomeUnwritable, match=f"{tmp_path}/file/.staging cannot be written"):
        Home.local(tmp_path / "file").write_json("runs/r1.json", {})


def test_looking_at_a_home_makes_nothing(tmp_path: Path) -> None:
    home = Home.local(tmp_path / "absent")
    assert home.paths("**/*") == []
    assert home.names("runs") == []
    assert not (tmp_path / "absent").exists()
