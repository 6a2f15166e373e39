"""Preparing: an object's bytes in, bytes one provider accepts out."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from domain.media import PreparedMedia
from domain.objects import MediaKind
from tasks.media import clips, containers, images, pictures, reencode
from tasks.media.headers import ImageHeader, read_jpeg_header, read_png_header
from tasks.media.limits import ProviderLimits
from tasks.media.sniff import Format, sniff
from tasks.media.workers import MediaWorkers

UNTOUCHED = "untouched"

_HEADER_READERS = {Format.JPEG: read_jpeg_header, Format.PNG: read_png_header}


async def prepare(
    content: bytes,
    limits: ProviderLimits,
    workers: MediaWorkers,
    goes_to_worker: Callable[[], None] = lambda: None,
) -> PreparedMedia:
    """Bytes the provider accepts: the object's own wherever possible, else changed as little as fits.

    An ordinary JPEG or PNG within the limits is judged by its header here and goes out untouched, without a
    pixel decoded; anything that has to be decoded is decoded by `workers`. Images outside the limits become
    JPEG (`reencode`), videos outside them an MP4 of as much as fits (`clips`), or several of them.

    `goes_to_worker` is told when it does not end at once, so that nobody waits behind it.

    Raises:
        Unfit: with one of the reasons
            empty, not_media, unsupported_format     nothing to prepare
            truncated, undecodable                   the file is damaged
            too_many_pixels, out_of_memory, too_slow, crashed_decoder
                                                     decoding it is not safe
            image_too_small                          below the provider's least size; nothing is upscaled
            too_large                                nothing that can be made of it is small enough
            video_too_short                          too short, or too few frames, for the provider
    """
    form = sniff(content)
    if form.kind is MediaKind.VIDEO:
        containers.check(content, form)
        goes_to_worker()
        return _prepared(content, MediaKind.VIDEO, *await workers.run(clips.fit, content, form, limits))
    if await _is_image_acceptable(content, form, limits, workers, goes_to_worker):
        return _untouched(content, MediaKind.IMAGE)
    goes_to_worker()
    return _prepared(content, MediaKind.IMAGE, await workers.run(reencode.reencode, content, form, limits))


async def _is_image_acceptable(
    content: bytes,
    form: Format,
    limits: ProviderLimits,
    workers: MediaWorkers,
    goes_to_worker: Callable[[], None],
) -> bool:
    """Whether the image may go as it is.

    Pixels are decoded only where the header is out of the ordinary or the end marker is missing. A JPEG whose
    marker alone is missing counts as truncated: no decoder can tell it from one that lost its last rows.
    """
    if form not in limits.image_formats:
        return False
    header = _read_header(content, form)
    if header is None or not header.is_complete:
        goes_to_worker()
        header = await workers.run(images.verify, content, form)
    pictures.check_pixels(form, header.width, header.height)
    images.check_least_size(header.width, header.height, limits)
    return images.is_acceptable(form, header, len(content), limits)


def _read_header(content: bytes, form: Format) -> ImageHeader | None:
    reader = _HEADER_READERS.get(form)
    return reader(content) if reader else None


def _prepared(content: bytes, kind: MediaKind, *made: tuple[bytes, str]) -> PreparedMedia:
    """The media that a worker made, the first with all others behind it; none: the object as it is."""
    if not made:
        return _untouched(content, kind)
    digest = _sha256(content)
    first, *further = (
        PreparedMedia(sent, kind, digest, _sha256(sent), preparation) for sent, preparation in made
    )
    return replace(first, further=tuple(further))


def _untouched(content: bytes, kind: MediaKind) -> PreparedMedia:
    digest = _sha256(content)
    return PreparedMedia(content, kind, digest, digest, UNTOUCHED)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
