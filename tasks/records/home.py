"""The home: where an audit's listings, plans, verdicts, run records and reports appear whole.

A home is a local folder, or a bucket prefix with a local folder as its mirror. Whatever is read is
read from the folder; what is adopted goes to the bucket first and to the mirror second, so that the
mirror never holds what the bucket lacks. Folders whose names begin with a dot are this machine's
workshop: readers of the layout do not see them and buckets never get them.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self

from domain.errors import UsageError
from domain.runs import RUN_ID
from domain.verdicts import Provider
from tasks.records.durable import put_in_place, sync_folder
from tasks.records.staging import claim_folder

STAGING = ".staging"
JOURNAL = ".journal"
DELETIONS_AT_ONCE = 8  # in a bucket: thousands of parts, a round trip each


class Blobs(Protocol):
    """The few operations of a bucket that a home needs; the bucket classes have them."""

    def put_file(self, key: str, path: Path) -> None:
        """The file's bytes become the object, whole, or an error is raised."""

    def get_file(self, key: str, path: Path) -> None:
        """The object's bytes become the file. Raises: FileNotFoundError: there is no such object."""

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Key and size in bytes of every object whose key begins with the prefix."""

    def delete_file(self, key: str) -> None:
        """The object is gone; no error where there is none."""


class HomeUnwritable(UsageError):
    """A file cannot be put into the home: no permission, no space, no such place; names where."""


class Home:
    """One audit's home. Make it with `Home.local` or `Home.in_bucket`; neither writes anything.

    Relative paths are written with `/`, never leave the home and never name a dot folder; anything
    else raises `UsageError`.
    """

    def __init__(self, root: Path, blobs: Blobs | None = None, prefix: str = "") -> None:
        self.root = root
        self._blobs = blobs
        self._prefix = prefix

    @classmethod
    def local(cls, path: Path) -> Self:
        """A home that is a folder; the folder is made when the first file is put into it."""
        return cls(path.absolute())

    @classmethod
    def in_bucket(cls, blobs: Blobs, prefix: str, workspace: Path) -> Self:
        """A home under `prefix` of a bucket, mirrored in `workspace`, a folder of this home alone.

        The journal lies in the workspace: a run is resumed on the machine that began it, or goes
        on from what is published (`parts.restore`).
        """
        prefix = prefix.strip("/")
        return cls(workspace.absolute(), blobs, f"{prefix}/" if prefix else "")

    @property
    def is_in_bucket(self) -> bool:
        return self._blobs is not None

    def path(self, relative: str) -> Path:
        """Where a file of the home lies, or would lie, on this machine."""
        return self.root.joinpath(*_parts_of(relative))

    def journal_path(self, run_id: str) -> Path:
        """The run's journal, on this machine whatever the home is.

        Raises:
            UsageError: not a run id.
        """
        return self.root / JOURNAL / f"{_run(run_id)}.sqlite"

    def lock_path(self, run_id: str) -> Path:
        """The file of the run's `RunLock`, beside its journal."""
        return self.root / JOURNAL / f"{_run(run_id)}.lock"

    def shard_journal_path(self, run_id: str, provider: Provider, number: int) -> Path:
        """The journal of one shard of a backfill, on the machine that works on it.

        Raises:
            UsageError: not a run id.
        """
        return self.root / JOURNAL / f"{_run(run_id)}.{provider}-{number}.sqlite"

    def shard_lock_path(self, run_id: str, provider: Provider, number: int) -> Path:
        """The file of the lock of whoever works on the shard here, beside its journal."""
        return self.shard_journal_path(run_id, provider, number).with_suffix(".lock")

    def shard_journals(self, run_id: str) -> dict[tuple[Provider, int], Path]:
        """The journals of a backfill's shards that this machine worked on, by provider and number."""
        found = {}
        for path in sorted((self.root / JOURNAL).glob(f"{_run(run_id)}.*.sqlite")):
            provider, _, number = path.stem.removeprefix(f"{run_id}.").partition("-")
            if provider in tuple(Provider) and number.isdecimal():
                found[Provider(provider), int(number)] = path
        return found

    def leases_path(self, run_id: str, provider: Provider) -> Path:
        """What the run's process holds at Prefect's server, for whoever goes on after a kill -9."""
        return self.root / JOURNAL / f"{_run(run_id)}.{provider}.leases.json"

    def caps_path(self, run_id: str) -> Path:
        """The caps somebody gave the run while it worked, beside its journal."""
        return self.root / JOURNAL / f"{_run(run_id)}.caps.json"

    @property
    def beginning_lock_path(self) -> Path:
        """The file of the lock under which the runs of this home begin, one at a time."""
        return self.root / JOURNAL / ".beginning.lock"  # no run's: an id has no dot in front

    @property
    def compaction_lock_path(self) -> Path:
        """The file of the lock that a compaction holds; no run's id begins with `_`."""
        return self.root / JOURNAL / "_compaction.lock"

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the home's filesystem that no reader sees; gone afterwards.

        What a killed process left behind is cleared away by the next one.

        Raises:
            HomeUnwritable: it cannot be made.
        """
        workshop = self.root / STAGING
        try:
            folder, claim = claim_folder(workshop)
        except OSError as error:
            raise _unwritable(workshop, error) from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(claim)

    def adopt(self, staged: Path, relative: str) -> Path:
        """The staged file or folder appears at `relative`, whole; where it lies now.

        A file replaces what was there; a folder must be new. In a bucket a folder's files appear
        one after the other, each whole: whoever needs all of them waits for the file that is
        adopted last.

        Raises:
            HomeUnwritable: nothing appeared in this machine's folder; names the path and why.
        """
        target = self.path(relative)
        if staged.is_dir() and target.exists():
            raise HomeUnwritable(f"{target} exists already: a folder of a home is never replaced")
        if self._blobs is not None:
            files = sorted(each for each in staged.rglob("*") if each.is_file())
            for each in files if staged.is_dir() else [staged]:
                inner = "/".join((relative, *each.relative_to(staged).parts))
                try:
                    self._blobs.put_file(self._prefix + inner, each)
                except UsageError as refusal:
                    raise HomeUnwritable(str(refusal)) from None
        try:
            put_in_place(staged, target)
        except OSError as error:
            raise _unwritable(target, error) from None
        return target

    def discard(self, relative: str) -> None:
        """The folder is gone from this machine's home, all at once; nothing where there is none.

        Raises:
            HomeUnwritable: it is there still; names the path and why.
        """
        target = self.path(relative)
        with self.staging() as folder:
            try:
                target.rename(folder / "discarded")
            except FileNotFoundError:
                return
            except OSError as error:
                raise _unwritable(target, error) from None

    def write_json(self, relative: str, document: object) -> Path:
        """The document appears at `relative` as JSON, whole, in the place of what was there.

        Moments are written as ISO 8601.

        Raises:
            HomeUnwritable: names the path and why.  TypeError: the document is not JSON.
        """
        text = json.dumps(document, ensure_ascii=False, indent=2, default=_moment) + "\n"
        with self.staging() as folder:
            staged = folder / "document.json"
            try:
                staged.write_text(text, encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise _unwritable(self.path(relative), error) from None
            return self.adopt(staged, relative)

    def remove(self, relatives: Collection[str]) -> None:
        """The files are gone, on disk too, and folders they leave empty with them; gone ones are no error.

        Raises:
            HomeUnwritable: one of them, or its folder, cannot be changed; names it and why.
        """
        for relative in relatives:
            path = self.path(relative)
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                raise _unwritable(path, error) from None
        if self._blobs is not None:
            keys = [self._prefix + relative for relative in relatives]
            with ThreadPoolExecutor(DELETIONS_AT_ONCE) as threads:
                list(threads.map(self._blobs.delete_file, keys))
        for folder in {self.path(relative).parent for relative in relatives}:
            with contextlib.suppress(OSError):  # it holds other files
                folder.rmdir()
            sync_folder(next(each for each in (folder, *folder.parents) if each.is_dir()))

    def read_json(self, relative: str) -> Any:
        """The document at `relative` as it is now, from the bucket where the home is in one.

        Raises:
            UsageError: there is none, or it is not JSON; names the path.
        """
        document = self.find_json(relative)
        if document is None:
            raise UsageError(f"there is no {relative} in the home {self.root}")
        return document

    def find_json(self, relative: str, is_final: Callable[[Any], bool] = lambda _: False) -> Any | None:
        """The document, as `read_json` gives it; None where there is none.

        Never the mirror's copy: another process may be about to put an older one there. But a copy that
        `is_final` will never change, and is fetched once.

        Raises:
            UsageError: it is not JSON, or cannot be read; names the path.
        """
        path = self.path(relative)
        try:
            if self._blobs is None:
                return json.loads(path.read_bytes())
            if path.is_file() and is_final(document := json.loads(path.read_bytes())):
                return document
            with self.staging() as folder:
                self._blobs.get_file(self._prefix + relative, folder / "fetched")
                document = json.loads((folder / "fetched").read_bytes())
                if is_final(document):
                    put_in_place(folder / "fetched", path)
                return document
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from None

    def refresh(self, prefix: str) -> None:
        """The mirror holds what the bucket has under `prefix`, and no more; a local home is always fresh.

        Parquet parts never change and are fetched once; other files are fetched each time. What is
        deleted from the bucket meanwhile is left out.
        """
        if self._blobs is None:
            return
        # Before the bucket is listed: what is adopted from now on is in neither list, and stays.
        here = self._names_here(prefix)
        there = dict(self._remote(prefix))
        for relative, size_bytes in there.items():
            target = self.path(relative)
            is_immutable = relative.endswith(".parquet")
            if is_immutable and target.is_file() and target.stat().st_size == size_bytes:
                continue
            with contextlib.suppress(FileNotFoundError):
                self._fetch(relative, target)
        for relative in here - there.keys():
            self.path(relative).unlink(missing_ok=True)

    def names(self, prefix: str, beginning: str = "") -> list[str]:
        """Relative paths of the files under the folder `prefix`, sorted; the bucket's where there is one.

        With a `beginning`, of those right in the folder whose names begin so: no others are listed.
        """
        if self._blobs is not None:
            return sorted(relative for relative, _ in self._remote(prefix, beginning))
        if beginning:
            found = self.path(prefix).glob(f"{beginning}*")
            return sorted(self._relative(each) for each in found if each.is_file())
        return sorted(self._names_here(prefix))

    def paths(self, pattern: str) -> list[Path]:
        """Files of this machine's folder that match a glob such as `verdicts/**/*.parquet`, sorted."""
        _parts_of(pattern)
        found = self.root.glob(pattern)
        return sorted(each for each in found if each.is_file() and "/." not in f"/{self._relative(each)}")

    def unwritable(self, relative: str, error: OSError) -> HomeUnwritable:
        """The sentence for a file that could not be written for this place."""
        return _unwritable(self.path(relative), error)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _names_here(self, prefix: str) -> set[str]:
        """Relative paths of this machine's file at `prefix`, or of those in the folder of that name."""
        top = self.path(prefix)
        return {self._relative(each) for each in (top, *top.rglob("*")) if each.is_file()}

    def _remote(self, prefix: str, beginning: str = "") -> Iterator[tuple[str, int]]:
        """Path and size of the bucket's file at `prefix`, or of those in the folder of that name.

        With a `beginning`, of those right in the folder whose names begin so.
        """
        wanted = _parts_of(prefix)
        if self._blobs is None:
            return
        top = self._prefix + "/".join((*wanted, beginning) if beginning else wanted)
        for key, size_bytes in self._blobs.list_keys(top):
            relative = key.removeprefix(self._prefix)
            if beginning and "/" in key[len(top) :]:
                continue
            with contextlib.suppress(UsageError):  # somebody else's object under our prefix
                if _parts_of(relative)[: len(wanted)] == wanted:
                    yield relative, size_bytes

    def _fetch(self, relative: str, target: Path) -> None:
        assert self._blobs is not None  # noqa: S101 - only bucket homes have anything remote
        with self.staging() as folder:
            staged = folder / "fetched"
            try:
                self._blobs.get_file(self._prefix + relative, staged)
                put_in_place(staged, target)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise _unwritable(target, error) from None


@contextlib.contextmanager
def written_to(place: Path) -> Iterator[None]:
    """Raises HomeUnwritable, naming the place, where the system refuses what is written in the block."""
    try:
        yield
    except OSError as error:
        raise _unwritable(place, error) from None


_SEGMENT = re.compile(r"[^.\x00/\\][^\x00/\\]*")  # no dot folder, so neither . nor ..


def _parts_of(relative: str) -> tuple[str, ...]:
    parts = PurePosixPath(relative).parts
    if not parts or any(_SEGMENT.fullmatch(part) is None for part in parts):
        raise UsageError(f"{relative!r} is not a path inside a home")
    return parts


def _run(run_id: str) -> str:
    if RUN_ID.fullmatch(run_id) is None:
        raise UsageError(f"{run_id!r} is not a run id")
    return run_id


def _unwritable(path: Path, error: OSError) -> HomeUnwritable:
    # Not error.strerror: pyarrow puts a sentence of its own there.
    reason = os.strerror(error.errno) if error.errno else error
    return HomeUnwritable(f"{path} cannot be written: {reason}")


def _moment(value: object) -> str:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")
