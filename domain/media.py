"""Media as they are sent to a provider."""

from dataclasses import dataclass

from domain.objects import MediaKind


@dataclass(frozen=True, slots=True)
class PreparedMedia:
    """Bytes a provider accepts, and how they came from the object's own bytes."""

    content: bytes
    kind: MediaKind  # image or video, by content
    content_sha256: str  # of the object as fetched, hex
    sent_sha256: str  # of `content`, hex; equal to content_sha256 when untouched
    preparation: str  # "untouched", or what was done, e.g. "resized 4032x3024 to 1440x1080, jpeg q92"
    further: tuple["PreparedMedia", ...] = ()  # more segments of the same video, to be asked about as well
