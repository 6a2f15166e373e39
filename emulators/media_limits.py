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
_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True, slots=True)
class ImageFacts:
    format: str  # Pillow's name: JPEG, PNG, …
    width: int  # pixels
    height: int
    is_turned: bool = False  # EXIF swaps width and height

    @property
    def readings(self) -> tuple[tuple[int, int], ...]:
        """Width and height as stored, and as EXIF has the picture stand."""
        stored = (self.width, self.height)
        return (stored, stored[::-1]) if self.is_turned else (stored,)


@dataclass(frozen=True, slots=True)
class VideoFacts:
    formats: frozenset[str]  # the demuxer's names: mov and mp4 are one; flv; avi
    brand: str  # major brand of an mp4 or mov, e.g. "isom", "qt  "
    width: int
    height: int
    shortest_s: float  # of what the video stream and the container say of the duration, the less
    longest_s: float  # and the more
    frames: int

    @property
    def is_mp4_or_mov(self) -> bool:
        """One demuxer reads the whole family; 3GP and sound alone (M4A) are other formats."""
        return bool(self.formats & {"mp4", "mov"}) and not self.brand.startswith(("3g", "M4A", "M4B"))


class Undecodable(ValueError):
    """The bytes are not an image or a video that can be read to its end."""


def read_image(media: bytes) -> ImageFacts:
    """Format and size of an image. Raises Undecodable: unknown format, broken or cut off."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(io.BytesIO(media)) as image:
                turned = image.format != "PNG" and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
                facts = ImageFacts(image.format or "", image.width, image.height, turned)
                if facts.format == "PNG":
                    image.verify()
    except Exception as error:  # Pillow raises nearly anything on broken files
        raise Undecodable(type(error).__name__) from None
    if facts.format in ("JPEG", "MPO") and not has_end_of_image(media):
        raise Undecodable("no end of image")
    return facts


def has_end_of_image(jpeg: bytes) -> bool:
    """Whether the marker stands behind the pixels. Phones append depth maps and videos, so: anywhere behind.

    A thumbnail has an end of its own, before them: headers are walked over, segment by segment.
    """
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        if marker == 0xDA:
            return jpeg.find(b"\xff\xd9", at) >= 0
    return False


def read_video(media: bytes) -> VideoFacts:
    """Container, size, duration and frames of a video whose first frame decodes.

    Raises Undecodable. Stream and container may say different durations; both have to fit.
    """
    try:
        with av.open(io.BytesIO(media), "r") as container:
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            next(container.decode(stream))
            container.seek(0)
            frames = sum(packet.size > 0 for packet in container.demux(stream))
            durations_s = []
            if stream.duration is not None and stream.time_base is not None:
                durations_s.append(float(stream.duration * stream.time_base))
            if container.duration is not None:
                durations_s.append(container.duration / 1_000_000)  # the library's unit is microseconds
            return VideoFacts(
                frozenset(container.format.name.split(",")),
                container.metadata.get("major_brand", ""),
                width,
                height,
                min(durations_s, default=0.0),
                max(durations_s, default=0.0),
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
    if not (facts.is_mp4_or_mov or facts.formats & {"avi", "flv"}):
        return Objection("FailedOperation.VideoDecodeFailed", "Not an mp4, avi, flv or mov.")
    if facts.longest_s > 20.0:
        return Objection("FailedOperation.VideoDurationExceeded", "The video exceeds 20 s.")
    if max(facts.width, facts.height) > 1280 or min(facts.width, facts.height) > 720:
        return Objection("InvalidParameterValue", "The video exceeds 720p.")
    return None


def aliyun_image(media: bytes) -> Objection | None:
    """JPG of at most 10 MB and 1920x1080 (height x width).

    Whether landscape pictures are refused is not documented, so one passes that is within the same
    width and height; whether EXIF turns a picture before it is measured is not either, so both ways.
    """
    if len(media) > 10 * MB:
        return Objection("421", "the image exceeds 10 MB")
    if not media.startswith(b"\xff\xd8\xff"):
        return Objection("405", "the image is not a JPG")
    try:
        facts = read_image(media)
    except Undecodable:
        return Objection("420", "the image cannot be used")
    if not all(width <= 1080 and height <= 1920 for width, height in facts.readings):
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
    if not facts.is_mp4_or_mov:
        return Objection("405", "the video is neither MP4 nor MOV")
    if facts.shortest_s < 1.0 or facts.longest_s > 3.0:
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
