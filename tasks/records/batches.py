"""Which parts to merge next, from what their names and footers say."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.records.merging import MIB, Slices
from tasks.records.part_numbers import shard_of
from tasks.records.parts import PartDamaged
from tasks.records.parts_in_force import merged_folder, part_name

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_WHOLE_SLICES = Slices()


@dataclass(frozen=True, slots=True)
class Totals:
    """How many files hold how much."""

    files: int
    row_count: int
    size_bytes: int
    plain_bytes: int  # uncompressed


@dataclass(frozen=True, slots=True)
class Sizes:
    """When a merged part is full; each of these will do.

    A million rows with replies of 1.5 KB are 400 MB: few enough files for years of verdicts, small enough to
    be fetched, and to be merged again while they are not full.
    """

    rows: int = 1_000_000
    size_bytes: int = 512 * MIB  # of the file
    plain_bytes: int = 4_096 * MIB  # uncompressed: merging takes about a quarter of it on disk
    slices: Slices = _WHOLE_SLICES

    def is_full(self, totals: Totals) -> bool:
        """Whether so much makes a full part."""
        return (
            totals.row_count >= self.rows
            or totals.size_bytes >= self.size_bytes
            or totals.plain_bytes >= self.plain_bytes
        )


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


ShardName = tuple[str, str, int]
"""A shard of a backfill: its run's id, its provider, its number."""


@dataclass(frozen=True, slots=True)
class Over:
    """What is over: nobody goes on from its parts, so they may be merged."""

    runs: Collection[str]
    shards: Collection[ShardName] = ()  # done ones of backfills that are not over

    def holds(self, part: PartFacts) -> bool:
        """Whether the part is a run's own, and that run or its shard is over."""
        if part.run_id is None or part.run_id in self.runs:
            return part.run_id is not None
        name = part_name(part.relative)
        shard = None if name is None or name.number is None else shard_of(name.number)
        return shard is not None and (part.run_id, part.provider, shard) in self.shards


def next_batch(facts: Iterable[PartFacts], over: Over, sizes: Sizes) -> list[PartFacts]:
    """The parts to merge next, of one provider; none when all is as it should be.

    Parts of what is over, in the order in which they were settled, until they make a full part with
    those of their months that are merged and not full.
    """
    for _, own in groupby(sorted(facts, key=_in_order), key=lambda each: each.provider):
        parts = list(own)
        growing = [each for each in parts if each.month is not None and not sizes.is_full(_totals(each))]
        chosen: list[PartFacts] = []
        so_far = totals_of([])
        for each in parts:
            if over.holds(each):
                joining = [other for other in growing if other.months & each.months]
                growing = [other for other in growing if other not in joining]
                chosen += [*joining, each]
                so_far = _sum(so_far, *map(_totals, (*joining, each)))
                if sizes.is_full(so_far):
                    break
        if chosen:
            return chosen
    return []


def read_facts(relative: str, path: Path) -> PartFacts:
    """What the part of that name says, which lies at `path`.

    Raises:
        PartDamaged: its footer cannot be read; names the path.
    """
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


def expected(batch: Sequence[PartFacts], number: int) -> list[PartFacts]:
    """About what merging the batch would give; a part of two months counts for the first."""
    by_month: dict[str, list[PartFacts]] = {}
    for each in batch:
        if each.row_count:
            by_month.setdefault(min(each.months), []).append(each)
    return [
        replace(
            parts[0],
            relative=f"{merged_folder(parts[0].provider, month)}/part-expected-{number:05d}.parquet",
            run_id=None,
            month=month,
            row_count=sum(each.row_count for each in parts),
            size_bytes=sum(each.size_bytes for each in parts),
            plain_bytes=sum(each.plain_bytes for each in parts),
        )
        for month, parts in by_month.items()
    ]


def _in_order(each: PartFacts) -> tuple[str, datetime, str]:
    return each.provider, each.settled[0] if each.settled else _EARLIEST, each.relative


def totals_of(parts: Iterable[PartFacts]) -> Totals:
    """How much the parts hold together."""
    return _sum(Totals(0, 0, 0, 0), *map(_totals, parts))


def _totals(each: PartFacts) -> Totals:
    return Totals(1, each.row_count, each.size_bytes, each.plain_bytes)


def _sum(*totals: Totals) -> Totals:
    return Totals(
        sum(each.files for each in totals),
        sum(each.row_count for each in totals),
        sum(each.size_bytes for each in totals),
        sum(each.plain_bytes for each in totals),
    )
