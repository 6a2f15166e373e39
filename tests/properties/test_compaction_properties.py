"""Compaction, whatever was published: the same rows, once each, in order, and nothing left to do."""

import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from domain.verdicts import Outcome, Verdict
from tasks.records.batches import Sizes
from tasks.records.compaction import compact
from tasks.records.home import Home
from tasks.records.merging import Slices
from tasks.records.parts_in_force import part_name, parts_in_force
from tasks.records.schema import VERDICTS
from tests.spec.compacted_homes import ADDED, as_version_1, put_part, row, rows_of

START = datetime(2026, 10, 30, tzinfo=UTC)
TEXTS = ["", "a", "a/b", "b", "é", "自拍/02.jpg", "a\x00b", "a\nb", "😀"]

SIZES = st.builds(
    Sizes,
    rows=st.integers(3, 60),
    size_bytes=st.sampled_from([40_000, 1 << 30]),
    plain_bytes=st.sampled_from([20_000, 1 << 30]),
    slices=st.builds(Slices, rows=st.integers(2, 12), plain_bytes=st.sampled_from([20_000, 1 << 30])),
)


def any_row(chance: random.Random, run_id: str, provider: str) -> Verdict:
    """A row as odd as a verdict may be; few keys, so that many rows share one."""
    changes: dict[str, Any] = {
        "key": chance.choice(TEXTS),
        "question_id": f"{chance.randrange(20):032x}",
        "settled_at": START + timedelta(hours=chance.randrange(24 * 40), microseconds=chance.randrange(10)),
        "outcome": chance.choice(list(Outcome)),
        "message": chance.choice([None, *TEXTS]),
        "tags": tuple(chance.sample(TEXTS, chance.randrange(3))),
        "scores": {text: chance.random() for text in chance.sample(TEXTS, chance.randrange(3))},
        "cost": chance.choice([None, 0.0, 0.1]),
        "weight": chance.choice([None, 1.5]),
        "raw": chance.choice([None, "{}", "x" * 3_000]),
    }
    return row(run_id, chance.randrange(1_000), provider, **changes)


@given(seed=st.integers(0, 2**32), parts=st.integers(0, 6), sizes=SIZES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_parts_become_the_same_rows_and_a_second_time_nothing(
    seed: int, parts: int, sizes: Sizes
) -> None:
    """Rows come from a seed: chance fills a home better than a search for the smallest example does."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Home.local(Path(folder))
        for number in range(parts):
            run_id, provider = chance.choice(["r1", "r2", "open"]), chance.choice(["tencent", "aliyun"])
            rows = [any_row(chance, run_id, provider) for _ in range(chance.randrange(1, 15))]
            if chance.random() < 0.3:
                put_part(home, map(as_version_1, rows), number, without=ADDED)
            else:
                put_part(home, rows, number)
        before, untouched = rows_of(home), {name for name in parts_in_force(home) if "run=open/" in name}

        compact(home, ["r1", "r2"], sizes=sizes)

        names = parts_in_force(home)
        event(f"{len(names)} files of {parts} parts")
        assert rows_of(home) == before
        assert {name for name in names if "_compacted-" not in name} == untouched
        for name in set(names) - untouched:
            table = pq.ParquetFile(home.path(name)).read()
            place = part_name(name)
            assert place is not None
            assert table.schema.equals(VERDICTS)
            assert {f"{each:%Y-%m}" for each in table.column("settled_at").to_pylist()} == {place.month}
            assert set(table.column("provider").to_pylist()) == {place.provider}
            order = table.select(["key", "question_id"]).to_pylist()
            assert order == sorted(order, key=lambda each: (each["key"].encode(), each["question_id"]))
        compact(home, ["r1", "r2"], sizes=sizes)
        assert parts_in_force(home) == names
