"""Compaction: the parts of runs that are over become few large ones, sorted, by provider and month.

What a run publishes is a part for each shard, thousands for ten million rows. They are merged a batch at a
time: merged aside, compared with what they replace row for row, and only then put in its place (`swap`).
"""

import math
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from domain.errors import FacesweepError
from tasks.records.checking import row_sum
from tasks.records.claim import compacting_alone
from tasks.records.home import Home
from tasks.records.merging import Sizes, merge
from tasks.records.parts import PartDamaged
from tasks.records.parts_in_force import merged_folder, part_name, parts_in_force, read_parts
from tasks.records.swap import finish_swap, swap_parts

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class MergeDiffers(FacesweepError):
    """Merged parts do not hold the very rows they were made of: nothing was replaced by them."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What a part's name and footer say of it."""

    relative: str
    provider: str
    run_id: str | None  # None: a merged part
    month: str | None  # of a merged part
    row_count: int
    size_bytes: int  # of the file
    plain_bytes: int  # uncompressed
    settled: tuple[datetime, datetime] | None  # first and last; None where there are no rows

    @property
    def months(self) -> set[str]:
        """The months its rows may be of."""
        if self.month is not None or self.settled is None:
            return {self.month} if self.month is not None else set()
        first, last = (each.year * 12 + each.month - 1 for each in self.settled)
        return {f"{each // 12:04d}-{each % 12 + 1:02d}" for each in range(first, last + 1)}


@dataclass(frozen=True, slots=True)
class Totals:
    """How many files hold how much."""

    files: int
    row_count: int
    size_bytes: int


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
    sizes: Sizes = Sizes(),  # noqa: B008 - it is immutable
    go_on: Callable[[], None] = lambda: None,
    at_step: Callable[[str], None] = lambda _: None,
) -> Compaction:
    """Merge the parts of the runs that are over, after clearing up what an earlier compaction left half done.

    A month's rows lie in merged parts of full size and at most one that is not full; that one is merged
    again with what comes later, full ones never are. So a second compaction finds nothing to do. `go_on` is
    called every few seconds while rows are merged and may raise: nothing of the batch is then replaced.
    `at_step` is told `merged`, `compared`, then the steps of `swap_parts`, for each batch.

    Raises:
        HomeBusy: another process compacts this home.
        HomeUnwritable: no room or no permission; the parts that were there still count.
        PartDamaged, MergeDiffers, UsageError: as `merge`; nothing is replaced.
    """
    with compacting_alone(home) as check_alone:
        finish_swap(home)
        facts = before = _facts(home, {})
        while batch := next_batch(facts, runs_over, sizes):
            check_alone()
            _replace(home, batch, sizes, check_alone, go_on, at_step)
            facts = _facts(home, {each.relative: each for each in facts})
    return Compaction(_totals(before), _totals(facts), _unfinished(facts, runs_over))


def look_ahead(home: Home, runs_over: Collection[str], *, sizes: Sizes = Sizes()) -> Compaction:  # noqa: B008
    """What `compact` would do; files and bytes afterwards are estimates. No part is touched.

    Raises:
        PartDamaged: a part cannot be read; names it.
    """

    def read_all(files: Sequence[Path]) -> list[PartFacts]:
        return [_read_facts("/".join(each.parts[-4:]), each) for each in files]

    facts = before = read_parts(home, read_all)
    while batch := next_batch(facts, runs_over, sizes):
        merged = {each.relative for each in batch}
        facts = [each for each in facts if each.relative not in merged] + list(_expected(batch, sizes))
    return Compaction(_totals(before), _totals(facts), _unfinished(facts, runs_over))


