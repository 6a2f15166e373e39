"""Inventories as S3 and OSS write them: what they name is what a listing would, or they are refused."""

import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.objects import version_of
from tests.inventory_files import (
    ETAG,
    NOON,
    OSS_COLUMNS,
    S3_COLUMNS,
    Row,
    csv_part,
    parquet_part,
    read,
    refusal,
    write_manifest,
)

KEY = "inv/kyc/daily/data/one.csv.gz"
STRANGE = [
    "selfies/a b.jpg",
    "selfies/a+b.jpg",
    "selfies/100%.jpg",
    "selfies/%2B.jpg",
    "selfies/客户/自拍.jpg",
    "selfies/new\nline.jpg",
    'selfies/quote".jpg',
    "selfies/comma,semi;colon.jpg",
    "selfies//double.jpg",
    "selfies/cafe\u0301.jpg",
    "selfies/ ",
    "selfies/control\x01",
]

FORMATS: dict[str, Any] = {
    "s3-csv": lambda rows: ({KEY: csv_part(rows)}, {}),
    "s3-parquet": lambda rows: ({"inv/kyc/daily/data/one.parquet": parquet_part(rows)}, {}),
    "oss-csv": lambda rows: (
        {KEY: csv_part(rows, OSS_COLUMNS)},
        {
            "destinationBucket": "inv",
            "creationTimestamp": "1763640000",
            "fileSchema": ", ".join(OSS_COLUMNS),
        },
    ),
}


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Any:
    return FORMATS[request.param]


# --- what they name ---


def test_every_key_comes_out_as_it_went_in(tmp_path: Path, form: Any) -> None:
    """However it is encoded: S3 writes a space as a plus sign, OSS does not say how it does."""
    parts, changes = form([Row(key) for key in STRANGE])

    found = read(write_manifest(tmp_path, parts, **changes))

    assert found.keys == sorted(STRANGE)
    assert [row["url"] for row in found.rows] == [f"s3://kyc/{key}" for key in found.keys]


def test_a_row_says_what_a_listing_would(tmp_path: Path, form: Any) -> None:
    parts, changes = form([Row("selfies/a.jpg", size="50123")])

    [row] = read(write_manifest(tmp_path, parts, **changes)).rows

    assert row.pop("etag").lower() == ETAG
    assert row == {
        "url": "s3://kyc/selfies/a.jpg",
        "store": "s3",
        "bucket": "kyc",
        "key": "selfies/a.jpg",
        "version_id": None,
        "size_bytes": 50123,
        "last_modified": NOON,
        "subject_id": None,
        "stratum": None,
        "absent": None,
    }


def test_the_etags_of_oss_have_capitals_as_in_its_listings(tmp_path: Path) -> None:
    part = csv_part([Row("a.jpg")])
    [row] = read(write_manifest(tmp_path, {KEY: part}), "oss://kyc/").rows

    assert row["etag"] == ETAG.upper()


def test_the_quotes_of_an_etag_are_not_part_of_it(tmp_path: Path) -> None:
    part = csv_part([Row("selfies/a.jpg", etag=f'"{ETAG}-3"')])
    [row] = read(write_manifest(tmp_path, {KEY: part})).rows

    assert row["etag"] == f"{ETAG}-3"


def test_invariant_1_every_row_is_listed_or_left_out_for_a_reason(tmp_path: Path, form: Any) -> None:
    """What a listing of the bucket would not name is left out: and counted, so that the books have it."""
    rows = [
        Row("selfies/now.jpg", version_id="v2"),
        Row("selfies/now.jpg", version_id="v1", is_latest=False),
        Row("selfies/gone.jpg", version_id="v2", is_delete_marker=True, size="", etag=""),
        Row("selfies/gone.jpg", version_id="v1", is_latest=False),
        Row("selfies/old.jpg", version_id="v1", is_latest=False, is_delete_marker=True, size="", etag=""),
        Row("receipts/a.jpg", version_id="v1"),
    ]
    parts, changes = form(rows)

    found = read(write_manifest(tmp_path, parts, **changes))

    assert found.keys == ["selfies/now.jpg"]
    assert found.totals.left_out == {"older_version": 2, "delete_marker": 2, "outside_prefix": 1}
    assert found.totals.rows == len(rows) == found.totals.listed + found.totals.left_out.total()


def test_the_current_version_is_known_by_its_etag_as_in_a_listing(tmp_path: Path, form: Any) -> None:
    """Otherwise an audit of a listing would ask again what an audit of an inventory has asked."""
    parts, changes = form([Row("selfies/a.jpg", version_id="3HL4kqtJvjVBH40Nrjfkd")])

    [row] = read(write_manifest(tmp_path, parts, **changes)).rows

    version = version_of(row["version_id"], row["etag"], row["size_bytes"], row["last_modified"])
    assert version.lower() == ETAG


