"""Where an inventory lies: a manifest or a list, and its parts, in a bucket or a folder."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from domain.errors import Unreadable, UsageError
from domain.objects import Store
from tasks.buckets.bucket import Bucket, Location
from tasks.buckets.inventory.manifest import MOST_BYTES, Manifest, parse_manifest


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an inventory."""

    key: str  # in its bucket, or the path of a local file
    where: str = ""  # what stands before the key in its url
    size_bytes: int | None = None  # as the manifest says it
    md5: str | None = None  # hex

    @property
    def name(self) -> str:
        """For people: a manifest's keys may hold anything, and must not write on a terminal."""
        name = self.where + self.key
        return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in name)


class Shelf:
    """The bucket or folder of an inventory: brings its files to this disk, one at a time."""

    def __init__(self, place: Location, bucket: Bucket, work_dir: Path) -> None:
        """Args:  place: of the manifest or list.  bucket: the one it is in.  work_dir: on this disk."""
        self._place, self._bucket, self._work_dir = place, bucket, work_dir

    @property
    def first(self) -> Part:
        """The manifest or list itself."""
        place = self._place
        if place.store is Store.LOCAL:
            return Part(place.bucket)
        return Part(place.prefix, f"{place.store}://{place.bucket}/")

    def manifest(self) -> Manifest:
        """The manifest. Raises: UsageError: it is not there, or is none."""
        with self.fetched(self.first) as path:
            if path.stat().st_size > MOST_BYTES:
                raise UsageError(
                    f"{self.first.name} is no inventory manifest: it is larger than {MOST_BYTES} bytes"
                )
            return parse_manifest(path.read_bytes(), self.first.name)

    def parts_of(self, manifest: Manifest) -> list[Part]:
        """The manifest's files: in its own bucket; of a local one beside it, or in `data` beside its folder.

        Raises: UsageError: the manifest points elsewhere.
        """
        place = self._place
        if place.store is Store.LOCAL:
            return [
                Part(str(self._local(each.key)), "", each.size_bytes, each.md5) for each in manifest.parts
            ]
        if manifest.own_bucket != place.bucket:
            raise UsageError(
                f"{place.url} says that it is in bucket {manifest.own_bucket!r}: give the manifest in the "
                "bucket it was written to, or a local copy with its parts"
            )
        where = f"{place.store}://{place.bucket}/"
        return [Part(each.key, where, each.size_bytes, each.md5) for each in manifest.parts]

    @contextmanager
    def fetched(self, part: Part) -> Iterator[Path]:
        """The file on this disk, for the time of the block.

        Raises: UsageError: it is not there, or has not the size it should have.
        """
        if self._place.store is Store.LOCAL:
            if not Path(part.key).is_file():
                raise UsageError(f"there is no file {part.name}: check source.inventory")
            yield Path(part.key)
            return
        self._check_there(part)
        path = self._work_dir / secrets.token_hex(8)
        try:
            self._bucket.get_file(part.key, path)
            yield path
        except FileNotFoundError:
            raise UsageError(f"{part.name} went away while it was read: use a newer inventory") from None
        finally:
            path.unlink(missing_ok=True)

    def _check_there(self, part: Part) -> None:
        """Ask before a large file is brought here that is not the one that is meant."""
        try:
            found = self._bucket.look_up(part.key, None)
        except Unreadable as refusal:
            raise UsageError(f"these keys may not read {part.name} ({refusal.code})") from None
        if found is None:
            raise UsageError(f"there is no object {part.name}: check source.inventory")
        if part.size_bytes is not None and found.size_bytes != part.size_bytes:
            raise UsageError(
                f"{part.name} has {found.size_bytes} bytes and not the {part.size_bytes} of its manifest: "
                "use a newer inventory"
            )

    def _local(self, key: str) -> Path:
        folder, name = Path(self._place.bucket).parent, PurePosixPath(key).name
        if name in ("", ".."):
            raise UsageError(f"{self._place.bucket} is no inventory manifest: {key!r} is no file")
        beside, among_data = folder / name, folder.parent / "data" / name
        return among_data if among_data.is_file() and not beside.is_file() else beside
