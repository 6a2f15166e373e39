"""Lists of objects that people made: text, CSV, Parquet. What is wrong in one is named with its line."""

import csv
import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.buckets.bucket import parse_location
from tasks.buckets.local import LocalBucket
from tests.inventory_files import ETAG, NOON, read, refusal

FULL = f"3,{ETAG},2026-11-20T12:00:00Z"
HEAD = "url,size,etag,last_modified"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A source folder, to be asked for what a list does not say."""
    folder = tmp_path / "faces"
    for key in ("a.jpg", "b/c.jpg", "with space .jpg", "客户.jpg"):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(key.encode())
    return folder


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- text: a line for each object ---


def test_a_line_names_an_object_by_its_path_its_whole_path_or_its_url(tmp_path: Path, faces: Path) -> None:
    lines = f"a.jpg\n\n{faces}/b/c.jpg\nfile://{faces}/with space .jpg\n  \n./客户.jpg"

    found = read(written(tmp_path, "list.txt", lines), str(faces))

    assert found.keys == ["a.jpg", "b/c.jpg", "with space .jpg", "客户.jpg"]
    assert found.totals.rows == 4


def test_a_list_gives_an_object_the_name_and_version_that_a_listing_gives(
    tmp_path: Path, faces: Path
) -> None:
    """To the microsecond of a file's time: otherwise each would be asked about twice."""
    found = read(written(tmp_path, "list.txt", "./a.jpg\nb/c.jpg\nwith space .jpg\n客户.jpg\n"), str(faces))

    listed = [ref for batch in LocalBucket(parse_location(str(faces))).list_batches() for ref in batch]
    for row, ref in zip(found.rows, sorted(listed, key=lambda ref: ref.key), strict=True):
        assert row == {name: getattr(ref, name, None) for name in row} | {"store": "local"}


@pytest.mark.parametrize("name", ["list.txt", "list.txt.gz", "LIST.TXT"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_lines_may_be_packed_and_end_as_on_windows(tmp_path: Path, faces: Path, name: str, ends: str) -> None:
    content = ends.join(["\ufeffa.jpg", "客户.jpg", ""]).encode()
    packed = gzip.compress(content) if name.endswith(".gz") else content

    assert read(written(tmp_path, name, packed), str(faces)).keys == ["a.jpg", "客户.jpg"]


def test_what_a_list_names_and_is_not_there_is_listed_as_gone(tmp_path: Path, faces: Path) -> None:
    """It was asked for, so it is accounted for: the plan skips it with that reason."""
    found = read(written(tmp_path, "list.txt", "a.jpg\nnever.jpg\nb\n"), str(faces))

    assert [(row["key"], row["absent"], row["size_bytes"]) for row in found.rows] == [
        ("a.jpg", None, 5),
        ("b", "gone", None),  # a folder
        ("never.jpg", "gone", None),
    ]
    assert (found.totals.absent, found.totals.looked_up) == ({"gone": 2}, 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("../faces/a.jpg", "is no path as a listing gives it: leave out '.', '..' and double slashes"),
        ("b/../a.jpg", "is no path as a listing gives it"),
        ("b//c.jpg", "is no path as a listing gives it"),
        ("b/./c.jpg", "is no path as a listing gives it"),
        ("/etc/passwd", "'/etc/passwd' is not in file://"),
        ("file:///etc/passwd", "'file:///etc/passwd' is not in file://"),
        ("s3://kyc/a.jpg", "'s3://kyc/a.jpg' is not in file://"),
        ("https://h/a.jpg?X-Amz-Signature=5ecre7", "'https://h/a.jpg' is not in file://"),
        ("\x1b[2Jb/../a", "'\\x1b[2Jb/../a' is no path"),
    ],
)
def test_a_line_that_leads_out_of_the_source_is_named(
    tmp_path: Path, faces: Path, line: str, said: str
) -> None:
    """Without the query of a url, which may be a signature, and without what would act on a terminal."""
    path = written(tmp_path, "list.txt", f"a.jpg\n\n{line}\n")

    sentence = refusal(path, str(faces))

    assert sentence.startswith(f"{path}, line 3: ")
    assert said in sentence
    assert "5ecre7" not in sentence


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path, faces: Path) -> None:
    path = written(tmp_path, "list.txt", b"a.jpg\nb\xff.jpg\n")

    assert "it is not UTF-8" in refusal(path, str(faces))


