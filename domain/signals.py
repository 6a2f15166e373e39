"""Signals: what an object's own bytes say of where it comes from, before anybody is asked.

Claims, all of them: whoever made the file could write them, and whoever passed it on could take them away.
They stand in columns of their own and are never mixed into a provider's score.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class SeenIn(StrEnum):
    """Which bytes were looked at."""

    OBJECT = "object"  # all of them
    PARTS = "parts"  # those that a delivery by url reads: the first, and a video's index


class C2pa(StrEnum):
    """What is known of an object's C2PA manifest."""

    PRESENT = "present"  # there is one; nobody looked whether it is valid
    VALID = "valid"  # it fits the bytes and its own certificate; who that belongs to is anybody's word
    TRUSTED = "trusted"  # and its certificate leads to a root on the list that the library was given
    INVALID = "invalid"  # it does not fit


@dataclass(frozen=True, slots=True)
class Signals:
    """The columns of a verdict that come from the object's bytes; None where nothing was said."""

    signals_from: str | None = None  # a SeenIn; None: nobody looked
    aigc_label: str | None = None  # GB 45438-2025: generated | possible | suspected | other:<raw>
    aigc_producer: str | None = None  # its ContentProducer
    aigc_raw: str | None = None  # its JSON, as it was found
    source_type: str | None = None  # the last word of IPTC's DigitalSourceType, e.g. trainedAlgorithmicMedia
    c2pa: str | None = None  # a C2pa; None: there is no manifest
    camera: str | None = None  # EXIF or QuickTime make and model
    software: str | None = None  # EXIF Software, XMP CreatorTool, QuickTime software
    encoder: str | None = None  # what wrote a video's container
    perceptual_hash: str | None = None  # PDQ, 64 hex digits; of images
    perceptual_quality: int | None = None  # PDQ's, 0 to 100; up to 49 the hash says little

    @property
    def says_generated(self) -> bool:
        """Whether a label says outright that a machine made this."""
        return self.aigc_label == "generated" or self.source_type == "trainedAlgorithmicMedia"

    def columns(self) -> dict[str, Any]:
        """The columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
