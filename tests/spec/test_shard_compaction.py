"""Compaction of a backfill that goes on for months: the parts of its done shards, and no others."""

from pathlib import Path

from tasks.records.compaction import compact, look_ahead
from tasks.records.home import Home
from tasks.records.part_numbers import PARTS_OF_A_SHARD
from tasks.records.parts_in_force import parts_in_force
from tests.spec.compacted_homes import put_part, questions_by_reader, row

RUN = "years"


def fill(home: Home) -> None:
    """Three shards of three parts each; so that all can be told apart, each part has rows of its own."""
    for shard in (1, 2, 3):
        for part in (1, 2, 3):
            rows = [row(RUN, 100 * shard + 10 * part + number) for number in range(4)]
            put_part(home, rows, shard * PARTS_OF_A_SHARD + part)


def test_parts_of_done_shards_are_merged_while_the_backfill_goes_on(tmp_path: Path) -> None:
    """A shard that is not done needs its own, to go on from them on another machine."""
    home = Home.local(tmp_path)
    fill(home)
    before = questions_by_reader(home.path("verdicts"))
    done = {(RUN, "tencent", 1), (RUN, "tencent", 3)}
    expected = look_ahead(home, [], shards_over=done)

    compaction = compact(home, [], shards_over=done)

    assert questions_by_reader(home.path("verdicts")) == before
    assert compaction.unfinished == expected.unfinished == {RUN: 3}
    assert compaction.after["tencent"].files == expected.after["tencent"].files == 4
    own = [name for name in parts_in_force(home) if f"run={RUN}/" in name]
    assert [name.rpartition("/")[2] for name in own] == [
        f"part-{2 * PARTS_OF_A_SHARD + number}.parquet" for number in (1, 2, 3)
    ]


def test_nothing_of_a_backfill_is_merged_while_none_of_its_shards_is_done(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)
    assert compact(home, []).after["tencent"].files == 9
    assert compact(home, [RUN]).after["tencent"].files == 1