def test_a_line_that_goes_on_and_on_is_refused(tmp_path: Path, faces: Path) -> None:
    path = written(tmp_path, "list.txt", "a.jpg\n" + "x" * 2_000_000)

    assert refusal(path, str(faces)) == f"{path}, line 2: it is too long for a url or a key"


# --- CSV: a header, and columns that may say more ---


def test_a_list_that_says_everything_asks_the_store_nothing(tmp_path: Path) -> None:
    """The store of this test cannot be asked: ten million such rows take no request."""
    [row] = read(written(tmp_path, "list.csv", f"{HEAD}\ns3://kyc/selfies/a b.jpg,{FULL}\n")).rows

    assert row == {
        "url": "s3://kyc/selfies/a b.jpg",
        "store": "s3",
        "bucket": "kyc",
        "key": "selfies/a b.jpg",
        "version_id": None,
        "etag": ETAG,
        "size_bytes": 3,
        "last_modified": NOON,
        "subject_id": None,
        "stratum": None,
        "absent": None,
    }


@pytest.mark.parametrize(
    "head",
    [
        "Key,Size,ETag,LastModifiedDate,VersionId,subject_id,stratum",
        "key,size_bytes,e_tag,last_modified,version_id,SubjectId,Stratum",
        "Object Key,SIZE,Etag,Last Modified,Version ID,subject id,STRATUM",
        "url,size,etag,lastmodified,versionid,subject-id,stratum",
        "S3 URI,size,etag,last modified date,version,subjectid,stratum",
    ],
)
def test_well_known_columns_are_known_however_they_are_spelled(tmp_path: Path, head: str) -> None:
    mapping = {"version_id": "version"} if ",version," in head else {}
    content = f"{head}\nselfies/a.jpg,{FULL},v7,u-0042,north\n"

    [row] = read(written(tmp_path, "list.csv", content), **mapping).rows

    facts = ("key", "size_bytes", "etag", "last_modified", "version_id", "subject_id", "stratum")
    assert tuple(row[name] for name in facts) == ("selfies/a.jpg", 3, ETAG, NOON, "v7", "u-0042", "north")


def test_other_columns_are_named_in_the_spec(tmp_path: Path) -> None:
    content = f"where,who,branch,size,etag,last_modified\ns3://kyc/selfies/a.jpg,u-1,north,{FULL}\n"

    [row] = read(written(tmp_path, "list.csv", content), url="where", subject_id="who", stratum="branch").rows

    assert (row["key"], row["subject_id"], row["stratum"]) == ("selfies/a.jpg", "u-1", "north")


def test_a_column_the_spec_names_counts_more_than_one_everybody_knows(tmp_path: Path) -> None:
    content = f"url,original,size,etag,last_modified\nhttps://cdn/a,selfies/a.jpg,{FULL}\n"

    assert read(written(tmp_path, "list.csv", content), key="original").keys == ["selfies/a.jpg"]


def test_a_column_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path, "list.csv", f"where,{HEAD[4:]}\nselfies/a.jpg,{FULL}\n")

    assert refusal(path, url="were") == (
        f"source.columns.url: {path} has no column 'were'; there are 'where', 'size', 'etag', 'last_modified'"
    )
    assert "has no column that names objects; there are 'where', 'size'" in refusal(path)


def test_two_columns_that_could_be_the_same_have_to_be_told_apart(tmp_path: Path) -> None:
    path = written(tmp_path, "list.csv", f"{HEAD},Size Bytes\nselfies/a.jpg,{FULL},4\n")

    assert "has the columns 'size' and 'Size Bytes', which could both be the size_bytes" in refusal(path)
    assert read(path, size_bytes="Size Bytes").rows[0]["size_bytes"] == 4


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_may_be_parted_as_spreadsheets_part_them(tmp_path: Path, delimiter: str) -> None:
    content = f"{HEAD}\nselfies/a.jpg,{FULL}\n".replace(",", delimiter)

    assert read(written(tmp_path, "list.csv", content)).keys == ["selfies/a.jpg"]


