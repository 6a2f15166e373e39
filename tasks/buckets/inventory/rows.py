"""From an inventory's rows to a listing's, in SQL: what it leaves out, and what is wrong with a row."""

# ruff: noqa: S608 - what is put into these statements are quoted names and literals

from dataclasses import dataclass
from enum import StrEnum

from domain.objects import Store
from tasks.buckets.bucket import Location
from tasks.buckets.inventory.entries import literal, quoted
from tasks.buckets.inventory.fields import Fields


class LeftOut(StrEnum):
    """Why a row of an inventory is no row of the listing: listing the bucket would not give it either."""

    OLDER_VERSION = "older_version"
    DELETE_MARKER = "delete_marker"
    OUTSIDE_PREFIX = "outside_prefix"  # of a manifest; in a list it is an error


WRONG = {
    "nothing": "names no object",
    "elsewhere": "{said} is not in {source}",
    "bucket": "is about an object of another bucket than {source}",
    "encoding": "the key {said} is not url-encoded UTF-8",
    "outside": "{said} is not under {source}",
    "path": "{said} is no path as a listing gives it: leave out '.', '..' and double slashes",
    "flag": "is_latest and is_delete_marker must be true or false",
    "size": "the size must be a number of bytes",
    "time": "the time must be like 2026-11-20T18:07:12Z",
}
"""What may be wrong with a row, for people."""

_FLOATS = ("FLOAT", "DOUBLE")  # as which pandas keeps numbers when some are missing
# S3 writes ISO 8601. OSS says "in UTC format" and no more; its own listings and headers have these.
_TIME_FORMATS = ("%Y-%m-%dT%H-%M-%SZ", "%Y%m%dT%H%M%SZ", "%a, %d %b %Y %H:%M:%S GMT")


