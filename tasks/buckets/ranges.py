"""One listing by several listers: ranges of keys, cut in pieces while they are being listed.

A store gives a thousand keys for each request, in the order of their bytes, and starts behind any key it is
told to. So the keys are dealt out as ranges, and a lister that has nothing left cuts up somebody else's: at
the end of the largest group of keys, the last listed one among them, behind which the range goes on. Groups
are told apart by leading characters, not by a delimiter: a million folders of one picture each, folders by
date and no folders at all are cut alike, and no key falls between two ranges, whatever it holds.
"""

import queue
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise, takewhile
from operator import attrgetter

from domain.errors import UsageError
from domain.objects import ObjectRef

LISTERS = 8

Page = tuple[list[ObjectRef], bool]
"""Objects, and whether more follow."""

Pages = Callable[[str, int | None], Iterator[Page]]
"""Pages of the keys behind the one given, as large as may be or of that many objects."""

# Above any character of a key that people choose: it ends the group of keys which start alike.
_LAST = "\U0010ffff"
# The longest key S3 and OSS take, and so the longest one to start behind.
_LONGEST_KEY_BYTES = 1023
# Looking for a place to cut takes requests too: this many at first, then one more for every few pages.
_FREE_SEEKS = 24
_PAGES_PER_SEEK = 8

_key_of = attrgetter("key")


def list_in_ranges(pages: Pages, listers: int, where: str) -> Iterator[list[ObjectRef]]:
    """Every object of the pages exactly once, a page at a time, in no order across pages.

    What fits on one page takes one request and no thread. Memory is some two pages for each lister. A store
    that does not start behind the key it is told, or lists in another order, has one lister.

    Args:    where: the bucket's name, for errors.
    Raises:  UsageError: what `pages` raised to any of the listers; or the order of the keys was lost when
             the listing had been cut, so that it may not be complete.
    """
    stream = pages("", None)
    first, more = next(stream)
    if first:
        yield first
    if more and first and listers > 1 and _in_order(first, ""):
        yield from _Listers(pages, listers, where).listed(_Range(first[-1].key, None, stream))
    elif more:
        yield from (refs for refs, _ in stream if refs)


def _in_order(refs: list[ObjectRef], position: str) -> bool:
    """Whether the keys rise from `position`, by code point and so by their UTF-8 bytes."""
    return position < refs[0].key and all(one.key < other.key for one, other in pairwise(refs))


@dataclass(slots=True, eq=False)
class _Range:
    """The keys behind `position`, up to and with `end`; None for no end."""

    position: str
    end: str | None
    stream: Iterator[Page] | None = None  # where somebody has begun to list it
    pages: int = 0  # listed since it was made or cut
    patience: int = 1  # pages before it is worth looking for a place to cut

    def holds(self, key: str) -> bool:
        return self.position < key and (self.end is None or key <= self.end)


class _Stopped(BaseException):
    """Nobody wants the rest of the listing."""


