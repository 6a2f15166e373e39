"""A colour profile that is not sRGB: its red is sRGB's blue, so that whoever ignores it is found out."""

import functools

from PIL import ImageCms


@functools.cache
def swapped_profile() -> bytes:
    """A valid RGB profile whose red and blue primaries have changed places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132])
    for number in range(count):
        at = 132 + 12 * number
        name = bytes(profile[at : at + 4])
        if name in (b"rXYZ", b"bXYZ"):
            profile[at : at + 4] = b"bXYZ" if name == b"rXYZ" else b"rXYZ"
    return bytes(profile)  # its name says sRGB still