@pytest.mark.parametrize("name", ["list.csv", "list.csv.gz"])
def test_cells_may_hold_what_csv_can_quote(tmp_path: Path, name: str) -> None:
    content = f'\ufeff,{HEAD}\r\n0,"selfies/a,""b"".jpg",{FULL}\r\n\r\n1,"selfies/new\nline.jpg",{FULL}\r\n'
    packed = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()

    assert read(written(tmp_path, name, packed)).keys == ['selfies/a,"b".jpg', "selfies/new\nline.jpg"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"s3://other/a.jpg,{FULL}", "'s3://other/a.jpg' is not in s3://kyc/selfies/"),
        (f"oss://kyc/selfies/a.jpg,{FULL}", "'oss://kyc/selfies/a.jpg' is not in s3://kyc/selfies/"),
        (f"s3://kyc/receipts/a.jpg,{FULL}", "'s3://kyc/receipts/a.jpg' is not under s3://kyc/selfies/"),
        (f"receipts/a.jpg,{FULL}", "'receipts/a.jpg' is not under s3://kyc/selfies/"),
        (f"s3://kyc/,{FULL}", "names no object"),
        (f",{FULL}", "names no object"),
        (f"selfies/a.jpg,many,{ETAG},2026-11-20", "the size must be a number of bytes"),
        (f"selfies/a.jpg,3,{ETAG},20.11.2026", "the time must be like 2026-11-20T18:07:12Z"),
        (f"selfies/a.jpg,{FULL},more", "it has not the columns it should have; quote what holds a comma"),
        ('"selfies/a.jpg,3', "a quote is not closed"),
    ],
)
def test_a_row_that_cannot_be_is_named_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    """The line of the file, as an editor counts: the header, empty lines and lines in quotes included."""
    path = written(tmp_path, "list.csv", f'{HEAD}\nselfies/1.jpg,{FULL}\n\n"selfies/2\n.jpg",{FULL}\n{row}\n')

    assert refusal(path) == f"{path}, line 6: {said}"


@pytest.mark.parametrize("content", ["", "\n", "url,URL\nselfies/a.jpg,selfies/b.jpg\n"])
def test_a_csv_without_a_header_of_different_columns_is_refused(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "list.csv", content)

    assert f"{path}, line 1: it has to name the columns, each once" in refusal(path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"selfies/a.jpg?Signature=5ecre7,1,2,3,4,5\n", "it has not the columns it should have"),
        (b'"selfies/a.jpg?Signature=5ecre7,1,2,3\n', "a quote is not closed"),
        (b"selfies/a.jpg?Signature=5ecre7\xff,1,,\n", "it is not UTF-8"),
        (b"selfies/a.jpg?Signature=5ecre7," + b"1" * 1_100_000 + b",,\n", "it is too long"),
    ],
)
def test_a_row_far_behind_the_first_ones_is_named_like_any_other(
    tmp_path: Path, row: bytes, said: str
) -> None:
    """What was read before it is many batches; nothing of the row itself is quoted."""
    rows = b"".join(b"selfies/%06d.jpg,%s\n" % (number, FULL.encode()) for number in range(150_000))
    path = written(tmp_path, "list.csv", HEAD.encode() + b"\n" + rows + row)

    sentence = refusal(path)

    assert sentence.startswith(f"{path}, line 150002: {said}")
    assert "5ecre7" not in sentence
    assert len(sentence.splitlines()) == 1


def test_of_two_wrong_rows_one_is_named(tmp_path: Path) -> None:
    """The first can be read and the second cannot, which stands many batches behind it."""
    rows = b"".join(b"selfies/%06d.jpg,%s\n" % (number, FULL.encode()) for number in range(150_000))
    content = f"{HEAD}\n,{FULL}\n".encode() + rows + b"selfies/a.jpg,3\n"
    path = written(tmp_path, "list.csv", content)

    assert refusal(path).startswith(f"{path}, line 150003: it has not the columns it should have")