def next_batch(facts: Iterable[PartFacts], runs_over: Collection[str], sizes: Sizes) -> list[PartFacts]:
    """The parts to merge next, of one provider; none when all is as it should be.

    Parts of runs come in the order in which they were settled, as many as a batch may hold, and with them
    their months' merged parts that are not full.
    """
    for _, own in groupby(sorted(facts, key=_in_order), key=lambda each: each.provider):
        parts = list(own)
        chosen: list[PartFacts] = []
        plain_bytes = 0
        for each in parts:
            if each.run_id in runs_over:
                plain_bytes += each.plain_bytes
                if chosen and plain_bytes > sizes.batch_bytes:
                    break
                chosen.append(each)
        gaining = set().union(*(each.months for each in chosen))
        growing = [each for each in parts if each.month is not None and not _is_full(each, sizes)]
        months = Counter(each.month for each in growing)
        chosen += [
            each for each in growing if each.month in gaining or (not chosen and months[each.month] > 1)
        ]
        if chosen:
            return chosen
    return []


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
            merged = merge(files, folder, row_bytes, sizes, go_on)
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
    return [known.get(name) or _read_facts(name, home.path(name)) for name in names]


def _read_facts(relative: str, path: Path) -> PartFacts:
    name = part_name(relative)
    assert name is not None  # noqa: S101 - only names of parts are listed
    try:
        size_bytes = path.stat().st_size
        footer = pq.read_metadata(path)
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        settled = [_settled(group) for group in groups if group.num_rows]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise PartDamaged(f"{path} cannot be read: {error}") from None
    return PartFacts(
        relative=relative,
        provider=name.provider,
        run_id=name.run_id,
        month=name.month,
        row_count=footer.num_rows,
        size_bytes=size_bytes,
        plain_bytes=sum(group.total_byte_size for group in groups),
        settled=(min(first for first, _ in settled), max(last for _, last in settled)) if settled else None,
    )


def _settled(group: pq.RowGroupMetaData) -> tuple[datetime, datetime]:
    """Raises ValueError: the file does not say."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == "settled_at" and column.statistics and column.statistics.has_min_max:
            first, last = column.statistics.min, column.statistics.max
            if isinstance(first, datetime) and isinstance(last, datetime):
                return first, last
    raise ValueError("it does not say when its rows were settled, so it is not facesweep's")


def _expected(batch: Sequence[PartFacts], sizes: Sizes) -> Iterator[PartFacts]:
    """About what merging the batch would give; a part of two months counts for the first."""
    by_month: dict[str, list[PartFacts]] = {}
    for each in batch:
        if each.row_count:
            by_month.setdefault(min(each.months), []).append(each)
    for month, parts in by_month.items():
        left = sum(each.row_count for each in parts)
        bytes_per_row = sum(each.size_bytes for each in parts) / left
        plain_per_row = sum(each.plain_bytes for each in parts) / left
        number = 0
        while left:
            rows = min(left, sizes.file_rows, max(1, math.ceil(sizes.file_bytes / bytes_per_row)))
            left -= rows
            number += 1
            yield replace(
                parts[0],
                relative=f"{merged_folder(parts[0].provider, month)}/expected-{number:05d}.parquet",
                run_id=None,
                month=month,
                row_count=rows,
                size_bytes=math.ceil(rows * bytes_per_row),
                plain_bytes=math.ceil(rows * plain_per_row),
            )


def _is_full(each: PartFacts, sizes: Sizes) -> bool:
    return each.row_count >= sizes.file_rows or each.size_bytes >= sizes.file_bytes


def _in_order(each: PartFacts) -> tuple[str, datetime, str]:
    return each.provider, each.settled[0] if each.settled else _EARLIEST, each.relative


def _totals(facts: Iterable[PartFacts]) -> dict[str, Totals]:
    by_provider: dict[str, list[PartFacts]] = {}
    for each in facts:
        by_provider.setdefault(each.provider, []).append(each)
    return {
        provider: Totals(
            len(parts), sum(each.row_count for each in parts), sum(each.size_bytes for each in parts)
        )
        for provider, parts in sorted(by_provider.items())
    }


def _unfinished(facts: Iterable[PartFacts], runs_over: Collection[str]) -> dict[str, int]:
    runs = (each.run_id for each in facts if each.run_id is not None and each.run_id not in runs_over)
    return dict(sorted(Counter(runs).items()))
