"""Tolerant reading of a reply's JSON: whatever a provider sends, nothing here raises.

Both providers' documents, SDKs and samples disagree about types (numbers as strings, maps as JSON
strings, null for empty), so each reader takes a value of any type and gives one that can be used.
"""

import json
import math
from collections.abc import Mapping


def object_in(value: object) -> dict[str, object] | None:
    """The JSON object that `value` is, or holds as text; None when it is anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def field_of(value: object, *path: str) -> object:
    """What lies under `path` in nested JSON objects; None where any step is missing."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def list_in(value: object) -> list[object]:
    """The JSON list that `value` is; empty for null, a missing key and every other type."""
    return value if isinstance(value, list) else []


def text_in(value: object) -> str:
    """A string as it is, a whole number in digits, everything else empty.

    Half a surrogate pair, which JSON can spell but no file can store, becomes a question mark.
    """
    match value:
        case bool():
            return ""
        case str():
            return value.encode("utf-8", "replace").decode("utf-8").strip()
        case int():
            return number_text(value)
        case float() if value.is_integer():
            return number_text(int(value))
        case _:
            return ""


def number_text(value: int) -> str:
    """A code or level in digits; empty for numbers no code or level could be."""
    return str(value) if abs(value) < 10**15 else ""


def number_in(value: object) -> float | None:
    """A finite number, also one written as text; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
