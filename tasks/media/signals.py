"""What an object's own bytes say of where it comes from: read once, before anybody is paid for an opinion.

`read_signals` is for the event loop: it touches metadata only, in bounded time. `verify_manifest` is for a
worker.
"""

import importlib.util
import io
import json
import re

from domain.signals import C2pa, Signals
from tasks.media.aigc import Label, label_in_text, label_in_xmp
from tasks.media.exif import Exif, read_exif
from tasks.media.metadata import Metadata, find_metadata
from tasks.media.sniff import Format

_MOST_CHARACTERS = 200
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffd]+")
_SOURCE_TYPE = re.compile(rb"digitalsourcetype/([A-Za-z]{1,60})")
_CREATOR_TOOL = re.compile(rb"CreatorTool(?:>|\s?=\s?[\"'])([^<\"']{1,200})")
_MOST_TYPES_IN_A_MANIFEST = (
    1  # of more than one, which is this picture's and which an ingredient's is not told
)
_MIME_TYPES = {
    Format.JPEG: "image/jpeg",
    Format.PNG: "image/png",
    Format.WEBP: "image/webp",
    Format.TIFF: "image/tiff",
    Format.HEIF: "image/heif",
    Format.AVIF: "image/avif",
    Format.MP4: "video/mp4",
    Format.MOV: "video/quicktime",
}
_OFFLINE = {
    "verify": {
        "verify_after_reading": True,
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
    },
    "core": {"allowed_network_hosts": []},
}


def read_signals(content: bytes, form: Format, index: bytes = b"") -> Signals:
    """What the metadata say; `signals_from` is for the caller to fill in. Never raises, whatever the bytes.

    `content` may be the beginning of a file; then `index` is its `moov` box, if it has one.
    """
    found = find_metadata(content, form, index)
    exif = read_exif(found.exif) if found.exif else Exif()
    xmp = found.xmp or exif.xmp
    label = _label(found, exif, xmp)
    tags = found.tags
    return Signals(
        aigc_label=label.label if label else None,
        aigc_producer=label.producer if label else None,
        aigc_raw=label.raw if label else None,
        source_type=_source_type(xmp, found.manifest),
        c2pa=C2pa.PRESENT if found.manifest else None,
        camera=_camera(exif, tags),
        software=_first(
            exif.software,
            _creator_tool(xmp),
            tags.get("com.apple.quicktime.software"),
            tags.get("\xa9swr"),
            _decoded(found.texts.get("Software")),
        ),
        encoder=_first(tags.get("\xa9too"), tags.get("encoder"), tags.get("\xa9enc")),
    )


def _label(found: Metadata, exif: Exif, xmp: bytes) -> Label | None:
    """The first label of all places where one may stand."""
    if xmp and (label := label_in_xmp(xmp)):
        return label
    for text in (_decoded(found.texts.get("AIGC")), found.tags.get("AIGC")):
        if text and (label := label_in_text(text)):
            return label
    tags = found.tags.get("\xa9cmt"), found.tags.get("comment")
    for text in (exif.comment, _decoded(found.texts.get("comment")), *tags):
        if text and (label := label_in_text(text, is_named=False)):
            return label
    return None


def _source_type(xmp: bytes, manifest: bytes) -> str | None:
    """The last word of IPTC's code for how a picture came about."""
    at = xmp.find(b"DigitalSourceType")
    found = _SOURCE_TYPE.search(xmp, at, at + 400) if at >= 0 else None
    if found:
        return found[1].decode("ascii")
    types = {match[1] for match in _SOURCE_TYPE.finditer(manifest)}
    return types.pop().decode("ascii") if len(types) == _MOST_TYPES_IN_A_MANIFEST else None


def _creator_tool(xmp: bytes) -> str | None:
    at = xmp.find(b"CreatorTool")
    found = _CREATOR_TOOL.search(xmp, at, at + 300) if at >= 0 else None
    return _decoded(found[1]) if found else None


def _camera(exif: Exif, tags: dict[str, str]) -> str | None:
    make = exif.make or tags.get("com.apple.quicktime.make") or tags.get("\xa9mak", "")
    model = exif.model or tags.get("com.apple.quicktime.model") or tags.get("\xa9mod", "")
    return _first(model if make and model.startswith(make) else f"{make} {model}")


def _first(*texts: str | None) -> str | None:
    """The first text that says something, fit for a column."""
    for text in texts:
        clean = " ".join(_UNPRINTABLE.sub(" ", text).split())[:_MOST_CHARACTERS] if text else ""
        if clean:
            return clean
    return None


def _decoded(content: bytes | None) -> str | None:
    return None if content is None else content[:16384].decode("utf-8", "replace")


def can_verify_manifests() -> bool:
    """Whether the official library of C2PA is installed."""
    return importlib.util.find_spec("c2pa") is not None


def has_manifest(content: bytes, form: Format) -> bool:
    """Whether there is a manifest that the library could look at."""
    return form in _MIME_TYPES and bool(find_metadata(content, form).manifest)


def verify_manifest(content: bytes, form: Format) -> str | None:
    """Whether the file's C2PA manifest is valid, by the official library; None if it cannot say.

    For a worker. Nothing is fetched: no manifest that lies elsewhere, no certificate's standing today.
    """
    import c2pa  # noqa: PLC0415 (an extra; 23 MB of native code)

    try:
        context = c2pa.Context(c2pa.Settings.from_dict(_OFFLINE))
        with c2pa.Reader(_MIME_TYPES[form], io.BytesIO(content), context=context) as reader:
            state = json.loads(reader.json()).get("validation_state") or reader.get_validation_state()
    except MemoryError:
        raise
    except Exception:  # whatever a native library makes of foreign bytes
        return None
    return {"Valid": C2pa.VALID, "Trusted": C2pa.TRUSTED, "Invalid": C2pa.INVALID}.get(str(state))
