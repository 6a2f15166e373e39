"""The providers' documented limits of media, judged by content. Written without the product's code.

Image checks read headers and the end of the file, not pixels: a decoder would forgive what lies
between, and an emulator that decoded every picture would be slower than the client it serves.
Sizes are decimal (1 MB = 10^6 bytes) for upper limits and binary for lower ones, the stricter reading
of documents that do not say which.
"""

import io
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import av
import PIL.Image

MB = 10**6


@dataclass(frozen=True, slots=True)
class ImageFacts:
    format: str  # Pillow's name: JPEG, PNG, …
    width: int  # pixels
    height: int


@dataclass(frozen=True, slots=True)
class VideoFacts:
    formats: frozenset[str]  # the demuxer's names: mov and mp4 are one; flv; avi
    brand: str  # major brand of an mp4 or mov, e.g. "isom", "qt  "
    width: int
    height: int
    duration_s: float
    frames: int


class Undecodable(ValueError):
    """The bytes are not an image or a video that can be read to its end."""


def read_image(media: bytes) -> ImageFacts:
    """Format and size of an image. Raises Undecodable: unknown format, broken or cut off."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(io.BytesIO(media)) as image:
                facts = ImageFacts(image.format or "", image.width, image.height)
                if facts.format == "PNG":
                    image.verify()
    except Exception as error:  # Pillow raises nearly anything on broken files
        raise Undecodable(type(error).__name__) from None
    # Writers may pad after the end-of-image marker, so it is looked for in the last 4 KB.
    if facts.format in ("JPEG", "MPO") and b"\xff\xd9" not in media[-4096:]:
        raise Undecodable("no end of image")
    return facts


def read_video(media: bytes) -> VideoFacts:
    """Container, size, duration and frames of a video whose first frame decodes.

    Raises Undecodable. Duration is that of the video stream, of the container where it has none.
    """
    try:
        with av.open(io.BytesIO(media), "r") as container:
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            next(container.decode(stream))
            container.seek(0)
            frames = sum(packet.size > 0 for packet in container.demux(stream))
            duration_s = 0.0
            if stream.duration is not None and stream.time_base is not None:
                duration_s = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                duration_s = container.duration / 1_000_000  # the library's unit is microseconds
            return VideoFacts(
                frozenset(container.format.name.split(",")),
                container.metadata.get("major_brand", ""),
                width,
                height,
                duration_s,
                frames,
            )
    except (av.FFmpegError, StopIteration, IndexError, ValueError) as error:
        raise Undecodable(type(error).__name__) from None


@dataclass(frozen=True, slots=True)
class Objection:
    """Why media are refused: the provider's code and a sentence."""

    code: str
    message: str


def tencent_image(media: bytes) -> Objection | None:
    """jpg or png; the face at least 100x100 px, so the picture at least that."""
    try:
        facts = read_image(media)
    except Undecodable:
        return Objection("FailedOperation.ImageDecodeFailed", "The image cannot be decoded.")
    if facts.format not in ("JPEG", "PNG", "MPO"):
        return Objection("FailedOperation.ImageDecodeFailed", "The image is neither jpg nor png.")
    if min(facts.width, facts.height) < 100:
        return Objection("FailedOperation.PoorImageQuality", "The image is below 100x100.")
    return None


def tencent_video(media: bytes) -> Objection | None:
    """mp4, avi, flv or mov; up to 20 s; up to 720p in either orientation.

    The code for more than 720p is inferred: the documents give the limit without one.
    """
    try:
        facts = read_video(media)
    except Undecodable:
        return Objection("FailedOperation.VideoDecodeFailed", "The video cannot be decoded.")
    if not facts.formats & {"mp4", "mov", "avi", "flv"}:
        return Objection("FailedOperation.VideoDecodeFailed", "Not an mp4, avi, flv or mov.")
    if facts.duration_s > 20.0:
        return Objection("FailedOperation.VideoDurationExceeded", "The video exceeds 20 s.")
    if max(facts.width, facts.height) > 1280 or min(facts.width, facts.height) > 720:
        return Objection("InvalidParameterValue", "The video exceeds 720p.")
    return None


def aliyun_image(media: bytes) -> Objection | None:
    """JPG of at most 10 MB and 1920x1080 (height x width).

    Whether landscape pictures are refused is not documented, so either orientation passes.
    """
    if len(media) > 10 * MB:
        return Objection("421", "the image exceeds 10 MB")
    if not media.startswith(b"\xff\xd8\xff"):
        return Objection("405", "the image is not a JPG")
    try:
        facts = read_image(media)
    except Undecodable:
        return Objection("420", "the image cannot be used")
    if max(facts.width, facts.height) > 1920 or min(facts.width, facts.height) > 1080:
        return Objection("405", "the image exceeds 1920x1080")
    return None


def aliyun_video(media: bytes) -> Objection | None:  # noqa: PLR0911  # one return for each limit
    """MP4 or MOV; more than 100 KB, at most 10 MB; 1 to 3 s; 8 frames or more.

    The documents give these limits without codes; 405 (format or size wrong), 420 (cannot be used)
    and 421 (too large) are inferred from the list of codes for images.
    """
    if len(media) > 10 * MB:
        return Objection("421", "the video exceeds 10 MB")
    if len(media) <= 100 * 1024:
        return Objection("405", "the video is not above 100 KB")
    try:
        facts = read_video(media)
    except Undecodable:
        return Objection("420", "the video cannot be used")
    if not facts.formats & {"mp4", "mov"}:
        return Objection("405", "the video is neither MP4 nor MOV")
    if not 1.0 <= facts.duration_s <= 3.0:
        return Objection("405", "the video is not between 1 and 3 s")
    if facts.frames < 8:
        return Objection("405", "the video has fewer than 8 frames")
    return None


class Examined:
    """What was already found of recently seen media, by check and hash: repeats cost nothing."""

    def __init__(self, kept: int = 4096) -> None:
        self._kept = kept
        self._found: OrderedDict[tuple[str, str], Objection | None] = OrderedDict()

    def known(self, kind: str, media_sha256: str) -> bool:
        return (kind, media_sha256) in self._found

    def judge(
        self, kind: str, media_sha256: str, media: bytes, check: Callable[[bytes], Objection | None]
    ) -> Objection | None:
        """The objection of `check` to the media, from memory where it was judged before."""
        key = (kind, media_sha256)
        if key not in self._found:
            self._found[key] = check(media)
            if len(self._found) > self._kept:
                self._found.popitem(last=False)
        return self._found[key]
