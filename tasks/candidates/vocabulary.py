"""The domain's words in SQL: an object's columns, versions, question ids, final outcomes.

Digit for digit what `domain` says. Ids travel through joins, sorts and files as UUIDs: 128 bits, in the
order of their hex digits, at a third of the memory these take.
"""

from domain.objects import MediaKind
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
    "settled_at": "TIMESTAMPTZ",
    "asked_because": "VARCHAR",
    "weight": "DOUBLE",
}
ADDED_COLUMNS = {"subject_id", "stratum", "absent", "asked_because", "weight"}  # by schema version 2
FINAL_OUTCOMES = ", ".join(f"'{outcome}'" for outcome in Outcome if outcome.is_final)


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def macros() -> list[str]:
    """Statements that teach a DuckDB connection our identities.

    version_of(version_id, etag, size_bytes, last_modified)   as domain.objects.version_of
    question_of(provider, version, url)                        as domain.questions.question_id
    digits_of(question)                                        its 32 hex digits
    visiting_of(version, url)                                  the place in the visiting order
    media_of(key)                                              image, video or other, by suffix

    The visiting order is a keyed hash of the object alone: every prefix of it is a simple random sample,
    the same for all providers and in every run.
    """
    kinds = " ".join(
        f"WHEN regexp_full_match(key, {literal(to_regex(suffix_globs(suffixes)))}) THEN '{kind}'"
        for kind, suffixes in SUFFIXES.items()
    )
    return [
        "CREATE TEMP MACRO version_of(version_id, etag, size_bytes, last_modified) AS coalesce("
        "nullif(version_id, ''), nullif(etag, ''), size_bytes || '-' || epoch_us(last_modified))",
        "CREATE TEMP MACRO digits_of(id) AS replace(id::VARCHAR, '-', '')",
        "CREATE TEMP MACRO question_of(provider, version, url) AS"
        " left(sha256(provider || chr(10) || version || chr(10) || url), 32)::UUID",
        "CREATE TEMP MACRO visiting_of(version, url) AS"
        " left(sha256('facesweep-order' || chr(10) || version || chr(10) || url), 32)::UUID",
        f"CREATE TEMP MACRO media_of(key) AS CASE {kinds} ELSE '{MediaKind.OTHER}' END",
    ]
