"""What a home says of a backfill: the records of its shards, and what people want of it."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.errors import UsageError
from domain.runs import Balance, RunKind, ShardStatus, Wanted
from domain.verdicts import Billed, Outcome, Provider
from tasks.records import control, run_record, shard_record
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.records.run_record import ProviderBooks
from tasks.records.shard_record import ShardRecord
from tests.spec.test_books import a_record
from tests.spec.test_journal import RUN
from tests.spec.test_parts import FolderBlobs

MOMENT = datetime(2026, 11, 20, 18, 7, 12, tzinfo=UTC)


def a_shard(number: int = 12, **changes: object) -> ShardRecord:
    record = ShardRecord(
        run_id=RUN,
        provider=Provider.TENCENT,
        number=number,
        status=ShardStatus.WORKING,
        attempt=2,
        worker="process 4711 on audit-1",
        started_at=MOMENT,
        updated_at=MOMENT,
        books=ProviderBooks(
            Balance(Provider.TENCENT, 3000, {}, 3000, {Outcome.SCORED: 900, Outcome.FAILED: 3}),
            calls=910,
            charged=905,
            throttled=4,
            billed={Billed.YES: 900, Billed.UNKNOWN: 3},
            cost=905.0,
            cap_per_s=5,
            rate_per_s=1.9,
        ),
        share_per_s=2,
        simulated=True,
    )
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


def test_a_shards_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    path = shard_record.save(home, a_shard())
    assert path == tmp_path / "runs" / RUN / "shards" / "tencent-00012.json"
    assert shard_record.load(home, RUN, Provider.TENCENT, 12) == a_shard()
    assert shard_record.load(home, RUN, Provider.ALIYUN, 12) is None


def test_a_shards_record_is_json_with_its_whole_balance(tmp_path: Path) -> None:
    document = json.loads(shard_record.save(Home.local(tmp_path), a_shard()).read_text())
    assert (document["status"], document["attempt"], document["share_per_s"]) == ("working", 2, 2)
    assert document["started_at"] == "2026-11-20T18:07:12+00:00"
    assert document["books"]["asked"] == 3000
    assert document["books"]["pending"] == 2097
    assert document["books"]["outcomes"] == {"scored": 900, "failed": 3}


def test_fields_of_a_newer_version_stay_in_a_shards_record(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    path = "runs/" + RUN + "/shards/tencent-00012.json"
    home.write_json(path, {**shard_record.to_json(a_shard()), "colour": "red"})
    record = shard_record.load(home, RUN, Provider.TENCENT, 12)
    assert record is not None
    shard_record.save(home, record)
    assert home.read_json(path)["colour"] == "red"


@pytest.mark.parametrize("change", [{"record_version": 2}, {"status": "dancing"}, {"books": None}])
def test_a_shards_record_that_cannot_be_understood_is_named(
    tmp_path: Path, change: dict[str, object]
) -> None:
    home = Home.local(tmp_path)
    home.write_json(f"runs/{RUN}/shards/tencent-00012.json", {**shard_record.to_json(a_shard()), **change})
    with pytest.raises(UsageError, match=r"tencent-00012\.json"):
        shard_record.list_shards(home, RUN)


def test_shards_are_listed_by_provider_and_number_and_runs_do_not_trip_over_them(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    assert shard_record.list_shards(home, RUN) == []
    run_record.save(home, a_record(kind=RunKind.BACKFILL))
    control.save(home, RUN, Control(Wanted.PAUSE))
    for number in (100_000, 12, 2):
        shard_record.save(home, a_shard(number))
    shard_record.save(home, a_shard(3, provider=Provider.ALIYUN))
    listed = [(each.provider, each.number) for each in shard_record.list_shards(home, RUN)]
    assert listed == [("aliyun", 3), ("tencent", 2), ("tencent", 12), ("tencent", 100_000)]
    assert [each.run_id for each in run_record.list_runs(home)] == [RUN]


def test_records_in_a_bucket_are_the_buckets_and_those_of_done_shards_are_fetched_once(
    tmp_path: Path,
) -> None:
    """A backfill of years has tens of thousands of shards, most of them done."""
    writer = Home.in_bucket(FolderBlobs(tmp_path / "bucket"), "kyc", tmp_path / "writer")
    fetched: list[str] = []

    class Watched(FolderBlobs):
        def get_file(self, key: str, path: Path) -> None:
            fetched.append(key.rpartition("/")[2])
            super().get_file(key, path)

    reader = Home.in_bucket(Watched(tmp_path / "bucket"), "kyc", tmp_path / "reader")
    shard_record.save(writer, a_shard(1, status=ShardStatus.DONE))
    shard_record.save(writer, a_shard(2))
    shard_record.list_shards(reader, RUN)
    shard_record.save(writer, a_shard(2, status=ShardStatus.BROKEN))
    statuses = [each.status for each in shard_record.list_shards(reader, RUN)]

    assert statuses == [ShardStatus.DONE, ShardStatus.BROKEN]
    assert sorted(fetched) == ["tencent-00001.json", "tencent-00002.json", "tencent-00002.json"]


def test_a_shard_at_work_that_was_not_heard_of_for_two_minutes_is_stale() -> None:
    assert not a_shard().is_stale(MOMENT + timedelta(seconds=119))
    assert a_shard().is_stale(MOMENT + timedelta(seconds=121))
    assert not a_shard(status=ShardStatus.DONE).is_stale(MOMENT + timedelta(days=1))


def test_a_run_is_an_audit_unless_its_record_says_backfill(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    run_record.save(home, a_record(kind=RunKind.BACKFILL))
    assert run_record.load(home, RUN).kind is RunKind.BACKFILL
    document = run_record.to_json(a_record())
    assert document.pop("kind") == "audit"
    home.write_json(f"runs/{RUN}.json", document)
    assert run_record.load(home, RUN).kind is RunKind.AUDIT


def test_a_backfill_is_wanted_to_run_until_somebody_says_otherwise(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    assert control.load(home, RUN) == Control(Wanted.RUN)
    control.save(home, RUN, Control(Wanted.PAUSE, MOMENT, "ops@audit-1"))
    assert control.load(home, RUN) == Control(Wanted.PAUSE, MOMENT, "ops@audit-1")


@pytest.mark.parametrize("document", [{"wanted": "dance", "at": "2026-11-20T18:07:12+00:00"}, []])
def test_a_control_that_cannot_be_understood_is_named(tmp_path: Path, document: object) -> None:
    home = Home.local(tmp_path)
    home.write_json(f"runs/{RUN}/control.json", document)
    with pytest.raises(UsageError, match=r"control\.json is not"):
        control.load(home, RUN)