def test_a_version_that_is_not_said_to_be_an_older_one_is_the_current_one(tmp_path: Path) -> None:
    columns = {name: S3_COLUMNS[name] for name in ("Key", "VersionId", "Size", "LastModifiedDate", "ETag")}
    part = csv_part([Row("selfies/a.jpg", version_id="v1")], columns)

    [row] = read(write_manifest(tmp_path, {KEY: part}, fileSchema=",".join(columns))).rows

    assert row["version_id"] is None


def test_many_parts_make_one_listing(tmp_path: Path) -> None:
    parts = {f"data/{number}.csv.gz": csv_part([Row(f"selfies/{number}.jpg")]) for number in range(5)}

    assert read(write_manifest(tmp_path, parts)).keys == [f"selfies/{number}.jpg" for number in range(5)]


def test_an_inventory_of_an_empty_bucket_lists_nothing(tmp_path: Path) -> None:
    assert read(write_manifest(tmp_path, {})).rows == []


def test_an_archived_object_is_listed_as_in_a_listing(tmp_path: Path, form: Any) -> None:
    """Whether it can be fetched is for the fetch to say."""
    parts, changes = form([Row("selfies/a.jpg", storage_class="DEEP_ARCHIVE")])

    assert read(write_manifest(tmp_path, parts, **changes)).keys == ["selfies/a.jpg"]


def test_a_time_may_be_written_in_the_ways_of_oss(tmp_path: Path) -> None:
    for number, written in enumerate(
        (
            "2026-11-20T12:00:00.000Z",
            "2026-11-20T12-00-00Z",
            "Fri, 20 Nov 2026 12:00:00 GMT",
            "20261120T120000Z",
        )
    ):
        columns = S3_COLUMNS | {"LastModifiedDate": lambda row, written=written: written}
        manifest = write_manifest(tmp_path / str(number), {KEY: csv_part([Row("selfies/a.jpg")], columns)})

        assert read(manifest).rows[0]["last_modified"] == NOON


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"fileFormat": "ORC"},
            "is of an inventory in ORC, which facesweep does not read: set the inventory's",
        ),
        ({"fileFormat": "Avro"}, "is of an inventory in 'AVRO': facesweep reads Parquet and CSV"),
        ({"fileFormat": None}, "is no inventory manifest: it has no fileFormat"),
        ({"fileSchema": "Bucket, Key, RecordType"}, "is of an incremental inventory, which has changes"),
        ({"files": [{"key": "data/\x1b[2J\n.csv.gz"}]}, "/\\x1b[2J\\x0a.csv.gz: check"),
        ({"fileSchema": "Bucket, Key, key"}, "its fileSchema names no or equal columns"),
        ({"fileSchema": "Bucket, Size"}, "has no column that names objects; there are 'Bucket', 'Size'"),
        ({"sourceBucket": "other"}, "is an inventory of bucket 'other', and source.url is s3://kyc/selfies/"),
        ({"files": "one"}, "it has no list of files"),
        ({"files": [{"size": 3}]}, "one of its files has no key"),
        ({"files": [{"key": "a", "size": -1}]}, "the size of 'a' is no number of bytes"),
        ({"files": [{"key": "a", "MD5checksum": "?"}]}, "the MD5checksum of 'a' is none"),
        ({"files": [{"key": "data/missing.csv.gz"}]}, "missing.csv.gz: check source.inventory"),
        ({"files": [{"key": "../../.."}]}, "'../../..' is no file"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    part = csv_part([Row("selfies/a.jpg")])

    assert said in refusal(write_manifest(tmp_path, {KEY: part}, **changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)

    assert "manifest.json is no inventory manifest" in refusal(tmp_path / "manifest.json")


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"there is no file {tmp_path}/manifest.json" in refusal(tmp_path / "manifest.json")


def test_a_folder_of_files_has_no_inventory_of_a_bucket(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, {KEY: csv_part([Row("a.jpg")])})

    assert "is an inventory of bucket 'kyc'" in refusal(manifest, str(tmp_path))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row("selfies/a.jpg", bucket="other"), "is about an object of another bucket than s3://kyc/selfies/"),
        (Row("selfies/a.jpg", size="12 KB"), "the size must be a number of bytes"),
        (Row("selfies/a.jpg", size="-1"), "the size must be a number of bytes"),
        (Row(""), "names no object"),
    ],
)
def test_a_row_that_cannot_be_is_named_with_its_line(tmp_path: Path, row: Row, said: str) -> None:
    part = csv_part([Row("selfies/1.jpg"), Row("selfies/2.jpg"), row])

    sentence = refusal(write_manifest(tmp_path, {KEY: part}))

    assert sentence == f"{tmp_path}/data/one.csv.gz, line 3: {said}"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("Key", "selfies/%FF.jpg", "the key 'selfies/%FF.jpg' is not url-encoded UTF-8"),
        ("LastModifiedDate", "yesterday", "the time must be like 2026-11-20T18:07:12Z"),
        ("IsLatest", "perhaps", "is_latest and is_delete_marker must be true or false"),
        ("IsDeleteMarker", "perhaps", "is_latest and is_delete_marker must be true or false"),
    ],
)
def test_a_cell_that_cannot_be_is_named_with_its_line(
    tmp_path: Path, column: str, value: str, said: str
) -> None:
    part = csv_part([Row("selfies/1.jpg")], S3_COLUMNS | {column: lambda row: value})

    assert refusal(write_manifest(tmp_path, {KEY: part})).endswith(f", line 1: {said}")


