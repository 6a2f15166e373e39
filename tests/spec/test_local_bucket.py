"""A local folder as a bucket: what a file system has and a bucket has not."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Unreadable, UsageError
from domain.objects import ObjectRef
from tasks.buckets.bucket import parse_location
from tasks.buckets.local import LocalBucket

pytestmark = pytest.mark.anyio


def listed(folder: Path) -> list[ObjectRef]:
    bucket = LocalBucket(parse_location(str(folder)))
    return [ref for batch in bucket.list_batches() for ref in batch]


def keys(folder: Path) -> list[str]:
    return [ref.key for ref in listed(folder)]


async def fetched(folder: Path, ref: ObjectRef) -> bytes:
    return await LocalBucket(parse_location(str(folder))).fetch(ref, 1000)


def test_keys_come_in_the_order_a_bucket_gives_them(tmp_path: Path) -> None:
    """Folders and files mixed by the bytes of the keys, as S3 and OSS list them."""
    for key in ("a/1", "a-b", "a0", "a/b/c", "a/b-c", "Z", "é", "a.jpg"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()

    assert keys(tmp_path) == sorted(["a/1", "a-b", "a0", "a/b/c", "a/b-c", "Z", "é", "a.jpg"], key=str.encode)


def test_a_link_to_a_file_is_an_object_and_a_link_to_a_folder_is_not_entered(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    (elsewhere / "face.jpg").write_bytes(b"face")
    (source / "linked.jpg").symlink_to(elsewhere / "face.jpg")
    (source / "circle").symlink_to(source)
    (source / "out").symlink_to(elsewhere)
    (source / "nothing").symlink_to(tmp_path / "missing")
    (source / "itself").symlink_to(source / "itself")

    assert [(ref.key, ref.size_bytes) for ref in listed(source)] == [("linked.jpg", 4)]


def test_sockets_and_pipes_are_no_objects_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "face.jpg").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")

    assert keys(tmp_path) == ["face.jpg"]


async def test_a_pipe_in_the_place_of_a_file_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(b"face")
    [ref] = listed(tmp_path)
    (tmp_path / "face.jpg").unlink()
    os.mkfifo(tmp_path / "face.jpg")

    with pytest.raises(Unreadable, match="changed"):
        await fetched(tmp_path, ref)


async def test_a_name_that_is_not_utf8_is_listed_and_accounted_for(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"face")
    (tmp_path / "good.jpg").write_bytes(b"face")

    odd, good = listed(tmp_path)

    assert odd.key == "caf\\xe9.jpg"
    assert odd.url.encode().endswith(b"/caf\\xe9.jpg")
    with pytest.raises(Unreadable) as failure:
        await fetched(tmp_path, odd)
    assert failure.value.code == "NameNotUtf8"
    assert await fetched(tmp_path, good) == b"face"


async def test_a_name_that_only_looks_escaped_is_read(tmp_path: Path) -> None:
    (tmp_path / "caf\\xe9.jpg").write_bytes(b"face")
    [ref] = listed(tmp_path)

    assert await fetched(tmp_path, ref) == b"face"


def test_a_folder_that_cannot_be_read_ends_the_listing_and_is_named(tmp_path: Path) -> None:
    """A path longer than the system takes: unreadable for every user, root too."""
    (tmp_path / "face.jpg").touch()
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)

    with pytest.raises(UsageError, match=r"/d{250} cannot be read \(File name too long\)"):
        keys(tmp_path)


def test_a_listing_is_never_held_whole(tmp_path: Path) -> None:
    """Its first page is there before the last folder is looked at."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(1000):
            (tmp_path / folder / f"{number:04}").touch()
    batches = LocalBucket(parse_location(str(tmp_path))).list_batches()

    first = next(batches)
    for late in (tmp_path / "b").iterdir():
        late.unlink()

    assert len(first) == 1000
    assert list(batches) == []


@pytest.mark.parametrize(
    ("content", "change"),
    [
        (b"mask", lambda path: path.write_bytes(b"other")),
        (b"mask", lambda path: os.utime(path, ns=(0, 1_000))),
    ],
)
async def test_another_size_or_time_is_another_version(tmp_path: Path, content: bytes, change: Any) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    [ref] = listed(tmp_path)
    change(path)

    with pytest.raises(Unreadable, match="changed"):
        await fetched(tmp_path, ref)


def test_a_blob_cannot_leave_its_folder(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "part").write_bytes(b"x")
    bucket = LocalBucket(parse_location(str(tmp_path / "home")))

    with pytest.raises(UsageError, match="leads out of"):
        bucket.put_file("../part", tmp_path / "part")


def test_a_blob_that_cannot_be_stored_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "part").write_bytes(b"before")
    bucket = LocalBucket(parse_location(str(tmp_path / "home")))

    with pytest.raises(UsageError, match="cannot be written"):
        bucket.put_file("part", tmp_path / "missing")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["part"]
    assert (tmp_path / "home" / "part").read_bytes() == b"before"


def test_a_blob_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x")
    LocalBucket(parse_location(str(tmp_path / "home"))).put_file("runs/part", tmp_path / "part")

    assert (tmp_path / "home/runs/part").stat().st_mode == (tmp_path / "part").stat().st_mode
