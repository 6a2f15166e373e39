"""Which numbers the parts of one journal have, and which of them the home holds already."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from domain.verdicts import Provider
from tasks.records.home import Home
from tasks.records.ledger import part_path

PARTS_OF_A_SHARD = 10_000
"""Shard n of a backfill owns the numbers from n times this on: below it are those of a run of one process.

A shard is planned for ten minutes at the cap and publishes once a minute: at a two-hundredth of the cap that
are 2,000 parts.
"""

MOST_GAP = 64

PART_NAME = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True, slots=True)
class PartNumbers:
    """The numbers a journal may give to its parts.

    Where the highest number in the home is another journal's, `gap` numbers are left out behind it: its
    writer may stand still between the look at its claim and the end of an upload, and go on when it is long
    given up for dead. What it then puts in place must not replace a part, nor be replaced by one.
    """

    first: int = 1
    last: int | None = None  # None: as many as it takes
    gap: int = 0

    def holds(self, number: int) -> bool:
        """Whether the number is one of these."""
        return self.first <= number and (self.last is None or number <= self.last)

    def above(self, there: Collection[int], own: Collection[int]) -> int:
        """A new part's number is greater than this, where the home holds `there` and `own` are its own."""
        highest = max(there, default=self.first - 1)
        return highest if highest in own else highest + self.gap


ANY_NUMBER = PartNumbers()


def numbers_of_shard(number: int, attempt: int) -> PartNumbers:
    """The numbers of a shard's parts; each attempt leaves a gap of another width (see `PartNumbers`)."""
    first = number * PARTS_OF_A_SHARD + 1
    # Without the last one, which has other digits in front: so all are listed by one beginning.
    return PartNumbers(first, first + PARTS_OF_A_SHARD - 2, (attempt - 1) % MOST_GAP)


def shard_of(part_number: int) -> int | None:
    """The shard that owns the number; None where it is a run's of one process."""
    return part_number // PARTS_OF_A_SHARD or None


def numbers_in(home: Home, run_id: str, provider: Provider, numbers: PartNumbers = ANY_NUMBER) -> list[int]:
    """Which of these numbers the run's parts in the home have."""
    folder = part_path(provider, run_id, 0).rpartition("/")[0]
    # Of a bucket only those are listed that may be: a backfill has hundreds of thousands of parts.
    beginning = "part-" if numbers.last is None else f"part-{numbers.first // PARTS_OF_A_SHARD}"
    names = [PART_NAME.fullmatch(name.rpartition("/")[2]) for name in home.names(folder, beginning)]
    return [number for name in names if name and numbers.holds(number := int(name[1]))]
