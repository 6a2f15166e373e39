"""The domain's words in SQL: an object's columns, its identities, final outcomes."""

from domain.objects import MediaKind
from domain.sql import IDENTITY_MACROS
from domain.verdicts import Outcome
from tasks.candidates.globs import to_regex
from tasks.candidates.kinds import SUFFIXES, suffix_globs

OBJECT_COLUMNS = {
    "url": "VARCHAR",
    "store": "VARCHAR",
    "bucket": "VARCHAR",
    "key": "VARCHAR",
    "version_id": "VARCHAR",
    "etag": "VARCHAR",
    "size_bytes": "BIGINT",
    "last_modified": "TIMESTAMPTZ",
    "subject_id": "VARCHAR",
    "stratum": "VARCHAR",
}
OBJECT = ", ".join(f'"{name}"' for name in OBJECT_COLUMNS)

# A listing says this besides: why it has no more than the name of an object.
LISTING_COLUMNS = {**OBJECT_COLUMNS, "absent": "VARCHAR"}

# The columns of a verdict that plans read.
VERDICT_COLUMNS = {
    **OBJECT_COLUMNS,
    "run_id": "VARCHAR",
    "question_id": "VARCHAR",
    "provider": "VARCHAR",
    "outcome": "VARCHAR",
    "billed": "VARCHAR",
    "settled_at": "TIMESTAMPTZ",
    "asked_because": "VARCHAR",
    "weight": "DOUBLE",
}
ADDED_COLUMNS = {"subject_id", "stratum", "absent", "asked_because", "weight"}  # by schema version 2
REASK = "reask"  # in `asked_because`: it has a final verdict, and somebody had a reason to ask all the same
FINAL_OUTCOMES = ", ".join(f"'{outcome}'" for outcome in Outcome if outcome.is_final)


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def macros() -> list[str]:
    """Statements that teach a DuckDB connection our identities (see `domain.sql`), and:

    digits_of(question)                        its 32 hex digits
    split_of(etag, size_bytes, version, url)   the draw for a provider; copies share it
    control_of(version, url)                   the draw for a cascade's control share
    media_of(key)                              image, video or other, by suffix
    """
    kinds = " ".join(
        f"WHEN regexp_full_match(key, {literal(to_regex(suffix_globs(suffixes)))}) THEN '{kind}'"
        for kind, suffixes in SUFFIXES.items()
    )
    return [
        *IDENTITY_MACROS,
        "CREATE TEMP MACRO digits_of(id) AS replace(id::VARCHAR, '-', '')",
        "CREATE TEMP MACRO split_of(etag, size_bytes, version, url) AS"
        " left(sha256('facesweep-split' || chr(10)"
        " || coalesce(nullif(etag, '') || '-' || size_bytes, version || chr(10) || url)), 32)::UUID",
        "CREATE TEMP MACRO control_of(version, url) AS"
        " left(sha256('facesweep-control' || chr(10) || version || chr(10) || url), 32)::UUID",
        f"CREATE TEMP MACRO media_of(key) AS CASE {kinds} ELSE '{MediaKind.OTHER}' END",
    ]
