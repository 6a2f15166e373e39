"""The label of GB 45438-2025: content made by a machine says so in a field `AIGC` of its metadata.

The field is JSON: `{"Label":"1","ContentProducer":…,"ProduceID":…,"ReservedCode1":…,"ContentPropagator":…,
"PropagateID":…,"ReservedCode2":…}`; 1 is generated, 2 possibly, 3 suspected. In pictures it stands in XMP as
`TC260:AIGC` (TC260-PG-20258A), in EXIF's UserComment, or in a PNG text or chunk named AIGC; in MP4 and MOV in
a tag named AIGC. ReservedCode1 and 2 may hold what the producer signs with: kept as they are, not checked.
"""

import html
import json
import re
from dataclasses import dataclass
from typing import Any

_NAMESPACE = b"http://www.tc260.org.cn/ns/AIGC/1.0/"
_MOST_LABEL_BYTES = 8192
_MOST_RAW_CHARACTERS = 4096
_FIELDS = frozenset(
    {
        "Label",
        "ContentProducer",
        "ProduceID",
        "ReservedCode1",
        "ContentPropagator",
        "PropagateID",
        "ReservedCode2",
    }
)
_MEANINGS = {"1": "generated", "2": "possible", "3": "suspected"}
_PREFIX = re.compile(rb"xmlns:([A-Za-z_][\w.-]{0,31})\s?=\s?[\"']$")
_FIELD_VALUE = r"(?:<[\w.-]{1,32}:%s[^>]{0,64}>|[\w.-]{1,32}:%s\s?=\s?[\"'])([^<\"']{0,512})"
_HALF_PAIR = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Label:
    """One label, as it was found."""

    label: str  # generated | possible | suspected | other:<raw>
    producer: str | None
    raw: str  # its JSON


def label_in_xmp(xmp: bytes) -> Label | None:
    """The label in an XMP packet; by patterns and not by an XML parser, for hostile packets."""
    named = xmp.find(_NAMESPACE)
    if named < 0:
        return None
    prefix = _PREFIX.search(xmp, max(named - 64, 0), named)
    mark = (prefix[1] if prefix else b"TC260") + b":AIGC"
    at = xmp.find(mark)
    while at >= 0:
        text = _packed_text(xmp[at + len(mark) : at + len(mark) + _MOST_LABEL_BYTES], mark)
        found = label_in_text(html.unescape(text)) or _label_in_fields(text)
        if found is not None:
            return found
        at = xmp.find(mark, at + len(mark) + _MOST_LABEL_BYTES)
    return _label_in_fields(xmp[named : named + _MOST_LABEL_BYTES].decode("utf-8", "replace"))


def _packed_text(rest: bytes, mark: bytes) -> str:
    """What an element or an attribute of that name holds."""
    quote = rest.lstrip()[1:].lstrip()[:1] if rest.lstrip()[:1] == b"=" else b""
    if quote in (b'"', b"'"):
        return rest.partition(quote)[2].partition(quote)[0].decode("utf-8", "replace")
    return rest.partition(b">")[2].partition(b"</" + mark)[0].decode("utf-8", "replace")


def _label_in_fields(text: str) -> Label | None:
    """A label whose fields are elements or attributes of their own."""
    values: dict[str, Any] = {}
    for field in sorted(_FIELDS):
        found = re.search(_FIELD_VALUE % (field, field), text)
        if found:
            values[field] = html.unescape(found[1])
    return _label_of(values, json.dumps(values, ensure_ascii=False)) if "Label" in values else None


def label_in_text(text: str, *, is_named: bool = True) -> Label | None:
    """The label that JSON text holds, itself or under the name AIGC; None for every other text.

    Where the place was not named AIGC (`is_named` false), only JSON with a producer or an id counts.
    """
    text = text.strip("\0 \t\r\n")
    if len(text) > _MOST_LABEL_BYTES or not text.startswith("{"):
        return None
    found = _parsed(text)
    for _ in range(2):
        if not isinstance(found, dict) or "AIGC" not in found:
            break
        inner, is_named = found["AIGC"], True
        found = _parsed(inner) if isinstance(inner, str) else inner
    if not isinstance(found, dict) or "Label" not in found:
        return None
    if not is_named and not {"ContentProducer", "ProduceID"} & found.keys():
        return None
    return _label_of(found, text)


def _label_of(values: dict[str, Any], raw: str) -> Label | None:
    value = values["Label"]
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    given = _clean(str(value).strip() if isinstance(value, str) or abs(value) < 10**9 else "")[:64]
    producer = values.get("ContentProducer")
    named = _clean(producer)[:200] if isinstance(producer, str) and producer.strip() else None
    return Label(_MEANINGS.get(given, f"other:{given}"), named, _clean(raw)[:_MOST_RAW_CHARACTERS])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _clean(text: str) -> str:
    """Without what no column can hold."""
    return _HALF_PAIR.sub("\ufffd", text)
