"""Which column of an inventory says what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domain.errors import UsageError

# The field's name for people's mapping, and what others call it: letters and digits only, in small letters.
_KNOWN_AS = {
    "url": {"url", "uri", "objecturl", "objecturi", "s3url", "s3uri", "ossurl", "ossuri"},
    "key": {"key", "objectkey"},
    "bucket": {"bucket", "bucketname"},
    "version_id": {"versionid"},
    "is_latest": {"islatest"},
    "is_delete_marker": {"isdeletemarker"},
    "size_bytes": {"size", "sizebytes"},
    "last_modified": {"lastmodified", "lastmodifieddate"},
    "etag": {"etag"},
    "subject_id": {"subjectid"},
    "stratum": {"stratum"},
}
_NEITHER_LETTER_NOR_DIGIT = re.compile(r"[^a-z0-9]")


@dataclass(frozen=True, slots=True)
class Fields:
    """The columns of a file by what they say."""

    columns: Mapping[str, str] = field(default_factory=dict)  # field → column

    @property
    def names_objects_by(self) -> str:
        """`url` where there is one, else `key`."""
        return "url" if "url" in self.columns else "key"


def find_fields(columns: Sequence[str], mapping: Mapping[str, str], name: str) -> Fields:
    """What the columns say: by `mapping` (field → column), else by the names everybody knows.

    Raises: UsageError: the mapping names no column of the file, two columns could be the same field, or
            none names objects; says which columns there are.
    """
    there_are = ", ".join(repr(column[:100]) for column in columns[:40])
    for wanted, column in mapping.items():
        if column not in columns:
            raise UsageError(
                f"source.columns.{wanted}: {name} has no column {column!r}; there are {there_are}"
            )
    found = dict(mapping)
    for wanted, known_as in _KNOWN_AS.items():
        if wanted in mapping:
            continue
        named = [
            column
            for column in columns
            if _NEITHER_LETTER_NOR_DIGIT.sub("", column.lower()) in known_as
            and column not in mapping.values()
        ]
        if len(named) > 1:
            raise UsageError(
                f"{name} has the columns {' and '.join(map(repr, named))}, which could both be the "
                f"{wanted}: say which in [source.columns]"
            )
        if named:
            found[wanted] = named[0]
    if "key" in mapping and "url" not in mapping:
        found.pop("url", None)
    if not {"url", "key"} & found.keys():
        raise UsageError(
            f"{name} has no column that names objects; there are {there_are} (of a CSV the first line): "
            'say which in [source.columns], as url = "…" or key = "…"'
        )
    return Fields(found)
