"""Our identities as DuckDB says them, for those who meet more objects than Python should hold.

Digit for digit what `domain.objects`, `domain.questions` and `domain.order` say. Hashes are UUIDs here: 128
bits, in the order of their hex digits, at a third of the memory these take.
"""

from domain.order import ORDER_KEY

IDENTITY_MACROS = (
    "CREATE TEMP MACRO version_of(version_id, etag, size_bytes, last_modified) AS coalesce("
    "nullif(version_id, ''), nullif(etag, ''), size_bytes || '-' || epoch_us(last_modified))",
    "CREATE TEMP MACRO question_of(provider, version, url) AS"
    " left(sha256(provider || chr(10) || version || chr(10) || url), 32)::UUID",
    "CREATE TEMP MACRO visiting_of(version, url) AS"
    f" left(sha256('{ORDER_KEY}' || chr(10) || version || chr(10) || url), 32)::UUID",
)
"""Statements that teach a connection these:

version_of(version_id, etag, size_bytes, last_modified)   as domain.objects.version_of
question_of(provider, version, url)                        as domain.questions.question_id
visiting_of(version, url)                                  as domain.order.visiting
"""
