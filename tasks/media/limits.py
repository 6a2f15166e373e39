"""What each provider accepts, as documented; every number with its source.

Where a provider's documents disagree or leave a reading open, the numbers here satisfy all readings: a
medium that is sent is then within the limits whichever reading is right. docs/providers.md names the
documents.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from domain.verdicts import Provider
from tasks.media.sniff import Format

_ENVELOPE_BYTES = 1024  # what stands around the base64 in a request body, with room to spare


class ImagePolicy(StrEnum):
    """How much of what a provider writes about images is followed."""

    UNTOUCHED = "untouched"  # what it would accept goes as it is; the rest is changed as little as fits
    DOCUMENTED = "documented"  # every rule is kept, also where nobody knows whether it is enforced
    RECOMMENDED = "recommended"  # and its advice on pixels, quality and size is taken


@dataclass(frozen=True, slots=True)
class Advice:
    """What a provider recommends for an image without asking for it."""

    short_side: int  # px, at most
    long_side: int | None
    quality: int | None  # of a JPEG; None: nothing is said
    size_bytes: int | None  # of the file; a larger one is made again


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """The media one provider accepts by base64 delivery. All bounds are inclusive.

    Sizes are of the base64 text, because that is what the documents bound; `max_image_bytes` and
    `max_video_bytes` are the same bounds on the file.
    """

    provider: Provider
    image_formats: frozenset[Format]
    image_base64_bytes: int
    image_width: int | None  # px of the upright picture; None: no bound is documented
    image_height: int | None
    image_portrait: bool  # height > width is asked for
    image_least_side: int  # px; a smaller picture cannot hold a face of the least size
    image_advice: Advice
    video_formats: frozenset[Format]
    video_base64_bytes: int
    video_min_bytes: int  # of the file
    video_min_s: float
    video_max_s: float
    video_short_side: int | None  # px
    video_long_side: int | None
    video_min_frames: int
    video_best_s: tuple[float, float]  # lengths aimed at, from and to, where a clip has to be cut
    request_bytes: int | None  # of the whole request; None: no bound is documented
    image_policy: ImagePolicy = ImagePolicy.UNTOUCHED
    video_segments: int = 1  # of a video that has to be cut, at most

    @property
    def max_image_bytes(self) -> int:
        """The largest image file that fits, in bytes before base64."""
        return self._file_bytes(self.image_base64_bytes)

    @property
    def max_video_bytes(self) -> int:
        """The largest video file that fits, in bytes before base64."""
        return self._file_bytes(self.video_base64_bytes)

    def _file_bytes(self, base64_bytes: int) -> int:
        if self.request_bytes is not None:
            base64_bytes = min(base64_bytes, self.request_bytes - _ENVELOPE_BYTES)
        return max(base64_bytes // 4 * 3, 0)

    def accepts_size(self, width: int, height: int) -> bool:
        """Whether an image of these pixels is within the hard size limits."""
        return (self.image_width is None or width <= self.image_width) and (
            self.image_height is None or height <= self.image_height
        )


TENCENT = ProviderLimits(
    provider=Provider.TENCENT,
    image_formats=frozenset({Format.JPEG, Format.PNG}),
    image_base64_bytes=3_000_000,
    image_width=None,
    image_height=None,
    image_portrait=False,
    image_least_side=100,
    image_advice=Advice(short_side=480, long_side=640, quality=None, size_bytes=None),
    video_formats=frozenset({Format.MP4, Format.AVI, Format.FLV, Format.MOV}),
    video_base64_bytes=8_000_000,
    video_min_bytes=0,
    video_min_s=0.0,
    video_max_s=20.0,
    video_short_side=720,
    video_long_side=1280,
    video_min_frames=1,
    video_best_s=(2.0, 5.0),
    request_bytes=10_000_000,
)
"""Tencent `DetectAIFakeFaces`.

image formats      jpg, png (API document 1007/101561; the faceid SDK 3.1.179, `DetectAIFakeFacesRequest`)
image base64       3,000,000: the older document's hard limit, the newer one's recommendation (its hard limit
                   is "10M"). Under 3 M an image is accepted by both. May be raised with `replace`.
image size         no upper bound in pixels; about 480x640 is suggested. A face of at least 100x100: a picture
                   with a side below that holds none
image colours      not documented. Media with four colour components are turned into RGB all the same: see
                   `images.is_acceptable`
video formats      mp4, avi, flv; mov in the newest SDK and the international document of 2026-05 only
video base64       8,000,000: hard in the older document, recommended in the newer
video duration     at most 20 s (error `FailedOperation.VideoDurationExceeded`); no minimum; 2 to 5 s advised
video size         "at most 720p", read as: short side <= 720 and long side <= 1280, whichever way the clip
                   stands, because phones record 720x1280 as often as 1280x720
whole request      10 MB for POST signed with TC3 (document 1278/46710). Whether 10*2^20 is meant is unknown
"""

TENCENT_ENCRYPTED = replace(TENCENT, video_base64_bytes=7_490_000)
"""The same when the body is encrypted: the base64 is encrypted and encoded again, 4/3 larger, and the whole
request still has to stay within 10^7 bytes. The image bound is unaffected (3 M becomes 4 M).
"""

ALIYUN = ProviderLimits(
    provider=Provider.ALIYUN,
    image_formats=frozenset({Format.JPEG}),
    image_base64_bytes=10_000_000,
    image_width=1080,
    image_height=1920,
    image_portrait=True,
    image_least_side=1,
    image_advice=Advice(short_side=720, long_side=None, quality=80, size_bytes=100_000),
    video_formats=frozenset({Format.MP4, Format.MOV}),
    video_base64_bytes=10_000_000,
    video_min_bytes=102_401,
    video_min_s=1.0,
    video_max_s=3.0,
    video_short_side=None,
    video_long_side=None,
    video_min_frames=8,
    video_best_s=(1.5, 2.9),
    request_bytes=None,
)
"""Aliyun `DeepfakeDetect` with `FaceBase64` (API document "人脸Deepfake检测服务").

image formats      JPG/JPEG only
image size         at most 1920 high and 1080 wide; height > width is documented as a rule. Whether a
                   landscape image is refused or only judged worse is unknown, so one is sent, made to fit,
                   unless the policy asks for every rule
image advice       short side 720 px, quality 0.8, 50 to 100 KB
file size          10 MB for images and videos. Whether before or after base64 is not said: 10,000,000 bytes
                   of base64, that is 7,500,000 of the file, satisfies both. By `FaceUrl` up to 10 MB of
                   the file may go: `replace(ALIYUN, video_base64_bytes=13_333_332)`
video formats      MP4, MOV
video size         more than 100 KB, read as more than 102,400 bytes to satisfy both meanings of KB
video duration     1 to 3 s; a clip that has to be cut gets 2.9 s, because containers round
video frames       at least 8: eight frames are sampled. The heading says frame rate, the text "8 frames or
                   more"; the text is followed
"""