@dataclass(frozen=True, slots=True)
class RowSql:
    """The listing's columns, and for each row `left_out`, `wrong` (NULL: neither) and what was `said`."""

    source: Location
    fields: Fields
    is_manifest: bool
    is_url_encoded: bool
    types: dict[str, str]  # of the columns, as DuckDB names them

    def select(self, entries: str) -> str:
        """The statement over what stands behind FROM."""
        return (
            f"WITH told AS (SELECT {self._told()} FROM {entries}),"
            f" named AS (SELECT *, {self._key()} AS key FROM told)"
            f" SELECT {self._url()} AS url, '{self.source.store}' AS store,"
            f" {literal(self.source.bucket)} AS bucket, key, {self._version()} AS version_id,"
            f" {self._etag()} AS etag, size_bytes, last_modified, subject_id, stratum,"
            f" {self._left_out()} AS left_out, {self._wrong()} AS wrong, coalesce(said, '') AS said"
            " FROM named"
        )

    def _told(self) -> str:
        """Every field as its type; NULL where the file has no such column, or no such value."""
        place = self._text(self.fields.names_objects_by)
        size, time = self._text("size_bytes"), self._text("last_modified")
        columns = {
            "said": place,
            "bucket_said": self._text("bucket"),
            "version_said": self._text("version_id"),
            "etag_said": self._text("etag"),
            "latest": self._flag("is_latest"),
            "deleted": self._flag("is_delete_marker"),
            "size_bytes": self._size(),
            "last_modified": self._time(),
            "subject_id": self._text("subject_id"),
            "stratum": self._text("stratum"),
            "has_size": f"{size} IS NOT NULL",
            "has_time": f"{time} IS NOT NULL",
            "has_odd_flag": " OR ".join(map(self._is_odd_flag, ("is_latest", "is_delete_marker"))),
        }
        return ", ".join(f"{sql} AS {name}" for name, sql in columns.items())

    def _text(self, field: str) -> str:
        column = self.fields.columns.get(field)
        if column is None:
            return "NULL::VARCHAR"
        nothing = "nan" if self._type(field) in _FLOATS else ""
        return f"nullif({quoted(column)}::VARCHAR, '{nothing}')"

    def _type(self, field: str) -> str:
        return self.types.get(self.fields.columns.get(field, ""), "VARCHAR")

    def _flag(self, field: str) -> str:
        return f"TRY_CAST({self._text(field)} AS BOOLEAN)"

    def _is_odd_flag(self, field: str) -> str:
        return f"({self._text(field)} IS NOT NULL AND {self._flag(field)} IS NULL)"

    def _size(self) -> str:
        text = self._text("size_bytes")
        if self._type("size_bytes") in _FLOATS:
            number = f"{text}::DOUBLE"
            is_whole = f"{number} >= 0 AND {number} = floor({number})"
            return f"CASE WHEN {is_whole} THEN TRY_CAST({number} AS BIGINT) END"
        return f"CASE WHEN regexp_full_match({text}, '[0-9]{{1,18}}') THEN {text}::BIGINT END"

    def _time(self) -> str:
        text = self._text("last_modified")
        if self._type("last_modified").startswith("TIMESTAMP"):
            return f"{quoted(self.fields.columns['last_modified'])}::TIMESTAMPTZ"
        formats = ", ".join(map(literal, _TIME_FORMATS))
        return f"coalesce(TRY_CAST({text} AS TIMESTAMPTZ), try_strptime({text}, [{formats}])::TIMESTAMPTZ)"

    def _key(self) -> str:
        source = self.source
        if self.is_url_encoded:
            # Both conventions of url-encoding read alike: a plus sign of the key is %2B in either.
            return "TRY(url_decode(replace(said, '+', ' ')))"
        if source.store is Store.LOCAL:
            root = source.bucket.rstrip("/") + "/"
            return _cut("said", f"file://{root}", root, otherwise="regexp_replace(said, '^(\\./+)+', '')")
        if self.fields.names_objects_by == "url":
            return _cut("said", f"{source.store}://{source.bucket}/", otherwise="said")
        return "said"

    def _url(self) -> str:
        if self.source.store is Store.LOCAL:
            return f"{literal('file://' + self.source.bucket.rstrip('/') + '/')} || key"
        return f"{literal(f'{self.source.store}://{self.source.bucket}/')} || key"

    def _version(self) -> str:
        """NULL for what is the current version: a listing of the bucket would not say it either."""
        if self.is_manifest or self.source.store is Store.LOCAL:
            return "NULL::VARCHAR"
        return "CASE WHEN latest THEN NULL ELSE nullif(version_said, 'null') END"

    def _etag(self) -> str:
        bare = "nullif(trim(regexp_replace(etag_said, '^W/', ''), '\"'), '')"
        match self.source.store:
            case Store.LOCAL:
                return "NULL::VARCHAR"
            case Store.OSS:  # whose listings have capitals
                return f"upper({bare})"
            case Store.S3:
                return bare

    def _is_outside(self) -> str:
        return f"NOT starts_with(key, {literal(self.source.prefix)})"

    def _left_out(self) -> str:
        outside = f" WHEN {self._is_outside()} THEN '{LeftOut.OUTSIDE_PREFIX}'" if self.is_manifest else ""
        return (
            f"CASE WHEN deleted THEN '{LeftOut.DELETE_MARKER}'"
            f" WHEN NOT latest THEN '{LeftOut.OLDER_VERSION}'{outside} END"
        )

    def _wrong(self) -> str:
        is_remote = self.source.store is not Store.LOCAL
        rules = {
            "nothing": "said IS NULL OR key = ''",
            "bucket": f"bucket_said <> {literal(self.source.bucket)}" if is_remote else "false",
            "encoding" if self.is_url_encoded else "elsewhere": "key IS NULL",
            "outside": "false" if self.is_manifest else self._is_outside(),
            "path": "false" if is_remote else "regexp_matches('/' || key || '/', '/(\\.{0,2})/')",
            "flag": "has_odd_flag",
            "size": f"has_size AND size_bytes IS NULL AND {self._left_out()} IS NULL",
            "time": f"has_time AND last_modified IS NULL AND {self._left_out()} IS NULL",
        }
        cases = " ".join(f"WHEN {rule} THEN '{name}'" for name, rule in rules.items())
        return f"CASE {cases} END"


def _cut(text: str, *beginnings: str, otherwise: str) -> str:
    """The text without the beginning it has; NULL for a url or an absolute path with another."""
    cases = " ".join(
        f"WHEN starts_with({text}, {literal(each)}) THEN substr({text}, {len(each) + 1})"
        for each in beginnings
    )
    is_absolute = f"regexp_matches({text}, '^[A-Za-z][A-Za-z0-9+.-]*://')"
    if len(beginnings) > 1:
        is_absolute += f" OR starts_with({text}, '/')"
    return f"CASE {cases} WHEN {is_absolute} THEN NULL ELSE {otherwise} END"