@pytest.mark.parametrize("name", ["list.csv", "list.csv.gz"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_row_of_many_megabytes_is_refused_wherever_it_stands(
    tmp_path: Path, name: str, before: int
) -> None:
    """DuckDB, left alone with the only row of a file, gives no row and no error."""
    rows = f"selfies/a.jpg,{FULL}\n".encode() * before
    content = f"{HEAD}\n".encode() + rows + b"selfies/b.jpg,3," + b"y" * 40_000_000 + b",\n"
    path = written(tmp_path, name, gzip.compress(content) if name.endswith(".gz") else content)

    assert refusal(path).endswith(f"line {before + 2}: it is too long for a row about one object")


def test_a_header_with_an_endless_name_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "list.csv", "key," + "n" * 200_000 + "\na.jpg,1\n")

    assert "line 1: it has to name the columns" in refusal(path)


def test_a_damaged_row_group_of_parquet_is_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    keys = [f"selfies/{number:012}" for number in range(200_000)]
    rows = pa.table(
        {"key": keys, "size": range(200_000), "etag": keys, "last_modified": ["2026-11-20"] * 200_000}
    )
    pq.write_table(rows, path, row_group_size=10_000, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[8_000_000:8_400_000] = b"\xff" * 400_000
    path.write_bytes(content)

    assert refusal(path) == f"{path}: it cannot be read"


def test_a_csv_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "list.csv", f"{HEAD}\nselfies/caf\xe9.jpg,{FULL}\n".encode("latin-1"))

    assert refusal(path) == f"{path}, line 2: it is not UTF-8"


def test_a_version_the_list_names_is_kept(tmp_path: Path) -> None:
    """`null` is how S3 calls the version of what was never versioned."""
    content = (
        f"{HEAD},version_id\nselfies/a.jpg,{FULL},v1\nselfies/b.jpg,{FULL},null\nselfies/c.jpg,{FULL},\n"
    )

    found = read(written(tmp_path, "list.csv", content))

    assert [row["version_id"] for row in found.rows] == ["v1", None, None]


def test_a_list_that_knows_the_latest_versions_is_read_as_an_inventory(tmp_path: Path) -> None:
    """Such as a query over S3 inventories writes: current versions have no id, as in a listing."""
    content = (
        f"bucket,{HEAD},version_id,is_latest,is_delete_marker\n"
        f"kyc,selfies/a.jpg,{FULL},v2,true,false\n"
        f"kyc,selfies/a.jpg,{FULL},v1,false,false\n"
        "kyc,selfies/b.jpg,,,,v2,true,true\n"
    )

    found = read(written(tmp_path, "list.csv", content))

    assert [(row["key"], row["version_id"]) for row in found.rows] == [("selfies/a.jpg", None)]
    assert found.totals.left_out == {"older_version": 1, "delete_marker": 1}


def test_the_same_object_twice_is_listed_twice(tmp_path: Path) -> None:
    """The plan finds it out, by url and version, and says so."""
    content = f"{HEAD}\nselfies/a.jpg,{FULL}\ns3://kyc/selfies/a.jpg,{FULL}\n"

    assert read(written(tmp_path, "list.csv", content)).keys == ["selfies/a.jpg"] * 2


@pytest.mark.parametrize("name", ["list [1].csv", "list*?'.csv", "[a-z].txt", "list [2].parquet"])
def test_a_list_may_be_called_anything(tmp_path: Path, faces: Path, name: str) -> None:
    folder = tmp_path / "lists [of] {*}?"
    folder.mkdir()
    written(folder, name, "key\na.jpg\n" if name.endswith(".csv") else "a.jpg")
    if name.endswith(".parquet"):
        parquet(folder, key=["a.jpg"]).rename(folder / name)

    assert read(folder / name, str(faces), work_dir=tmp_path).keys == ["a.jpg"]


# --- Parquet ---


def parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "list.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_parquet_may_have_the_types_that_pandas_gives(tmp_path: Path, faces: Path) -> None:
    path = parquet(
        tmp_path,
        url=["s3://kyc/selfies/a.jpg", "s3://kyc/selfies/b.jpg"],
        size=[3, 4_294_967_296],
        etag=[ETAG, ETAG],
        last_modified=[
            NOON.replace(tzinfo=None),
            NOON.replace(tzinfo=None, microsecond=250_000),
        ],
        subject_id=[17, 18],
    )

    found = read(path)

    assert [row["size_bytes"] for row in found.rows] == [3, 4_294_967_296]
    assert [row["subject_id"] for row in found.rows] == ["17", "18"]
    assert found.rows[0]["last_modified"] == NOON


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_a_time_of_parquet_is_one_moment_in_whatever_type(
    tmp_path: Path, unit: str, zone: str | None
) -> None:
    times = pa.array([NOON if zone else NOON.replace(tzinfo=None)], pa.timestamp(unit, zone))
    facts = {"key": ["selfies/a.jpg"], "size": [3], "etag": [ETAG], "last_modified": times}
    pq.write_table(pa.table(facts), tmp_path / "list.parquet")

    assert read(tmp_path / "list.parquet").rows[0]["last_modified"] == NOON


@pytest.mark.parametrize("size", [-1.0, 3.5, float("inf"), 1e30])
def test_a_size_that_is_no_number_of_bytes_is_none_in_any_type(tmp_path: Path, size: float) -> None:
    pq.write_table(pa.table({"key": ["selfies/a.jpg"], "size": [size]}), tmp_path / "list.parquet")

    assert "row 1: the size must be a number of bytes" in refusal(tmp_path / "list.parquet")


def test_what_parquet_does_not_know_is_looked_up(tmp_path: Path, faces: Path) -> None:
    """A missing number makes pandas keep all of the column as floating point."""
    sizes = pa.array([5.0, float("nan"), None])
    facts = {"key": ["a.jpg", "b/c.jpg", "gone.jpg"], "size": sizes, "subject_id": ["u", None, "w"]}
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table(facts), path)

    found = read(path, str(faces))

    assert [(row["size_bytes"], row["subject_id"], row["absent"]) for row in found.rows] == [
        (5, "u", None),
        (7, None, None),
        (None, "w", "gone"),
    ]


