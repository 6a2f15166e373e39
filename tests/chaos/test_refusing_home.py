"""A home in a bucket that takes nothing for a while: answers stay in the journal until it does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import UsageError
from domain.runs import Progress, RunStatus
from tasks.buckets.bucket import parse_location
from tasks.buckets.s3 import S3Bucket
from tasks.records import run_record
from tasks.records.home import Home, HomeUnwritable
from tasks.settings import Spec
from tasks.units import draft, stages
from tasks.units.lifetime import open_run
from tasks.units.opening import open_home
from tasks.units.run import OpenRun
from tasks.units.watching import watching
from tests.chaos.world import face_of
from tests.contract.emulator_process import RunningEmulators
from tests.contract.store_servers import (
    OSS_KEY_ID,
    OSS_REGION,
    OSS_SECRET,
    RunningOss,
    running_oss,
    s3_session,
    scripted_store,
)
from tests.flows import verdict_rows
from tests.flows.faces import emulated
from tests.flows.facesweep_process import KEYS

# oss2 asks for the time in a way that Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

OBJECTS = 40
RUN = "r1"


@pytest.fixture(scope="module")
def emulators() -> Iterator[RunningEmulators]:
    with emulated() as running:
        yield running


@pytest.fixture(scope="module")
def store() -> Iterator[RunningOss]:
    with running_oss() as running:
        running.client("audits").create_bucket()
        yield running


@pytest.fixture
def spec(
    tmp_path: Path, store: RunningOss, emulators: RunningEmulators, monkeypatch: pytest.MonkeyPatch
) -> Spec:
    """Two shards of 20, whose home is under a prefix of its own."""
    for name, value in {**KEYS, "OSS_ACCESS_KEY_ID": OSS_KEY_ID, "OSS_ACCESS_KEY_SECRET": OSS_SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FACESWEEP_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(stages, "SHARD_S", 0.1)
    monkeypatch.setattr(stages, "LEAST_SHARD", 20)
    store.heal()
    emulators.control("tencent", "POST", "script", [])
    (tmp_path / "source").mkdir()
    for number in range(OBJECTS):
        (tmp_path / "source" / f"{number:03}.jpg").write_bytes(face_of(number))
    return Spec.model_validate(
        {
            "audit": {"name": "kyc", "home": f"oss://audits/{tmp_path.name}"},
            "source": {"url": str(tmp_path / "source")},
            "providers": {"tencent": {"qps": 200, "endpoint": emulators.tencent_url}},
        }
    )


@pytest.fixture
def home(spec: Spec, store: RunningOss) -> Home:
    return open_home(spec.audit.home or "", store.url, OSS_REGION)


def prefix_of(spec: Spec) -> str:
    return parse_location(spec.home).prefix.strip("/") + "/"


async def begin(home: Home, spec: Spec) -> None:
    async with draft.draft_audit(home, spec, RUN) as drafted:
        draft.adopt(drafted)


async def work(home: Home) -> None:
    async with open_run(home, RUN) as run:
        await run.detect(OpenRun.detect_shard)
        await run.finish()


def questions(home: Home) -> list[str]:
    return [row["question_id"] for row in verdict_rows.rows(home.root)]


@pytest.mark.anyio
async def test_a_run_is_not_begun_where_its_record_is_refused(
    home: Home, spec: Spec, store: RunningOss
) -> None:
    """Nothing was asked, and the same id can be used once the bucket takes it."""
    store.refuse("audits", f"{prefix_of(spec)}runs/", "deny")
    with pytest.raises(
        HomeUnwritable, match=rf"may not store '{prefix_of(spec)}runs/r1\.json'.*AccessDenied"
    ):
        await begin(home, spec)
    store.heal()
    await begin(home, spec)
    assert run_record.load(home, RUN).status is RunStatus.PLANNED


@pytest.mark.anyio
async def test_a_run_goes_on_while_its_home_refuses_and_publishes_once_it_does_not(
    home: Home, spec: Spec, store: RunningOss, emulators: RunningEmulators
) -> None:
    """The first shard's part is refused; the next one's end publishes both, and somebody was told."""
    await begin(home, spec)
    store.refuse("audits", f"{prefix_of(spec)}verdicts/", "deny", times=1)
    told: list[Progress] = []
    with watching(told.append):
        await work(home)

    assert run_record.load(home, RUN).status is RunStatus.DONE
    assert len(questions(home)) == len(set(questions(home))) == OBJECTS
    troubles = {each.trouble for each in told if each.trouble}
    assert any("may not store" in each and "verdicts/" in each for each in troubles)
    assert told[-1].trouble is None


@pytest.mark.anyio
async def test_what_a_home_refuses_to_the_end_is_published_by_resume(
    home: Home, spec: Spec, store: RunningOss, emulators: RunningEmulators
) -> None:
    """Every answer was journaled: not one call is made again, and the sentence names what was refused."""
    before = len(emulators.calls("tencent"))
    await begin(home, spec)
    store.refuse("audits", f"{prefix_of(spec)}verdicts/", "deny")
    for _ in range(2):
        with pytest.raises(HomeUnwritable, match=r"may not store '.*/part-00001\.parquet'"):
            await work(home)
        assert questions(home) == []
    asked = len(emulators.calls("tencent")) - before
    assert run_record.load(home, RUN).status is RunStatus.BROKEN

    store.heal()
    await work(home)
    assert len(emulators.calls("tencent")) - before == asked
    assert len(questions(home)) == len(set(questions(home))) == OBJECTS
    assert {row["billed"] for row in verdict_rows.rows(home.root)} == {"yes", "no"}


@pytest.mark.anyio
async def test_a_home_that_cannot_even_be_listed_does_not_end_a_run_that_asks(
    home: Home, spec: Spec, store: RunningOss
) -> None:
    """Before a part is numbered the home is asked which there are; that may be refused as well."""
    await begin(home, spec)
    async with open_run(home, RUN) as run:
        store.fault("audits", "", "deny", times=1)
        await run.detect(OpenRun.detect_shard)
        await run.finish()
    assert len(questions(home)) == OBJECTS


def test_an_s3_bucket_that_refuses_is_named_with_the_file(tmp_path: Path) -> None:
    with scripted_store() as scripted:
        scripted.reply(b"<Error><Code>AccessDenied</Code></Error>", "403 Forbidden")
        location = parse_location("s3://audits/kyc/")
        bucket = S3Bucket(location, s3_session(), scripted.url, "us-east-1")
        home = Home.in_bucket(bucket, "kyc", tmp_path)
        with pytest.raises(HomeUnwritable, match=r"may not store 'kyc/runs/r1\.json' in bucket audits"):
            home.write_json("runs/r1.json", {})
    assert not home.path("runs/r1.json").exists()


def test_no_other_refusal_is_an_unwritable_home(home: Home, store: RunningOss) -> None:
    store.fault("audits", "", "deny", times=1)
    with pytest.raises(UsageError) as refused:
        home.names("verdicts")
    assert not isinstance(refused.value, HomeUnwritable)
