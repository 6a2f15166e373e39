"""Putting merged parts in the place of others, so that every verdict counts exactly once at any moment.

PLACING, written before the first merged part appears: the merged ones do not count yet. REMOVING, written
after the last one appeared: the replaced ones count no more. OVER: whatever is there counts. Each word is on
disk before the next file moves, so what a crash leaves can be read rightly as it is.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from domain.errors import FacesweepError, HomeBusy
from tasks.records.home import Home
from tasks.records.parts_in_force import SWAP_PATH, Swap, SwapState, read_swap


def swap_parts(
    home: Home,
    swap_id: str,
    merged: Mapping[str, Path],
    replaced: Sequence[str],
    check_alone: Callable[[], None],
    at_step: Callable[[str], None],
) -> None:
    """The staged `merged` files, by the names they get, count in the place of the parts `replaced`.

    `at_step` is told `placing`, `placed` (each file), `removing`, `removed` (each folder) and `over`.

    Raises:
        HomeUnwritable: names the path. Before the merged ones count they are taken back; afterwards
            the next compaction removes what is left.
        HomeBusy: `check_alone` says that another compaction works; nothing was replaced.
    """
    swap = Swap(swap_id, SwapState.PLACING, tuple(merged), tuple(replaced))
    _write(home, swap)
    at_step("placing")
    try:
        for name, staged in merged.items():
            check_alone()
            home.adopt(staged, name)
            at_step("placed")
        check_alone()
        swap = replace(swap, state=SwapState.REMOVING)
        _write(home, swap)
    except HomeBusy:
        raise  # whoever works in our place takes ours back
    except Exception:
        # What made placing fail may make this fail too: then the next compaction does it.
        with contextlib.suppress(FacesweepError, OSError):
            _finish(home, read_swap(home), swap_id, at_step)
        raise
    at_step("removing")
    _finish(home, swap, swap_id, at_step)


def finish_swap(home: Home) -> None:
    """What an earlier compaction began is finished, or taken back where its parts do not count yet.

    Raises:
        HomeUnwritable: names the path.
    """
    swap = read_swap(home)
    if swap is not None:
        _finish(home, swap, swap.swap_id, lambda _: None)


def _finish(home: Home, swap: Swap | None, swap_id: str, at_step: Callable[[str], None]) -> None:
    """Nothing where it is over, or another's."""
    if swap is None or swap.swap_id != swap_id or swap.state is SwapState.OVER:
        return
    idle = swap.adds if swap.state is SwapState.PLACING else swap.removes
    for _, names in groupby(sorted(idle), key=lambda name: name.rpartition("/")[0]):
        home.remove(list(names))
        at_step("removed")
    _write(home, replace(swap, state=SwapState.OVER, adds=(), removes=()))
    at_step("over")


def _write(home: Home, swap: Swap) -> None:
    home.write_json(SWAP_PATH, swap.to_json())
