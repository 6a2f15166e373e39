"""Where a source url points, and a listing as Parquet."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from domain.errors import UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets.bucket import Location, parse_location
from tasks.buckets.listing import SCHEMA, ListingTotals, write_listing

NOON = datetime(2026, 11, 20, 12, 0, 0, 123_456, tzinfo=UTC)


def ref(key: str, size_bytes: int = 3) -> ObjectRef:
    return ObjectRef(f"s3://b/{key}", Store.S3, "b", key, None, "e1", size_bytes, NOON)


def rows(folder: Path) -> list[dict[str, object]]:
    return [row for part in sorted(folder.iterdir()) for row in pq.read_table(part).to_pylist()]


@pytest.mark.parametrize(
    ("url", "store", "bucket", "prefix"),
    [
        ("s3://kyc", Store.S3, "kyc", ""),
        ("s3://kyc/", Store.S3, "kyc", ""),
        ("s3://kyc/selfies/", Store.S3, "kyc", "selfies/"),
        ("oss://kyc/selfies", Store.OSS, "kyc", "selfies"),
        ("S3://kyc/100%/a?b#c //d", Store.S3, "kyc", "100%/a?b#c //d"),
        ("/data/selfies", Store.LOCAL, "/data/selfies", ""),
        ("/data/selfies/", Store.LOCAL, "/data/selfies", ""),
        ("file:///data/100%25", Store.LOCAL, "/data/100%25", ""),
    ],
)
def test_a_url_is_read_verbatim(url: str, store: Store, bucket: str, prefix: str) -> None:
    location = parse_location(url)

    assert location == Location(store, bucket, prefix)
    assert parse_location(location.url) == location


def test_a_relative_path_counts_from_here_and_has_one_spelling(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    spelled = {parse_location(text).bucket for text in ("selfies", "./selfies/", "x/../selfies")}

    assert spelled == {f"{tmp_path}/selfies"}


@pytest.mark.parametrize(
    "url",
    ["http://kyc/selfies", "gs://kyc", "s3://", "s3:///selfies", "oss://a b/c", "file://kyc/x", ""],
)
def test_any_other_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_location(url)
    assert url in str(refusal.value)


def test_a_listing_is_cut_into_parts_of_a_number_of_rows(tmp_path: Path) -> None:
    refs = [ref(f"{number:03}") for number in range(250)]

    totals = write_listing([refs[:90], [], refs[90:]], tmp_path / "listing", rows_per_part=100)

    parts = sorted((tmp_path / "listing").iterdir())
    assert [part.name for part in parts] == [f"part-0000{number}.parquet" for number in (1, 2, 3)]
    assert [pq.read_metadata(part).num_rows for part in parts] == [100, 100, 50]
    assert totals == ListingTotals(rows=250, bytes=750)
    assert [row["key"] for row in rows(tmp_path / "listing")] == [each.key for each in refs]


def test_a_part_that_is_just_full_is_not_followed_by_an_empty_one(tmp_path: Path) -> None:
    write_listing([[ref("1"), ref("2")]], tmp_path / "listing", rows_per_part=1)

    assert len(list((tmp_path / "listing").iterdir())) == 2


def test_every_fact_of_an_object_survives(tmp_path: Path) -> None:
    write_listing([[ref("new\nline é\0")]], tmp_path / "listing")

    [row] = rows(tmp_path / "listing")
    assert row == {
        "url": "s3://b/new\nline é\0",
        "store": "s3",
        "bucket": "b",
        "key": "new\nline é\0",
        "version_id": None,
        "etag": "e1",
        "size_bytes": 3,
        "last_modified": NOON,
        "subject_id": None,
        "stratum": None,
        "absent": None,
    }


def test_a_bucket_without_objects_gives_one_part_without_rows(tmp_path: Path) -> None:
    assert write_listing([], tmp_path / "listing") == ListingTotals(rows=0, bytes=0)

    [part] = (tmp_path / "listing").iterdir()
    assert pq.read_table(part).num_rows == 0
    assert pq.read_schema(part).equals(SCHEMA)


def test_a_key_that_utf8_cannot_hold_does_not_end_the_listing(tmp_path: Path) -> None:
    write_listing([[ref("good"), ref("half \ud83d")]], tmp_path / "listing")

    assert [row["key"] for row in rows(tmp_path / "listing")] == ["good", "half \\ud83d"]


def test_a_listing_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    def breaks_off() -> Iterator[list[ObjectRef]]:
        yield [ref("1")]
        raise UsageError("the bucket went away")

    with pytest.raises(UsageError):
        write_listing(breaks_off(), tmp_path / "listing", rows_per_part=1)
    assert not (tmp_path / "listing").exists()

    write_listing([[ref("2")]], tmp_path / "listing", rows_per_part=1)
    assert [path.name for path in tmp_path.iterdir()] == ["listing"]
    assert [row["key"] for row in rows(tmp_path / "listing")] == ["2"]


def test_a_listing_is_never_overwritten(tmp_path: Path) -> None:
    write_listing([[ref("1")]], tmp_path / "listing")

    with pytest.raises(FileExistsError):
        write_listing([[ref("2")]], tmp_path / "listing")
    assert [row["key"] for row in rows(tmp_path / "listing")] == ["1"]


def test_memory_does_not_grow_with_the_number_of_objects(tmp_path: Path) -> None:
    def peak_bytes(objects: int) -> int:
        batches = ([ref(f"{start}/{n}") for n in range(1000)] for start in range(objects // 1000))
        tracemalloc.start()
        write_listing(batches, tmp_path / str(objects), rows_per_part=5_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    few = peak_bytes(10_000)

    assert peak_bytes(40_000) < 1.2 * few
