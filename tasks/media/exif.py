"""EXIF: the few entries that say what made a picture. Where it was made, and by whom, is not read."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAKE, _MODEL, _SOFTWARE, _XMP = 0x010F, 0x0110, 0x0131, 0x02BC
_EXIF_DIRECTORY, _USER_COMMENT = 0x8769, 0x9286
_MOST_ENTRIES = 512
_MOST_TEXT_BYTES = 256
_MOST_COMMENT_BYTES = 16 * 1024
_MOST_XMP_BYTES = 256 * 1024
_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4}  # byte, ASCII, short, long, undefined, IFD
_CHARACTER_SETS = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16", b"\0\0\0\0\0\0\0\0": "utf-8"}


@dataclass(frozen=True, slots=True)
class Exif:
    """What was found; empty where there is nothing."""

    make: str = ""
    model: str = ""
    software: str = ""
    comment: str = ""
    xmp: bytes = b""  # in TIFF files


def read_exif(tiff: bytes) -> Exif:
    """The entries of a TIFF structure's first directory and its EXIF directory. Never raises."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return Exif()
    values: dict[int, bytes] = {}
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        values.update(_entries(tiff, order, first))
        if pointer := values.get(_EXIF_DIRECTORY):
            (second,) = struct.unpack(f"{order}I", pointer[:4])
            values.update(
                (tag, value) for tag, value in _entries(tiff, order, second) if tag == _USER_COMMENT
            )
    except struct.error:
        pass
    return Exif(
        _text(values.get(_MAKE, b"")),
        _text(values.get(_MODEL, b"")),
        _text(values.get(_SOFTWARE, b"")),
        _comment(values.get(_USER_COMMENT, b"")),
        values.get(_XMP, b""),
    )


def _entries(tiff: bytes, order: str, at: int) -> Iterator[tuple[int, bytes]]:
    """The entries we know of one directory, each with its value's bytes, up to a bound."""
    wanted = {
        _MAKE: _MOST_TEXT_BYTES,
        _MODEL: _MOST_TEXT_BYTES,
        _SOFTWARE: _MOST_TEXT_BYTES,
        _EXIF_DIRECTORY: 4,
        _USER_COMMENT: _MOST_COMMENT_BYTES,
        _XMP: _MOST_XMP_BYTES,
    }
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for number in range(min(count, _MOST_ENTRIES)):
        place = at + 2 + 12 * number
        tag, kind, units = struct.unpack_from(f"{order}HHI", tiff, place)
        if tag not in wanted or kind not in _UNIT_BYTES:
            continue
        size = units * _UNIT_BYTES[kind]
        start = place + 8
        if size > 4:
            (start,) = struct.unpack_from(f"{order}I", tiff, place + 8)
        yield tag, tiff[start : start + min(size, wanted[tag])]


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "replace").strip()


def _comment(value: bytes) -> str:
    """A user comment: its first eight bytes name the character set, if the writer kept to the rules."""
    named = _CHARACTER_SETS.get(value[:8])
    if named is None:
        return value.decode("utf-8", "replace")
    if named == "utf-16":
        # Writers differ on whether it follows the file's byte order: a Latin letter's zero byte tells.
        named = "utf-16-be" if value[8:9] in (b"\0", b"\xfe") else "utf-16-le"
    return value[8:].decode(named, "replace").strip("\0\ufeff ")
