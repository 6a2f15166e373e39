"""One listing by several listers: everything once, whatever the keys, the pages and the number of listers."""

import threading
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import UsageError
from domain.objects import ObjectRef, Store
from tasks.buckets.ranges import Page, list_in_ranges

NOW = datetime(2026, 11, 20, tzinfo=UTC)

ODD = st.text(alphabet="ab/\n\x01 %é😀\U0010ffff", min_size=1, max_size=8)
ANY = st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
FOLDERS = st.builds("selfies/2024/{:02}/{}.jpg".format, st.integers(1, 12), st.integers(0, 10**6))
KEYS = st.one_of(*(st.sets(each, max_size=120) for each in (ODD, ANY, FOLDERS)))


class Shelf:
    """Keys as a store lists them: in order, a page for each request."""

    def __init__(self, keys: set[str] | list[str], page_objects: int = 3) -> None:
        self.keys = sorted(keys)
        self.page_objects = page_objects
        self.requests = 0
        self.pages_out = 0

    def pages(self, start_after: str, most: int | None) -> Iterator[Page]:
        at = bisect_right(self.keys, start_after)
        while True:
            self.requests += 1
            page = self.keys[at : at + (most or self.page_objects)]
            at += len(page)
            self.pages_out += most is None
            yield [ref(key) for key in page], at < len(self.keys)
            if at >= len(self.keys):
                return


def ref(key: str) -> ObjectRef:
    return ObjectRef(f"s3://b/{key}", Store.S3, "b", key, None, "e", 1, NOW)


def keys_of(batches: Iterator[list[ObjectRef]]) -> list[str]:
    return [each.key for batch in batches for each in batch]


@settings(deadline=None)
@given(keys=KEYS, page_objects=st.integers(1, 7), listers=st.integers(1, 6))
def test_every_key_is_listed_once_by_however_many_listers(
    keys: set[str], page_objects: int, listers: int
) -> None:
    shelf = Shelf(keys, page_objects)

    assert sorted(keys_of(list_in_ranges(shelf.pages, listers, "b"))) == sorted(keys)


def test_one_page_takes_one_request_and_no_thread() -> None:
    shelf = Shelf({"a", "b"})
    threads = threading.active_count()

    batches = list_in_ranges(shelf.pages, 8, "b")

    assert [keys_of(iter([next(batches)])), threading.active_count()] == [["a", "b"], threads]
    assert (list(batches), shelf.requests) == ([], 1)


@pytest.mark.parametrize(
    "keys",
    [
        [f"{number:06}.jpg" for number in range(20_000)],
        [f"users/{number * 7919 % 20_011:05}/selfie.jpg" for number in range(20_000)],
        [f"selfies/2024/{1 + number // 1_700:02}/{number}.jpg" for number in range(20_000)],
        [*(f"a/{number:05}" for number in range(19_000)), *(f"z/{number:05}" for number in range(1_000))],
    ],
    ids=["flat", "a-folder-each", "by-month", "lopsided"],
)
def test_many_listers_ask_little_more_than_one_would(keys: list[str]) -> None:
    """Of 200 pages, whatever the shape: at most half as many requests again, and less of a larger bucket."""
    shelf = Shelf(keys, 100)

    assert len(keys_of(list_in_ranges(shelf.pages, 8, "b"))) == 20_000
    assert shelf.requests <= 300


def test_listers_do_not_run_ahead_of_whoever_takes_the_batches() -> None:
    """What is listed and not taken is bounded by the listers, however large the bucket is."""
    shelf = Shelf([f"{number:05}" for number in range(9_000)], 10)
    batches = list_in_ranges(shelf.pages, 4, "b")

    taken = sum(1 for _ in zip(range(20), batches, strict=False))
    ahead = shelf.pages_out - taken
    rest = keys_of(batches)

    assert ahead <= 3 * 4 + 1
    assert len(rest) == 9_000 - 20 * 10


def test_a_lister_that_fails_ends_the_listing() -> None:
    """Whichever lister it is; what the others still list is not taken for the whole."""
    shelf = Shelf([f"{number:05}" for number in range(5_000)], 10)

    def pages(start_after: str, most: int | None) -> Iterator[Page]:
        for refs, more in shelf.pages(start_after, most):
            if most is None and refs and refs[-1].key >= "03000":
                raise UsageError("the bucket went away")
            yield refs, more

    with pytest.raises(UsageError, match="the bucket went away"):
        keys_of(list_in_ranges(pages, 4, "b"))


def test_a_store_that_starts_where_it_likes_has_one_lister() -> None:
    shelf = Shelf([f"{number:03}" for number in range(500)], 10)

    def pages(_: str, most: int | None) -> Iterator[Page]:
        return shelf.pages("", most)

    assert keys_of(list_in_ranges(pages, 8, "b")) == shelf.keys


def test_a_store_that_lists_in_no_order_has_one_lister() -> None:
    shelf = Shelf([f"{number:03}" for number in range(500)], 10)
    shelf.keys.reverse()

    def pages(start_after: str, most: int | None) -> Iterator[Page]:
        assert (start_after, most) == ("", None)
        yield from Shelf.pages(shelf, start_after, most)

    assert keys_of(list_in_ranges(pages, 8, "b")) == shelf.keys


@pytest.mark.parametrize("listers", [1, 2])
def test_an_order_that_is_lost_later_never_makes_a_shorter_listing(listers: int) -> None:
    """One lister need not care. Several have cut the keys where the order was thought to be: an error."""
    shelf = Shelf([f"{number:03}" for number in range(500)], 10)
    shelf.keys[250:260] = reversed(shelf.keys[250:260])
    somebody_else_lists = threading.Event()

    def pages(start_after: str, most: int | None) -> Iterator[Page]:
        if start_after and most is None:
            somebody_else_lists.set()
        for number, page in enumerate(shelf.pages(start_after, most)):
            if number == 20 and listers > 1:
                assert somebody_else_lists.wait(20)
            yield page

    batches = list_in_ranges(pages, listers, "bucket b at store")

    if listers == 1:
        assert keys_of(batches) == shelf.keys
    else:
        with pytest.raises(UsageError, match="bucket b at store does not list its keys in the order"):
            keys_of(batches)