class _Listers:
    def __init__(self, pages: Pages, listers: int, where: str) -> None:
        self._pages, self._listers, self._where = pages, listers, where
        self._batches: queue.Queue[list[ObjectRef] | Exception | None] = queue.Queue(listers)
        self._changed = threading.Condition()
        # All below is read and written under the condition's lock.
        self._listing: list[_Range] = []
        self._waiting: list[_Range] = []  # for a lister
        self._idle = listers
        self._seeks_left = _FREE_SEEKS
        self._pages_listed = 0
        self._is_orderly = True  # starts where it is told, lists by the bytes of the keys
        self._is_cut = False
        self._is_cutting = False
        self._is_stopped = False

    def listed(self, begun: _Range) -> Iterator[list[ObjectRef]]:
        """The batches of all listers. When nobody takes them any more, the listers end."""
        begun.pages = 1
        self._waiting.append(begun)
        for number in range(self._listers):
            # Daemons: a request that hangs must not keep alive a process that was told to end.
            threading.Thread(target=self._work, name=f"lister-{number}", daemon=True).start()
        try:
            while (batch := self._batches.get()) is not None:
                if isinstance(batch, Exception):
                    raise batch
                yield batch
        finally:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()

    def _work(self) -> None:
        with suppress(_Stopped):
            try:
                while (mine := self._next_range()) is not None:
                    self._list(mine)
                self._hand_over(None)
            except Exception as error:  # whoever takes the batches raises it
                self._hand_over(error)

    def _hand_over(self, batch: list[ObjectRef] | Exception | None) -> None:
        while not self._is_stopped:
            try:
                return self._batches.put(batch, timeout=0.1)
            except queue.Full:
                continue
        raise _Stopped

    def _list(self, mine: _Range) -> None:
        for refs, more in mine.stream or self._pages(mine.position, None):
            with self._changed:
                if refs and not _in_order(refs, mine.position):
                    self._is_orderly = False
                    if self._is_cut:
                        raise UsageError(
                            f"{self._where} does not list its keys in the order of their bytes, so part of "
                            "them would be missed: give an inventory or a list of them as source.inventory"
                        )
                # The end may have come nearer while the page was on its way.
                ours = refs if mine.end is None else refs[: bisect_right(refs, mine.end, key=_key_of)]
                mine.position = ours[-1].key if ours else mine.position
                is_over = not more or len(ours) < len(refs)
                if is_over:
                    mine.end = mine.position  # nothing is left to cut off
                mine.pages += 1
                self._pages_listed += 1
                self._seeks_left += self._pages_listed % _PAGES_PER_SEEK == 0
                self._changed.notify_all()
            if ours:
                self._hand_over(ours)
            if is_over:
                break
        with self._changed:
            self._listing.remove(mine)  # not sooner: an empty list ends the listing
            self._idle += 1
            self._changed.notify_all()

    def _next_range(self) -> _Range | None:
        """A range that waits, or a piece of somebody's; None when everything is listed."""
        while True:
            with self._changed:
                while not self._waiting:
                    if self._is_stopped:
                        raise _Stopped
                    if not self._listing:
                        return None
                    longest = self._worth_cutting()
                    if longest is not None:
                        break
                    self._changed.wait()
                else:
                    self._idle -= 1
                    self._listing.append(self._waiting.pop(0))
                    return self._listing[-1]
                self._is_cutting = True
                position, end, wanted = longest.position, longest.end, self._idle
            places = self._places_to_cut(position, end, wanted)
            with self._changed:
                self._cut(longest, places)
                self._changed.notify_all()

    def _worth_cutting(self) -> _Range | None:
        """The range whose last cut is the most pages ago, unless somebody is looking for a cut already."""
        if self._is_cutting or self._seeks_left <= 0 or not self._is_orderly:
            return None
        found = [each for each in self._listing if each.pages >= each.patience]
        return max(found, key=lambda each: each.pages, default=None)

    def _cut(self, long: _Range, places: list[str]) -> None:
        self._is_cutting = False
        # Its lister has gone on meanwhile; what it has left behind belongs to it.
        places = [place for place in places if long.holds(place)]
        if places and self._is_orderly:
            self._is_cut = True
            ends = [*places[1:], long.end]
            self._waiting += [_Range(place, end) for place, end in zip(places, ends, strict=True)]
            long.end, long.pages = places[0], 0
        else:
            long.patience = 2 * long.pages

    def _places_to_cut(self, position: str, end: str | None, wanted: int) -> list[str]:
        """Up to `wanted` ends of groups within the range, in order, with keys behind each of them."""
        # The shortest beginning of the position whose group ends before the range does, by bisection.
        least, behind = 0, ""
        low = 1 + sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(position, end or "", strict=False))
        )
        high = 1 + len(position.encode()[: _LONGEST_KEY_BYTES - len(_LAST.encode())].decode(errors="ignore"))
        while low < high:
            middle = (low + high) // 2
            key = self._seek(position[:middle] + _LAST, end)
            if key is None:
                low = middle + 1
            else:
                high = least = middle
                behind = key
        if not least:
            return []
        places = [position[:least] + _LAST]
        while len(places) < wanted:
            place = behind[:least] + _LAST  # the next group of that length
            key = self._seek(place, end)
            if key is None:
                break
            places.append(place)
            behind = key
        return places

    def _seek(self, place: str, end: str | None) -> str | None:
        """The first key behind the place and not behind the end."""
        if len(place.encode()) > _LONGEST_KEY_BYTES:
            return None
        refs, _ = next(self._pages(place, 1))
        with self._changed:
            self._seeks_left -= 1
            if refs and refs[0].key <= place:
                self._is_orderly = False
                return None
        return refs[0].key if refs and (end is None or refs[0].key <= end) else None
