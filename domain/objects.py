"""Objects: media files in a bucket, identified by url and version."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Store(StrEnum):
    """Where a bucket lives; the three are equals."""

    LOCAL = "local"
    S3 = "s3"
    OSS = "oss"


class MediaKind(StrEnum):
    """What an object is; decided by suffix when planning and by content once fetched."""

    IMAGE = "image"
    VIDEO = "video"
    OTHER = "other"


class Absence(StrEnum):
    """Why a listing has no more than the name of an object: a list named it, and the store was asked."""

    GONE = "gone"  # there is no object, or no version, of that name
    DENIED = "denied"  # the store will not show it to these keys


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object as a listing names it.

    `url` is `<scheme>://<bucket>/<key>` with the key verbatim, as `aws s3` writes it: nothing is
    percent-encoded, so scheme, bucket and key can be cut out of it without loss. A local file's bucket
    is its source folder and its url is `file://` and the absolute path.
    """

    url: str
    store: Store
    bucket: str
    key: str  # no leading slash; may hold any character, newline included
    version_id: str | None  # only where the store gave one
    etag: str | None  # without quotes; None for local files
    size_bytes: int
    last_modified: datetime  # UTC
    subject_id: str | None = None  # an inventory's: whose face it is meant to be
    stratum: str | None = None  # an inventory's, or cut out of the key when planning

    @property
    def version(self) -> str:
        """What tells two contents of one url apart: version id, else ETag, else size and time."""
        return version_of(self.version_id, self.etag, self.size_bytes, self.last_modified)


def version_of(version_id: str | None, etag: str | None, size_bytes: int, last_modified: datetime) -> str:
    """Version id, else ETag, else `<size>-<modification time in microseconds since 1970>`."""
    if version_id:
        return version_id
    if etag:
        return etag
    return f"{size_bytes}-{(last_modified - EPOCH) // MICROSECOND}"
