"""Whatever earlier runs said, in whatever order and parts: the index finds what a dictionary would."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.verdicts import Outcome
from tasks.records.content_index import BLOCK_RECORDS, LENT, ContentIndex

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOWEST, HIGHEST = "0" * 16, "f" * 16


class Row(NamedTuple):
    content_sha256: str | None
    outcome: str
    reused_from: str | None
    settled_at: datetime


def hashed(number: int) -> str:
    return sha256(b"%d" % number).hexdigest()


# Few prefixes and few ends, so that contents collide and come again; the extremes are prefixes too. Nobody
# can make two contents that share 128 bits, so these differ within them.
PREFIXES = st.sampled_from([LOWEST, HIGHEST, hashed(1)[:16], hashed(2)[:16]])
ENDS = st.sampled_from(["0" * 48, "f" * 48, "0" * 15 + "1" * 33])
CONTENTS = st.builds(str.__add__, PREFIXES, ENDS)
ROWS = st.builds(
    Row,
    content_sha256=CONTENTS | st.none(),
    outcome=st.sampled_from([str(each) for each in Outcome]),
    reused_from=st.sampled_from([None, None, "somebody"]),
    settled_at=st.integers(0, 5).map(lambda hours: NOON + timedelta(hours=hours)),
)


def write(path: Path, rows: Sequence[Row]) -> Path:
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("content_sha256", "outcome", "reused_from")),
            ("settled_at", pa.timestamp("us", "UTC")),
        ]
    )
    pq.write_table(pa.Table.from_pylist([row._asdict() for row in rows], schema), path)
    return path


def rank(row: Row) -> tuple[bool, timedelta]:
    """Rows that were asked stand before rows that repeat, new before old."""
    return row.reused_from is not None, NOON - row.settled_at


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.lists(ROWS, max_size=12), max_size=4),
    crowd=st.integers(0, 3 * BLOCK_RECORDS),
    copies=st.integers(0, 2 * BLOCK_RECORDS),
)
def test_a_content_leads_to_the_best_row_about_it_and_an_unknown_one_to_none(
    parts: list[list[Row]], crowd: int, copies: int
) -> None:
    """Among a crowd of contents that fills blocks, and copies of one that would fill some more."""
    parts.append([Row(hashed(100 + number), "scored", None, NOON) for number in range(crowd)])
    parts.append([Row(hashed(100), "reused", "somebody", NOON) for _ in range(copies)])
    best: dict[str, Row] = {}
    for row in (row for part in parts for row in part):
        if row.content_sha256 and row.outcome in LENT:
            known = best.get(row.content_sha256)
            best[row.content_sha256] = row if known is None else min(known, row, key=rank)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [write(folder / f"part-{number}.parquet", rows) for number, rows in enumerate(parts)]
        index = ContentIndex.build(paths, folder)
        rows_in = dict(zip(paths, parts, strict=True))
        everything = {
            prefix + end for prefix in (LOWEST, HIGHEST, hashed(1)[:16]) for end in ("0" * 48, "1" * 48)
        }
        for content in everything | best.keys() | {hashed(7)}:
            found = [rows_in[part][row] for part, row in index.rows_about(content)]
            assert all(row.content_sha256 and row.content_sha256[:16] == content[:16] for row in found)
            mine = [row for row in found if row.content_sha256 == content]
            assert [(rank(row), row.outcome in LENT) for row in mine[:1]] == (
                [(rank(best[content]), True)] if content in best else []
            )
            if content == hashed(100):
                assert len(found) <= 1
        index.close()
