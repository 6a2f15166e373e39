"""Plans of any small bucket with any history, held against the rules said in plain Python."""

import fnmatch
import hashlib
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.objects import ObjectRef, Store
from domain.questions import Question, question_id
from domain.verdicts import Outcome, Provider
from tasks.candidates import PlanTotals, Selection, plan, read_shard, shard_path

PROVIDERS = (Provider.TENCENT, Provider.ALIYUN)
START = datetime(2026, 1, 1, tzinfo=UTC)
OBJECT = (
    *((name, pa.string()) for name in ("url", "store", "bucket", "key", "version_id", "etag")),
    ("size_bytes", pa.int64()),
    ("last_modified", pa.timestamp("us", tz="UTC")),
)
VERDICT = (
    *OBJECT,
    *((name, pa.string()) for name in ("provider", "outcome", "billed", "question_id", "run_id")),
)
SCHEMAS = {
    "listing": pa.schema(OBJECT),
    "verdicts": pa.schema([*VERDICT, ("settled_at", pa.timestamp("us", tz="UTC"))]),
}

PREFIXES = ("", "", "a/", "thumbs/", "线\n", "\N{GRINNING FACE}'")
SUFFIXES = (".jpg", ".jpg", ".jpg", ".PNG", ".mp4", ".txt", ".bin", "", "/")


def random_listing(chance: random.Random, rows: int) -> list[ObjectRef]:
    """Few different values, so that twins, copies and earlier answers are common."""
    listing = []
    for _ in range(rows):
        store = chance.choice((Store.S3, Store.S3, Store.OSS))
        key = chance.choice(PREFIXES) + chance.choice("12") + chance.choice(SUFFIXES)
        listing.append(
            ObjectRef(
                url=f"{store}://kyc/{key}",
                store=store,
                bucket="kyc",
                key=key,
                version_id=chance.choice((None, None, "", "v1", "v\n2")),
                etag=chance.choice((None, "", "e1", "e2", "e3")),
                size_bytes=chance.randint(0, 3),
                last_modified=START + timedelta(microseconds=chance.randint(-3, 3)),
            )
        )
    return listing


SELECTIONS = st.builds(
    Selection,
    include=st.sampled_from([("*",), ("*",), ("*.jpg", "*.png", "*.mp4"), ("*.?p*", "*[13]")]),
    exclude=st.sampled_from([(), ("thumbs/*",), ("*[!1].*", "a*")]),
    modified_after=st.none() | st.none() | st.none() | st.just(START),
    modified_before=st.none() | st.none() | st.none() | st.just(START + timedelta(microseconds=2)),
    min_bytes=st.none() | st.none() | st.none() | st.just(1),
    max_bytes=st.none() | st.none() | st.none() | st.just(2),
    limit=st.none() | st.integers(0, 8),
    sample_size=st.none() | st.none() | st.none() | st.integers(0, 15),
)
History = Sequence[tuple[ObjectRef, Provider, Outcome]]


def row_of(ref: ObjectRef) -> dict[str, Any]:
    return {name: getattr(ref, name) for name, _ in OBJECT}


def in_order(ref: ObjectRef) -> str:
    return hashlib.sha256(f"facesweep-order\n{ref.version}\n{ref.url}".encode()).hexdigest()


def identity(ref: ObjectRef) -> tuple[str, str]:
    return ref.url, ref.version


class Made:
    """A plan read back: questions by shard and skipped (provider, reason, object)."""

    def __init__(
        self,
        listing: Sequence[ObjectRef],
        history: History,
        selection: Selection,
        sizes: dict[Provider, int],
        reask: bool = False,
    ) -> None:
        verdicts = [
            row_of(ref)
            | {"provider": provider, "outcome": outcome, "run_id": "r", "settled_at": START}
            | {"question_id": question_id(ref.url, ref.version, provider), "billed": "yes"}
            for ref, provider, outcome in history
        ]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part, rows in (("listing", list(map(row_of, listing))), ("verdicts", verdicts)):
                table = pa.Table.from_pylist(rows, SCHEMAS[part])
                pq.write_table(table, folder / f"{part}.parquet")
            self.totals: PlanTotals = plan(
                [folder / "listing.parquet"],
                [folder / "verdicts.parquet"],
                sizes,
                selection,
                folder / "plan",
                reask=reask,
            )
            self.shards: dict[Provider, list[list[Question]]] = {
                provider: [
                    [
                        question
                        for batch in read_shard(shard_path(folder / "plan", shard))
                        for question in batch
                    ]
                    for shard in totals.shards
                ]
                for provider, totals in self.totals.providers.items()
            }
            rows = pq.ParquetFile(folder / "plan" / "skipped-00001.parquet").read().to_pylist()
        self.skipped = [(row.pop("provider"), row.pop("reason"), ObjectRef(**row)) for row in rows]

    def asked(self, provider: Provider) -> list[Question]:
        return [question for shard in self.shards[provider] for question in shard]

    def skipped_for(self, provider: Provider) -> list[tuple[str, ObjectRef]]:
        return [(reason, ref) for name, reason, ref in self.skipped if name in (None, provider)]


