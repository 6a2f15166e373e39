"""What every store must do, and where a spec's url points."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from domain.errors import UsageError
from domain.objects import ObjectRef, Store

CONNECTIONS = 32
"""Kept open to a store: more than anybody here has threads that list or look up."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# The widest rule of the three stores' own: S3's old buckets may hold capitals, dots and underscores.
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


class Bucket(Protocol):
    """A bucket of one store, opened with credentials; the three stores are equals.

    Obligations, held by `tests/contract/test_stores.py`:

    1. Everything under the location's prefix is listed exactly once, keys verbatim, whatever
       characters they hold; an object whose name cannot be said in UTF-8 is listed too. Nothing is
       promised of the order: remote stores are listed by several listers at once.
    2. A listing never holds the whole bucket: memory is a few pages, or one directory's names.
    3. A listing that cannot be complete is a `UsageError` naming the bucket and what to do. It is
       never shorter without one, and never empty because the server speaks another dialect.
    4. `fetch` returns the listed version's bytes as stored, whole, or raises; never a part of them,
       never another version's, never more than `max_bytes`. `fetch_range` does so for a part.
    5. No exception and no log line holds a credential or a signed url.
    6. A blob appears under its key (or its path) whole or not at all.
    7. `look_up` says of an object what a listing would, letter for letter, so that whoever was asked
       about by a list of names is not asked about again when the bucket is listed.
    8. A deleted blob is gone at once: it is neither read nor listed any more.

    `list_batches`, `look_up` and the blob operations are synchronous: call them from a thread where an event
    loop runs. Keys are keys of the bucket, not relative to the location's prefix.
    """

    @property
    def store(self) -> Store: ...

    def list_batches(self) -> Iterator[list[ObjectRef]]:
        """Everything under the prefix, a page at a time.

        Raises: UsageError: bucket missing, access refused, server unreachable or not of this store.
        """
        ...

    def look_up(self, key: str, version_id: str | None) -> ObjectRef | None:
        """The object as a listing would give it, or that version of it; None where there is none.

        May be called by several threads at once.

        Raises: Unreadable: the store will not show this one object to these keys.
                UsageError: it would show none, or cannot be asked.
        """
        ...

    async def fetch(self, ref: ObjectRef, max_bytes: int) -> bytes:
        """The object's bytes, as they were listed.

        Raises: Unreadable: with the store's own code, or ours: `cut`, `changed`, `corrupt`,
                `timeout`, `connection`, `http_<status>`, `NameNotUtf8`, `KeyNotSignable`.
                Unfit: `too_large`, over `max_bytes`; nothing beyond them is read.
                UsageError: the bucket itself cannot be asked, whatever the object.
        """
        ...

    async def fetch_range(self, ref: ObjectRef, start: int, size_bytes: int) -> bytes:
        """A part of the object as it was listed: `size_bytes` from `start` on, fewer where it ends before.

        Raises: Unreadable: as `fetch`.
        """
        ...

    async def presign(self, ref: ObjectRef, expires_s: int) -> str | None:
        """A url that GETs the object without credentials for `expires_s`; None for local files.

        It carries a signature: hand it to who needs it and never write it down.
        """
        ...

    def put_file(self, key: str, path: Path) -> None:
        """Store the file under `key`, replacing what is there. Raises: UsageError."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Write the blob to `path`, replacing what is there; its folder must exist.

        Raises: FileNotFoundError: no such key.  UsageError: anything else the store says.
        """
        ...

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size in bytes) of every blob whose key starts with `prefix`. Raises: UsageError."""
        ...

    def delete_file(self, key: str) -> None:
        """Remove the blob; no error where there is none. Raises: UsageError."""
        ...


@dataclass(frozen=True, slots=True)
class Location:
    """Where a url points: a store, its bucket and the start of the keys."""

    store: Store
    bucket: str  # the absolute folder for local files
    prefix: str  # verbatim, may be empty; always empty for local files

    @property
    def url(self) -> str:
        """The location as `parse_location` reads it."""
        if self.store is Store.LOCAL:
            return f"file://{self.bucket}"
        return f"{self.store}://{self.bucket}/{self.prefix}"


def parse_location(url: str) -> Location:
    """Where `s3://bucket/prefix`, `oss://bucket/prefix`, a path or a `file://` path points.

    Nothing is percent-decoded: a prefix is what keys start with, verbatim, as in `ObjectRef.url`.
    A relative path counts from the working directory.

    Raises: UsageError: any other url; names it.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        if not url or "\0" in url:
            raise UsageError(f"{url!r} is no place to look for media: {_FORMS}")
        return _local(Path(url))
    name, rest = scheme[1].lower(), url[scheme.end() :]
    if name == "file":
        if not rest.startswith("/") or "\0" in rest:
            raise UsageError(f"{url} must name an absolute path, like file:///data/selfies")
        return _local(Path(rest))
    if name not in (Store.S3, Store.OSS):
        raise UsageError(f"{url} is in no store facesweep knows: {_FORMS}")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET_NAME.fullmatch(bucket):
        raise UsageError(f"{url} names no bucket ({bucket!r} cannot be one): {_FORMS}")
    return Location(Store(name), bucket, prefix)


def _local(path: Path) -> Location:
    # By text alone, so that ./selfies and ../kyc/selfies give their files one url.
    return Location(Store.LOCAL, os.path.abspath(path), "")  # noqa: PTH100


_FORMS = "give s3://bucket/prefix, oss://bucket/prefix, a folder or file:///folder"
