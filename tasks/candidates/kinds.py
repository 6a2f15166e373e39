"""Image or video, by suffix; what the content says once fetched counts more."""

from domain.objects import MediaKind

# What Pillow and FFmpeg read and cameras, phones and browsers write; a provider's own limits come later.
IMAGE_SUFFIXES = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "webp", "gif"),
    *("tif", "tiff", "heic", "heif", "avif"),
)
VIDEO_SUFFIXES = (*("mp4", "mov", "m4v", "avi", "flv", "mkv", "webm", "3gp", "wmv", "mpg", "mpeg"),)
# Never asked about, even where a user's own "*" admits them. Short on purpose: an unknown suffix may
# be media under a name of its own, and a wasted fetch costs less than a missed face.
FOREIGN_SUFFIXES = (
    *("txt", "csv", "json", "xml", "html", "pdf", "zip", "gz", "tar", "parquet", "log", "md"),
)

SUFFIXES = {MediaKind.IMAGE: IMAGE_SUFFIXES, MediaKind.VIDEO: VIDEO_SUFFIXES}


def suffix_globs(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Globs for keys that end in one of the suffixes."""
    return tuple(f"*.{suffix}" for suffix in suffixes)