def own_reason(ref: ObjectRef, selection: Selection) -> str | None:
    """The reason an object gives by itself."""
    key = ref.key.lower()
    foreign = ("txt", "csv", "json", "xml", "html", "pdf", "zip", "gz", "tar", "parquet", "log", "md")
    rules = {
        "not_a_file": key.endswith("/"),
        "excluded": any(fnmatch.fnmatchcase(key, glob) for glob in selection.exclude),
        "not_included": not any(fnmatch.fnmatchcase(key, glob) for glob in selection.include),
        "not_media": key.endswith(tuple(f".{suffix}" for suffix in foreign)),
        "too_small": ref.size_bytes < (selection.min_bytes or 0),
        "too_large": selection.max_bytes is not None and ref.size_bytes > selection.max_bytes,
        "too_old": selection.modified_after is not None and ref.last_modified < selection.modified_after,
        "too_new": selection.modified_before is not None and ref.last_modified >= selection.modified_before,
    }
    return next((reason for reason, applies in rules.items() if applies), None)


def reasons_by_hand(
    listing: Sequence[ObjectRef], history: History, selection: Selection
) -> dict[Provider, Counter[tuple[str | None, tuple[str, str]]]]:
    """For each provider how often each object ends with each reason; None is asked."""
    answered = {(identity(ref), provider) for ref, provider, outcome in history if outcome.is_final}
    wanted = sorted(
        {identity(ref): ref for ref in listing if not own_reason(ref, selection)}.values(), key=in_order
    )
    sampled = wanted if selection.sample_size is None else wanted[: selection.sample_size]
    still_open = [
        identity(ref) for ref in sampled if any((identity(ref), p) not in answered for p in PROVIDERS)
    ]
    within = set(still_open if selection.limit is None else still_open[: selection.limit])
    in_sample = {identity(ref) for ref in sampled}
    books: dict[Provider, Counter[tuple[str | None, tuple[str, str]]]] = {}
    for provider in PROVIDERS:
        books[provider] = Counter()
        seen = set()
        for ref in listing:
            who = identity(ref)
            reason = own_reason(ref, selection)
            if reason is None and who in seen:
                reason = "listed_twice"
            elif reason is None:
                seen.add(who)
                if who not in in_sample:
                    reason = "out_of_sample"
                elif (who, provider) in answered:
                    reason = "already_answered"
                elif who not in within:
                    reason = "over_limit"
            books[provider][reason, who] += 1
    return books


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[ObjectRef], History, Selection]:
    """A listing, how earlier runs ended on objects of it, and a selection.

    Rows come from a seed rather than one by one: chance fills a bucket better than a search for the
    smallest example does, and what fails is still repeatable.
    """
    chance = random.Random(draw(st.integers(0, 2**32)))
    listing = random_listing(chance, draw(st.sampled_from([0, 1, 10, 25, 40])))
    answered = chance.choices(listing, k=draw(st.sampled_from([0, 5, 20]))) if listing else []
    history = [
        (ref, provider, chance.choice(list(Outcome)))
        for ref in answered
        for provider in chance.choice((PROVIDERS, PROVIDERS, PROVIDERS[:1], PROVIDERS[1:]))
    ]
    return listing, history, draw(SELECTIONS)


