"""A local folder as a bucket: its files are the objects, their relative paths the keys."""

import asyncio
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.errors import Unfit, Unreadable, UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets.bucket import Location
from tasks.buckets.whole_file import UNFINISHED, whole_file

# As many as a page of S3 or OSS holds.
PAGE_OBJECTS = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_BYTE = re.compile(r"\\x[89a-f][0-9a-f]")
# Gone since its name was read, or a link to nothing: there is no object.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class LocalBucket:
    """A folder, read in the order of its keys' bytes, holding one directory's names per level.

    Links to files are followed, links to directories are not (they could turn in circles).
    Sockets, pipes and devices are no objects and are never opened. A name that is not UTF-8 is
    listed with its odd bytes written as `\\xff`, and cannot be fetched under that name.
    """

    store = Store.LOCAL

    def __init__(self, location: Location) -> None:
        if location.store is not Store.LOCAL:
            raise ValueError(f"{location.url} is not local")
        self._root = location.bucket
        self._url_root = self._root.rstrip("/")

    def list_batches(self) -> Iterator[list[ObjectRef]]:
        """Every file below the folder. Raises: UsageError: a directory cannot be read."""
        if not Path(self._root).is_dir():
            raise UsageError(f"{self._root} is not a folder: give the folder that holds the media")
        page: list[ObjectRef] = []
        for key, status in self._walk():
            page.append(self._ref(key, status))
            if len(page) == PAGE_OBJECTS:
                yield page
                page = []
        if page:
            yield page

    def look_up(self, key: str, version_id: str | None) -> ObjectRef | None:  # noqa: ARG002 - files have none
        """The file as a listing would give it, or None. Raises: Unreadable: it cannot be looked at."""
        try:
            status = os.stat(f"{self._url_root}/{key}")  # noqa: PTH116 - as in `_status`
        except ValueError:  # no file's name: it holds a zero
            return None
        except OSError as error:
            if error.errno in (*_NOTHING_THERE, errno.ENAMETOOLONG):
                return None
            raise _unreadable(error) from None
        return self._ref(key, status) if stat.S_ISREG(status.st_mode) else None

    async def fetch(self, ref: ObjectRef, max_bytes: int) -> bytes:
        """The file's bytes. Raises: Unreadable, Unfit: see `Bucket.fetch`."""
        if ref.size_bytes > max_bytes:
            raise Unfit("too_large", f"{ref.size_bytes} bytes, the limit is {max_bytes}")
        return await asyncio.to_thread(self._read, ref, 0, ref.size_bytes)

    async def fetch_range(self, ref: ObjectRef, start: int, size_bytes: int) -> bytes:
        """A part of the file. Raises: Unreadable: see `Bucket.fetch_range`."""
        if not 0 <= start < ref.size_bytes:
            return b""
        return await asyncio.to_thread(self._read, ref, start, min(size_bytes, ref.size_bytes - start))

    async def presign(self, ref: ObjectRef, expires_s: int) -> str | None:  # noqa: ARG002
        """None: nobody else can reach a local file."""
        return None

    def put_file(self, key: str, path: Path) -> None:
        """Copy the file to `key` below the folder; it appears there by renaming."""
        target = self._blob_path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as unfinished:
                shutil.copyfile(path, unfinished)
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}") from error

    def get_file(self, key: str, path: Path) -> None:
        """Copy the blob to `path`. Raises: FileNotFoundError, UsageError."""
        source = self._blob_path(key)
        if not source.is_file():
            raise FileNotFoundError(errno.ENOENT, "no such blob", str(source))
        try:
            with whole_file(path) as unfinished:
                shutil.copyfile(source, unfinished)
        except OSError as error:
            raise UsageError(f"{source} cannot be copied to {path}: {error.strerror}") from error

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size) of every file whose key starts with `prefix`; a missing folder is empty."""
        if not Path(self._root).is_dir():
            return
        for key, status in self._walk():
            shown = _shown(key)
            if shown.startswith(prefix) and UNFINISHED not in shown:
                yield shown, status.st_size

    def delete_file(self, key: str) -> None:
        """Remove the file at `key`; the folders above it stay."""
        target = self._blob_path(key)
        try:
            target.unlink()
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                raise UsageError(f"{target} cannot be removed: {error.strerror}") from error

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """(key as the file system has it, status) of every file, in the order of the keys."""
        levels = [iter(self._names(""))]
        while levels:
            name = next(levels[-1], None)
            if name is None:
                levels.pop()
            elif name.endswith("/"):
                levels.append(iter(self._names(name)))
            else:
                status = self._status(name)
                if status is not None and stat.S_ISREG(status.st_mode):
                    yield name, status

    def _names(self, directory: str) -> list[str]:
        """Keys of a directory's entries; those of directories end in a slash.

        With the slash a directory sorts where the keys below it belong: `a-b` < `a/b` < `a0`.
        """
        path = f"{self._url_root}/{directory}"
        try:
            with os.scandir(path) as entries:
                names = [
                    f"{directory}{entry.name}/"
                    if entry.is_dir(follow_symlinks=False)
                    else f"{directory}{entry.name}"
                    for entry in entries
                ]
        except OSError as error:
            if error.errno in _NOTHING_THERE and directory:
                return []
            raise UsageError(
                f"the folder {_shown(path.rstrip('/'))} cannot be read ({error.strerror}), so the listing "
                "would miss what it holds: mend its permissions or move it away"
            ) from error
        return sorted(names, key=os.fsencode)

    def _status(self, key: str) -> os.stat_result | None:
        path = f"{self._url_root}/{key}"
        try:
            return os.stat(path)  # noqa: PTH116 - a Path object per file doubles the listing's cost
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return None
            raise UsageError(
                f"the file {_shown(path)} cannot be looked at ({error.strerror}): "
                "mend its permissions or move it away"
            ) from error

    def _ref(self, key: str, status: os.stat_result) -> ObjectRef:
        shown = _shown(key)
        return ObjectRef(
            url=f"file://{self._url_root}/{shown}",
            store=Store.LOCAL,
            bucket=self._root,
            key=shown,
            version_id=None,
            etag=None,
            size_bytes=status.st_size,
            last_modified=_modified(status),
        )

    def _read(self, ref: ObjectRef, start: int, size_bytes: int) -> bytes:
        try:
            # O_NONBLOCK: a pipe that took the file's place since the listing must not stop the run
            descriptor = os.open(f"{self._url_root}/{ref.key}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in _NOTHING_THERE and _SHOWN_BYTE.search(ref.key):
                raise Unreadable(
                    "NameNotUtf8", "the file's name is not UTF-8: rename it to have it read"
                ) from None
            raise _unreadable(error) from None
        try:
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise Unreadable("changed", "it was a file when it was listed")
                if status.st_size != ref.size_bytes or _modified(status) != ref.last_modified:
                    raise Unreadable("changed", "size or time differ from the listing")
                file.seek(start)
                # One byte more where nothing may follow: a file that grows meanwhile is not the listed one
                content = file.read(size_bytes + (start + size_bytes == ref.size_bytes))
        except OSError as error:
            raise _unreadable(error) from None
        if len(content) != size_bytes:
            raise Unreadable("cut", f"{len(content)} of {size_bytes} bytes were there")
        return content

    def _blob_path(self, key: str) -> Path:
        if ".." in key.split("/"):
            raise UsageError(f"{key!r} leads out of {self._root}: a blob's key may not hold '..'")
        return Path(self._root, key)


def _shown(name: str) -> str:
    """The name in valid UTF-8: bytes that are not UTF-8 become `\\xff`, all others stay."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _modified(status: os.stat_result) -> datetime:
    # By whole microseconds: through a float two readings of one file could differ.
    return _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)


def _unreadable(error: OSError) -> Unreadable:
    known = {errno.ENOENT: "NoSuchKey", errno.EACCES: "AccessDenied", errno.EPERM: "AccessDenied"}
    code = known.get(error.errno or 0) or errno.errorcode.get(error.errno or 0, "OSError")
    return Unreadable(code, error.strerror or "the file cannot be read")
