"""Images: whether a provider takes one as it is, judged from a header or, in a worker, by decoding it."""

from domain.errors import Unfit
from tasks.media.headers import ImageHeader, is_ordinary_jpeg
from tasks.media.limits import ImagePolicy, ProviderLimits
from tasks.media.pictures import load, open_picture, orientation_of
from tasks.media.sniff import Format


def check_least_size(width: int, height: int, limits: ProviderLimits) -> None:
    """Refuse what is below the provider's least size: nothing is upscaled.

    Raises:
        Unfit: `image_too_small`.
    """
    least = limits.image_least_side
    if min(width, height) < least:
        sentence = f"{width}x{height}; {limits.provider} asks for a face of {least}x{least}"
        raise Unfit("image_too_small", sentence)


def is_acceptable(form: Format, header: ImageHeader, size_bytes: int, limits: ProviderLimits) -> bool:
    """Whether the image may go untouched under the policy that `limits` names.

    Format, size and pixels are compared with the limits. Two readings of the picture exist when EXIF turns
    it: the stored pixels and the upright picture. No document says which one a provider sees, so both must
    be within the size limits. Where height > width is asked for (Aliyun), an image stored as landscape that
    stands upright as portrait is not acceptable: turning it is lossless in meaning and removes the doubt. A
    picture that is landscape when upright stays as it is, because turning it would lay the face on its side;
    the policies beyond `untouched` have it padded.

    A JPEG of four components (CMYK, YCCK) is never acceptable: "jpg" names no colour space, decoders
    disagree on whether Adobe's are inverted, and a negative of a face is no face. Nor is one whose pixels
    are coded as no camera codes them.
    """
    if form not in limits.image_formats or size_bytes > limits.max_image_bytes:
        return False
    if form is Format.JPEG and (header.components == 4 or not header.is_ordinary):
        return False
    stored, upright = (header.width, header.height), header.upright
    if not (limits.accepts_size(*stored) and limits.accepts_size(*upright)):
        return False
    if limits.image_policy is not ImagePolicy.UNTOUCHED:
        return _keeps_every_rule(header, size_bytes, limits)
    return not (limits.image_portrait and stored[0] > stored[1] and upright[0] < upright[1])


def _keeps_every_rule(header: ImageHeader, size_bytes: int, limits: ProviderLimits) -> bool:
    width, height = header.width, header.height
    if header.orientation != 1 or (limits.image_portrait and height <= width):
        return False
    if limits.image_policy is ImagePolicy.DOCUMENTED:
        return True
    advice = limits.image_advice
    short, long = sorted((width, height))
    return (
        short <= advice.short_side
        and (advice.long_side is None or long <= advice.long_side)
        and (advice.size_bytes is None or size_bytes <= advice.size_bytes)
    )


def verify(content: bytes, form: Format) -> ImageHeader:
    """Decode every byte of the picture and say what it is. For a worker.

    Raises:
        Unfit: truncated, undecodable, too_many_pixels or unsupported_format.
    """
    image = open_picture(content, form)
    (width, height), components = image.size, len(image.getbands())
    # A JPEG is scaled down while it is decoded: all of its bytes are read, an eighth of each side is stored
    image.draft(image.mode, (1, 1))
    load(image)
    return ImageHeader(
        width,
        height,
        orientation_of(image),
        components,
        is_complete=True,
        is_ordinary=form is not Format.JPEG or is_ordinary_jpeg(content),
    )