@settings(max_examples=25, deadline=None)
@given(cases(), st.integers(1, 6), st.booleans())
def test_every_object_ends_in_one_place_and_the_books_balance(
    case: tuple[list[ObjectRef], History, Selection], questions_per_shard: int, reask: bool
) -> None:
    """Nothing is lost, nothing is asked twice but for a reason, and each object ends as the rules say."""
    listing, history, selection = case

    made = Made(*case, dict.fromkeys(PROVIDERS, questions_per_shard), reask)

    by_hand = reasons_by_hand(listing, [] if reask else history, selection)
    for provider in PROVIDERS:
        asked, skipped = made.asked(provider), made.skipped_for(provider)
        places: Counter[tuple[str | None, tuple[str, str]]] = Counter()
        places.update((None, identity(question.object)) for question in asked)
        places.update((reason, identity(ref)) for reason, ref in skipped)
        assert places == by_hand[provider]
        answered = {identity(ref) for ref, who, outcome in history if who == provider and outcome.is_final}
        again = {identity(question.object) for question in asked if question.asked_because == "reask"}
        assert again == answered & {identity(question.object) for question in asked}
        assert made.totals.providers[provider].paid_before == len(again)
        objects = Counter([question.object for question in asked] + [ref for _, ref in skipped])
        assert objects == Counter(listing)
        assert len({question.question_id for question in asked}) == len(asked)

        books = made.totals.providers[provider]
        assert books.balance.is_balanced
        assert books.listed == len(listing)
        assert books.asked == len(asked)
        assert books.skipped == Counter(reason for reason, _ in skipped)
        assert [shard.questions for shard in books.shards] == list(map(len, made.shards[provider]))
        assert books.copies == sum(question.copy_of is not None for question in asked)


@settings(max_examples=15, deadline=None)
@given(cases(), st.integers(1, 6))
def test_shards_hold_the_visiting_order_with_each_copy_behind_its_original(
    case: tuple[list[ObjectRef], History, Selection], questions_per_shard: int
) -> None:
    made = Made(*case, dict.fromkeys(PROVIDERS, questions_per_shard))

    for provider in PROVIDERS:
        asked = made.asked(provider)
        groups: dict[object, list[Question]] = {}
        for question in sorted(asked, key=lambda question: in_order(question.object)):
            ref = question.object
            content = (ref.store, ref.etag, ref.size_bytes) if ref.etag else question.question_id
            groups.setdefault(content, []).append(question)

        assert asked == [question for group in groups.values() for question in group]
        for original, *copies in groups.values():
            assert original.copy_of is None
            assert all(copy.copy_of == original.question_id for copy in copies)
        for shard in made.shards[provider]:
            assert shard
            assert shard[0].copy_of is None
            last_group = next(at for at in reversed(range(len(shard))) if shard[at].copy_of is None)
            assert last_group < questions_per_shard
        for question in asked:
            ref = question.object
            assert question.question_id == question_id(ref.url, ref.version, provider)


@settings(max_examples=12, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_listing_leaves_no_trace(
    case: tuple[list[ObjectRef], History, Selection], chance: random.Random
) -> None:
    listing, history, selection = case
    shuffled = chance.sample(listing, len(listing))

    made = Made(listing, history, selection, dict.fromkeys(PROVIDERS, 3))
    again = Made(shuffled, history[::-1], selection, dict.fromkeys(PROVIDERS, 3))

    assert again.shards == made.shards
    assert again.totals == made.totals
    assert Counter(again.skipped) == Counter(made.skipped)


@settings(max_examples=12, deadline=None)
@given(cases(), st.integers(0, 6), st.integers(0, 6))
def test_a_smaller_limit_asks_the_first_objects_of_a_larger_one(
    case: tuple[list[ObjectRef], History, Selection], limit: int, more: int
) -> None:
    """A prefix in visiting order, so each limit is a simple random sample."""
    listing, history, selection = case

    small = Made(listing, history, replace(selection, limit=limit), dict.fromkeys(PROVIDERS, 4))
    large = Made(listing, history, replace(selection, limit=limit + more), dict.fromkeys(PROVIDERS, 4))

    visited = []
    for made in (small, large):
        objects = {question.object for provider in PROVIDERS for question in made.asked(provider)}
        visited.append(sorted(objects, key=in_order))
    assert visited[0] == visited[1][: len(visited[0])]
    assert len(visited[0]) == min(limit, len(visited[1]))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda key, version_id, etag, size_bytes, last_modified: ObjectRef(
                f"s3://kyc/{key}.jpg",
                Store.S3,
                "kyc",
                f"{key}.jpg",
                version_id,
                etag,
                size_bytes,
                last_modified,
            ),
            st.text(st.characters(exclude_categories=["Cs"])),
            st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            st.integers(0, 2**62),
            st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_question_has_the_same_id_in_sql_and_in_python(listing: list[ObjectRef]) -> None:
    """Whatever characters a key, a version or an ETag holds."""
    made = Made(listing, [], Selection(), dict.fromkeys(PROVIDERS, 100))

    for provider in PROVIDERS:
        assert {question.question_id for question in made.asked(provider)} == {
            question_id(ref.url, ref.version, provider) for ref in listing
        }