# --- what came to harm, or means it ---


def test_a_part_with_another_checksum_is_refused(tmp_path: Path, form: Any) -> None:
    parts, changes = form([Row("selfies/a.jpg")])
    manifest = write_manifest(tmp_path, parts, **changes)
    [part] = (tmp_path / "data").iterdir()
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    assert "and not the" in (said := refusal(manifest))
    assert " has the MD5 " in said


def test_a_part_of_another_size_is_refused(tmp_path: Path, form: Any) -> None:
    parts, changes = form([Row("selfies/a.jpg")])
    manifest = write_manifest(tmp_path, parts, **changes)
    [part] = (tmp_path / "data").iterdir()
    part.write_bytes(part.read_bytes()[:-1])

    assert f"has {part.stat().st_size} bytes and not the" in refusal(manifest)


@pytest.mark.parametrize("missing", [1, 20, 200])
def test_a_part_that_was_cut_before_its_checksum_was_taken_is_refused(tmp_path: Path, missing: int) -> None:
    """DuckDB reads such a file to its end and says nothing: the listing would be shorter."""
    part = csv_part([Row(f"selfies/{number}.jpg", etag=f"{number}") for number in range(100)])

    assert "one.csv.gz is cut off" in refusal(write_manifest(tmp_path, {KEY: part[:-missing]}))


def test_a_part_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    part = bytearray(csv_part([Row(f"selfies/{number}.jpg", etag=f"{number}") for number in range(100)]))
    part[60:70] = b"\0" * 10

    assert "one.csv.gz is damaged" in refusal(write_manifest(tmp_path, {KEY: bytes(part)}))


def test_a_part_in_several_gzip_streams_is_read_to_the_last(tmp_path: Path) -> None:
    part = csv_part([Row("selfies/1.jpg")]) + csv_part([Row("selfies/2.jpg")])

    assert read(write_manifest(tmp_path, {KEY: part})).keys == ["selfies/1.jpg", "selfies/2.jpg"]


def test_a_gzip_bomb_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, wbits=31)
    part = packer.compress(b"\n" * 100_000_000) + packer.flush()

    said = refusal(write_manifest(tmp_path, {KEY: part}))
    assert "one.csv.gz is over 200 times larger unpacked than packed" in said


def test_a_line_without_end_is_no_row(tmp_path: Path) -> None:
    part = gzip.compress(b'"' + bytes(range(48, 58)) * 500_000, 1)

    assert "one.csv.gz, line 1: " in refusal(write_manifest(tmp_path, {KEY: part}))


def test_a_parquet_bomb_is_not_read(tmp_path: Path) -> None:
    """A million equal rows in a few hundred bytes: no list of objects, which have names of their own."""
    rows = pa.table({"bucket": ["kyc"] * 1_000_000, "key": ["selfies/a.jpg"] * 1_000_000})
    pq.write_table(rows, tmp_path / "bomb", compression="zstd")
    part = (tmp_path / "bomb").read_bytes()

    said = refusal(write_manifest(tmp_path, {"data/one.parquet": part}))
    assert f"says it holds 1000000 rows in {len(part)} bytes" in said


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 100), slice(0, -1)])
def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path, cut: slice) -> None:
    part = parquet_part([Row("selfies/a.jpg")])[cut]

    assert "one.parquet is no Parquet file, or a damaged one" in refusal(
        write_manifest(tmp_path, {"data/one.parquet": part})
    )


def test_a_parquet_file_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    part = bytearray(parquet_part([Row(f"selfies/{number}.jpg") for number in range(1_000)]))
    part[10:400] = b"\xff" * 390

    assert "one.parquet: it cannot be read" in refusal(
        write_manifest(tmp_path, {"data/one.parquet": bytes(part)})
    )


def test_a_part_with_a_column_too_few_is_refused(tmp_path: Path) -> None:
    columns = {name: column for name, column in S3_COLUMNS.items() if name != "StorageClass"}
    part = csv_part([Row("selfies/a.jpg")], columns)

    assert refusal(write_manifest(tmp_path, {KEY: part})).endswith(
        "line 1: it has not the columns it should have; quote what holds a comma"
    )


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    """The test's own inventories carry right checksums, in either case."""
    part = csv_part([Row("selfies/a.jpg")])
    md5 = hashlib.md5(part).hexdigest().upper()
    manifest = write_manifest(
        tmp_path, {KEY: part}, files=[{"key": KEY, "size": len(part), "MD5checksum": md5}]
    )

    assert json.loads(manifest.read_text())["files"][0]["MD5checksum"] == md5
    assert read(manifest).keys == ["selfies/a.jpg"]
