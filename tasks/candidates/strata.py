"""Strata: parts of the objects selected, each sampled by itself."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from tasks.candidates.vocabulary import literal

MOST_STRATA = 1_000  # a table people still read, and 1,000 sampled objects at least

NO_STRATUM = "."
"""The stratum of objects that lie in no folder below the source, or for which an inventory names none."""


class Allocation(StrEnum):
    """How a sample is shared among the strata."""

    PROPORTIONAL = "proportional"  # as the strata share the objects: the overall rate is known best
    EQUAL = "equal"  # as many from each: the strata can be compared


@dataclass(frozen=True, slots=True)
class Strata:
    """Where an object's stratum stands, and how a sample is shared among the strata."""

    depth: int | None  # folders of the key that name the stratum; None: the listing's column does
    top: str = ""  # what every key begins with, up to a "/": folders count from here
    allocation: Allocation = Allocation.PROPORTIONAL

    @property
    def name(self) -> str:
        """As the spec file says it."""
        return "column" if self.depth is None else f"prefix:{self.depth}"

    def stratum_sql(self) -> str:
        """SQL for the stratum of a listing's row; never NULL."""
        if self.depth is None:
            return f"coalesce(nullif(stratum, ''), '{NO_STRATUM}')"
        top = literal(self.top)
        # Only what ends in "/" is a folder, so a file's own name never makes a stratum.
        folders = (
            f"regexp_extract(CASE WHEN starts_with(key, {top}) THEN substr(key, length({top}) + 1)"
            f" ELSE key END, '^(?:[^/]*/){{1,{self.depth}}}')"
        )
        return f"coalesce(nullif(left({folders}, -1), ''), '{NO_STRATUM}')"


def allocate(sizes: Mapping[str, int], sampled: int, allocation: Allocation) -> dict[str, int]:
    """How many objects of each stratum a sample of so many objects holds: at least 1, at most all.

    A larger sample has no fewer of any stratum, so it goes on with what a smaller one has asked.

    equal         as many of each; a small stratum is taken whole and what it lacks goes to the others.
    proportional  by size, rounded with Webster's method (Sainte-Laguë) and at least one of each. Rounding by
                  the largest remainder would break the promise above: with it a larger sample can have fewer
                  of a stratum (the Alabama paradox; Balinski and Young, "Fair Representation", 1982, where
                  divisor methods are shown to be the ones without it).

    Args:    sizes: objects of each stratum, each at least 1.  sampled: at least one for each stratum.
    Raises:  ValueError: `sampled` is less than that, or a stratum is empty.
    """
    if sampled < len(sizes) or any(size < 1 for size in sizes.values()):
        raise ValueError(f"a sample of {sampled} is not one object for each of {len(sizes)} strata")
    sampled = min(sampled, sum(sizes.values()))
    return _equal(sizes, sampled) if allocation is Allocation.EQUAL else _proportional(sizes, sampled)


def _equal(sizes: Mapping[str, int], sampled: int) -> dict[str, int]:
    left, each = sampled, 0
    shares: dict[str, int] = {}
    smallest_first = sorted(sizes, key=lambda name: (sizes[name], name))
    for number, name in enumerate(smallest_first):
        each = left // (len(sizes) - number)
        if sizes[name] > each:
            break
        shares[name] = sizes[name]
        left -= sizes[name]
    rest = sorted(sizes.keys() - shares.keys(), key=lambda name: (-sizes[name], name))
    for number, name in enumerate(rest):
        shares[name] = each + (number < left - each * len(rest))
    return {name: shares[name] for name in sizes}


def _proportional(sizes: Mapping[str, int], sampled: int) -> dict[str, int]:
    """The k-th object after a stratum's first goes to the stratum with the largest size / (2k - 1)."""
    whole = sum(sizes.values())
    # Where the method stands after about sampled - strata objects, reached in one step: every place worth
    # more than whole / base is given. Rounding adds at most one object for each stratum.
    base = sampled - len(sizes)
    shares = {name: max(1, (2 * size * base + whole) // (2 * whole)) for name, size in sizes.items()}
    queue = [(_next_worth(size, shares[name]), -size, name) for name, size in sizes.items()]
    heapq.heapify(queue)
    for _ in range(sampled - sum(shares.values())):
        _, _, name = heapq.heappop(queue)
        shares[name] += 1
        heapq.heappush(queue, (_next_worth(sizes[name], shares[name]), -sizes[name], name))
    return shares


def _next_worth(size: int, given: int) -> Fraction:
    """Sorts the stratum that comes next to the front; exact, so that equals are equal."""
    return -Fraction(size, 2 * given + 1)