def test_a_row_of_parquet_that_cannot_be_is_named_with_its_number(tmp_path: Path) -> None:
    path = parquet(tmp_path, key=["selfies/a.jpg", "selfies/b.jpg"], size=["3", "many"])

    assert refusal(path) == f"{path}, row 2: the size must be a number of bytes"


# --- other files ---


@pytest.mark.parametrize("name", ["list.orc", "list.xlsx", "list.parquet.zst", "list", "list.json.gz"])
def test_a_file_of_another_kind_is_refused_with_those_there_are(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, "selfies/a.jpg\n")

    assert "give the manifest.json of an S3 or OSS inventory, or a list of objects as .csv" in refusal(path)


NAMES = st.text(
    alphabet=st.characters(exclude_characters="\n\0", exclude_categories=("Cs",)), min_size=1, max_size=30
).filter(lambda name: bool(name.strip()) and not name.endswith("\r") and not name.startswith("\ufeff"))


@settings(deadline=None, max_examples=15)
@given(names=st.lists(NAMES, max_size=20))
def test_whatever_a_key_holds_a_list_names_it(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """In any of the three forms; a list of lines cannot name what holds a line break."""
    folder = tmp_path_factory.mktemp("lists")
    keys = sorted(f"selfies/{name}" for name in names)
    facts = {"size": 3, "etag": ETAG, "last_modified": "2026-11-20T12:00:00Z"}
    table = pd.DataFrame({"url": [f"s3://kyc/{key}" for key in keys]}).assign(**facts)
    table.to_csv(folder / "list.csv", index=False, quoting=csv.QUOTE_ALL)
    table.to_parquet(folder / "list.parquet")

    for name in ("list.csv", "list.parquet"):
        found = read(folder / name, work_dir=tmp_path_factory.mktemp("work"))
        assert found.keys == keys
