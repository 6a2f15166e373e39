"""Compaction: the parts of runs that are over become few large ones, sorted, by provider and month.

What a run publishes is a part for each shard, thousands for ten million rows; each worker of a backfill
publishes one a minute, so the shards of it that are done do not wait for the others. They are merged a batch
at a time, as much as makes one part of full size: merged aside, compared with what they replace row for row,
and only then put in its place (`swap`).

A merged part holds what was settled one after the other, sorted by key. So a question about a run or a day
looks into few parts, and one about an object into one row group of each.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from domain.errors import FacesweepError
from tasks.records.batches import (
    Over,
    PartFacts,
    ShardName,
    Sizes,
    Totals,
    expected,
    next_batch,
    read_facts,
    totals_of,
)
from tasks.records.checking import row_sum
from tasks.records.claim import compacting_alone
from tasks.records.home import Home
from tasks.records.merging import merge
from tasks.records.parts_in_force import merged_folder, parts_in_force, read_parts
from tasks.records.swap import finish_swap, swap_parts

WHOLE = Sizes()


class MergeDiffers(FacesweepError):
    """Merged parts do not hold the very rows they were made of: nothing was replaced by them."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did, or would do."""

    before: dict[str, Totals]  # by provider
    after: dict[str, Totals]  # of a look ahead: about
    unfinished: dict[str, int]  # parts left alone, by the run that is not over


def compact(
    home: Home,
    runs_over: Collection[str],
    *,
    shards_over: Collection[ShardName] = (),
    sizes: Sizes = WHOLE,
    go_on: Callable[[], None] = lambda: None,
    at_step: Callable[[str], None] = lambda _: None,
) -> Compaction:
    """Merge the parts of runs and shards that are over, after clearing up what an earlier one left half done.

    Of a month's merged parts at most one is not full; it is merged again with what comes later, full ones
    never are. So a second compaction finds nothing to do. `go_on` is called every few seconds while rows
    are merged and may raise: nothing of the batch is then replaced. `at_step` is told `merged`, `compared`,
    then the steps of `swap_parts`, for each batch.

    Raises:
        HomeBusy: another process compacts this home.
        HomeUnwritable: no room or no permission; the parts that were there still count.
        PartDamaged, MergeDiffers, UsageError: as `merge`; nothing is replaced.
    """
    over = Over(runs_over, shards_over)
    with compacting_alone(home) as check_alone:
        finish_swap(home)
        facts = before = _facts(home, {})
        while batch := next_batch(facts, over, sizes):
            check_alone()
            _replace(home, batch, sizes, check_alone, go_on, at_step)
            facts = _facts(home, {each.relative: each for each in facts})
    return Compaction(_totals(before), _totals(facts), _unfinished(facts, over))


def look_ahead(
    home: Home,
    runs_over: Collection[str],
    *,
    shards_over: Collection[ShardName] = (),
    sizes: Sizes = WHOLE,
) -> Compaction:
    """What `compact` would do; files and bytes afterwards are estimates. No part is touched.

    Raises:
        PartDamaged: a part cannot be read; names it.
    """

    def read_all(files: Sequence[Path]) -> list[PartFacts]:
        return [read_facts("/".join(each.parts[-4:]), each) for each in files]

    over = Over(runs_over, shards_over)
    facts = before = read_parts(home, read_all)
    numbers = count(1)
    while batch := next_batch(facts, over, sizes):
        merged = {each.relative for each in batch}
        facts = [each for each in facts if each.relative not in merged] + expected(batch, next(numbers))
    return Compaction(_totals(before), _totals(facts), _unfinished(facts, over))


def _replace(
    home: Home,
    batch: Sequence[PartFacts],
    sizes: Sizes,
    check_alone: Callable[[], None],
    go_on: Callable[[], None],
    at_step: Callable[[str], None],
) -> None:
    """Merge one batch and swap the merged parts for it."""
    files = [home.path(each.relative) for each in batch]
    row_bytes = sum(each.plain_bytes for each in batch) / max(sum(each.row_count for each in batch), 1)
    with home.staging() as folder:
        try:
            merged = merge(files, folder, row_bytes, sizes.slices, go_on)
        except OSError as error:
            raise home.unwritable("verdicts", error) from None
        at_step("merged")
        if row_sum(files) != row_sum([each.path for each in merged]):
            raise MergeDiffers(
                f"merging {len(files):,} parts of {home.root} gave other rows than they hold: nothing was "
                "replaced; keep the home as it is and report this"
            )
        at_step("compared")
        swap_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        names = (
            f"{merged_folder(batch[0].provider, each.month)}/part-{swap_id}-{number:05d}.parquet"
            for number, each in enumerate(merged, start=1)
        )
        swap_parts(
            home,
            swap_id,
            dict(zip(names, (each.path for each in merged), strict=True)),
            [each.relative for each in batch],
            check_alone,
            at_step,
        )


def _facts(home: Home, known: Mapping[str, PartFacts]) -> list[PartFacts]:
    home.refresh("verdicts")
    # A run on another machine may have published a part since: that one is not over, and left alone.
    names = [name for name in parts_in_force(home) if home.path(name).is_file()]
    return [known.get(name) or read_facts(name, home.path(name)) for name in names]


def _totals(facts: Iterable[PartFacts]) -> dict[str, Totals]:
    by_provider: dict[str, list[PartFacts]] = {}
    for each in facts:
        by_provider.setdefault(each.provider, []).append(each)
    return {provider: totals_of(parts) for provider, parts in sorted(by_provider.items())}


def _unfinished(facts: Iterable[PartFacts], over: Over) -> dict[str, int]:
    runs = (each.run_id for each in facts if each.run_id is not None and not over.holds(each))
    return dict(sorted(Counter(runs).items()))
