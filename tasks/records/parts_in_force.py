"""Which parts hold the verdicts, also while a compaction puts others in their place.

Whoever reads verdicts asks here and takes no other file under `verdicts/`. A compaction puts merged
parts beside those they replace, says in one file that the merged ones count now, and removes the
others: there is no moment at which both count, or neither.
"""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from domain.errors import HomeBusy, UsageError
from tasks.records.home import Home, HomeUnwritable

SWAP_PATH = "verdicts/_compaction.json"  # pandas, pyarrow and Spark ignore names that begin with "_"

MERGED = "_compacted-"
"""Begins the folder of merged parts, `run=_compacted-2026-11`, where a run's id stands for other parts.

`run=` as for these, because people's scripts look into `verdicts/provider=*/run=*/`, and because DuckDB
refuses a tree whose folders have different names when it is told to read them. No run's id begins with `_`.
"""

_PART = re.compile(r"verdicts/provider=([^/]+)/run=([^/]+)/(?:part-(\d{5,})|[^/.][^/]*)\.parquet")
_LOOKS = 50  # a swap changes the list three times, and minutes lie between two swaps

T = TypeVar("T")


class SwapState(StrEnum):
    PLACING = "placing"  # merged parts are being put in place; those they replace count
    REMOVING = "removing"  # all merged parts are in place and count; those they replace are being removed
    OVER = "over"  # whatever is there counts


@dataclass(frozen=True, slots=True)
class Swap:
    """The last change of parts a compaction began, as it stands in the home. Names are the home's."""

    swap_id: str  # never the same again, so that two looks at the file tell whether it changed
    state: SwapState
    adds: tuple[str, ...]
    removes: tuple[str, ...]

    def without_idle(self, names: Collection[str]) -> list[str]:
        """The names without those that do not count yet, or no more."""
        idle = {SwapState.PLACING: self.adds, SwapState.REMOVING: self.removes, SwapState.OVER: ()}
        return sorted(set(names) - set(idle[self.state]))

    def to_json(self) -> dict[str, Any]:
        return {"swap_id": self.swap_id, "state": self.state, "adds": self.adds, "removes": self.removes}


@dataclass(frozen=True, slots=True)
class PartName:
    """What a part's place says of it."""

    provider: str
    run_id: str | None  # None: a merged part, of several runs
    month: str | None  # of a merged part: 2026-11, of the moments its rows were settled
    number: int | None = None  # of a run's own part, by which its shard is known


def part_name(relative: str) -> PartName | None:
    """What a name under `verdicts/` says; None for a file that is no part."""
    found = _PART.fullmatch(relative)
    if found is None:
        return None
    if found[2].startswith(MERGED):
        return PartName(found[1], None, found[2].removeprefix(MERGED))
    return PartName(found[1], found[2], None, int(found[3]) if found[3] else None)


def merged_folder(provider: str, month: str) -> str:
    """`verdicts/provider=<p>/run=_compacted-2026-11`."""
    return f"verdicts/provider={provider}/run={MERGED}{month}"


def read_swap(home: Home) -> Swap | None:
    """The last swap that was begun; None where nothing was ever compacted.

    Raises:
        UsageError: the file is damaged or a newer facesweep's; names it.
    """
    document = home.find_json(SWAP_PATH)
    if document is None:
        return None
    try:
        return Swap(
            swap_id=document["swap_id"],
            state=SwapState(document["state"]),
            adds=tuple(document["adds"]),
            removes=tuple(document["removes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{home.path(SWAP_PATH)} is not a compaction's: {error!r}") from None


def parts_in_force(home: Home) -> list[str]:
    """Names of the parts that together hold each published verdict exactly once, sorted.

    Of a home in a bucket these are the bucket's.

    Raises:
        UsageError: the swap file is damaged; names it.
        HomeBusy: the list changed each time it was looked at.
    """
    for _ in range(_LOOKS):
        # A list is of one moment only if no swap began, turned or ended while it was made.
        before = read_swap(home)
        names = [name for name in home.names("verdicts") if part_name(name)]
        if read_swap(home) == before:
            return names if before is None else before.without_idle(names)
    raise _too_fast(home)


@contextlib.contextmanager
def held_parts(home: Home, is_wanted: Callable[[str], bool] = lambda _: True) -> Iterator[list[Path]]:
    """The parts in force whose names are wanted, as files that nobody can take away inside the block.

    They are held by links in a staging folder. Where there can be none (a reader who may not write
    into the home, a filesystem without links) the files themselves are given, and a compaction may
    take one away: use `read_parts` for what can be read twice.

    Raises:
        As `parts_in_force`.
    """
    for _ in range(_LOOKS):
        home.refresh("verdicts")
        names = [name for name in parts_in_force(home) if is_wanted(name)]
        with contextlib.ExitStack() as stack:
            try:
                files = _held(home, names, stack)
            except FileNotFoundError:  # taken away since it was listed
                continue
            yield files
            return
    raise _too_fast(home)


def read_parts(
    home: Home, read: Callable[[Sequence[Path]], T], is_wanted: Callable[[str], bool] = lambda _: True
) -> T:
    """What `read` makes of the parts in force; it is called again if a part was taken from under its hands.

    Raises:
        As `parts_in_force`, and whatever `read` raises.
    """
    for _ in range(_LOOKS):
        with held_parts(home, is_wanted) as files:
            try:
                return read(files)
            except Exception:
                if all(each.exists() for each in files):
                    raise
    raise _too_fast(home)


def may_hold(run_id: str | None) -> Callable[[str], bool]:
    """Whether a part may hold rows of the run: one of its own, or a merged one; any part for None."""

    def is_wanted(relative: str) -> bool:
        name = part_name(relative)
        return name is not None and (run_id is None or name.run_id in (None, run_id))

    return is_wanted


def _held(home: Home, names: Sequence[str], stack: contextlib.ExitStack) -> list[Path]:
    """Raises FileNotFoundError: a part is gone."""
    files = [home.path(name) for name in names]
    if not files:
        return []
    try:
        folder = stack.enter_context(home.staging())
        stack.enter_context(_named_as_in(home, folder))
        links = [folder / name for name in names]
        for file, link in zip(files, links, strict=True):
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link)
    except FileNotFoundError:
        raise
    except (HomeUnwritable, OSError):
        for file in files:
            file.stat()
        return files
    return links


@contextlib.contextmanager
def _named_as_in(home: Home, folder: Path) -> Iterator[None]:
    """A sentence about a link names the part itself: the link is gone when somebody reads it."""
    try:
        yield
    except UsageError as error:
        raise type(error)(str(error).replace(str(folder), str(home.root))) from None


def _too_fast(home: Home) -> HomeBusy:
    return HomeBusy(f"the verdicts of {home.root} are being compacted again and again: try once more")
