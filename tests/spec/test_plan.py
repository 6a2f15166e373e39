"""Candidates: which objects become questions, in which order, in which shards, and why the others do not."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.errors import UsageError
from domain.objects import MediaKind, ObjectRef, Store
from domain.questions import Question, question_id
from domain.runs import Shard
from domain.verdicts import Outcome, Provider
from tasks.candidates import (
    PlanTotals,
    ProviderTotals,
    Selection,
    estimate,
    plan,
    plan_again,
    read_shard,
    shard_path,
)

TENCENT, ALIYUN = Provider.TENCENT, Provider.ALIYUN
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LISTING = pa.schema(
    [
        *((name, pa.string()) for name in ("url", "store", "bucket", "key", "version_id", "etag")),
        ("size_bytes", pa.int64()),
        ("last_modified", pa.timestamp("us", tz="UTC")),
        ("subject_id", pa.string()),
        ("stratum", pa.string()),
    ]
)
VERDICTS = pa.schema(
    [
        *LISTING,
        *((name, pa.string()) for name in ("provider", "outcome", "billed", "question_id", "run_id")),
        ("settled_at", pa.timestamp("us", tz="UTC")),
        ("asked_because", pa.string()),
        ("weight", pa.float64()),
    ]
)


def listed(key: str, **facts: Any) -> dict[str, Any]:
    bucket = facts.pop("bucket", "kyc")
    return {
        "url": f"s3://{bucket}/{key}",
        "store": "s3",
        "bucket": bucket,
        "key": key,
        "version_id": None,
        "etag": f"etag of {key}",
        "size_bytes": 100_000,
        "last_modified": NOON,
        "subject_id": None,
        "stratum": None,
    } | facts


def images(number: int) -> list[dict[str, Any]]:
    return [listed(f"{index}.jpg") for index in range(number)]


def ref(row: dict[str, Any]) -> ObjectRef:
    return ObjectRef(**{name: row[name] for name in LISTING.names} | {"store": Store(row["store"])})


def ended(
    row: dict[str, Any], provider: Provider, outcome: Outcome, run_id: str = "earlier", hour: int = 0
) -> dict[str, Any]:
    return {
        **row,
        "provider": provider,
        "outcome": outcome,
        "billed": "yes" if outcome in (Outcome.SCORED, Outcome.FAILED) else "no",
        "question_id": question_id(row["url"], ref(row).version, provider),
        "run_id": run_id,
        "settled_at": NOON + timedelta(hours=hour),
        "asked_because": "all",
        "weight": None,
    }


class Plan:
    """A plan read back from its files."""

    def __init__(self, folder: Path, totals: PlanTotals) -> None:
        self.folder, self.totals = folder, totals
        self.skipped: list[dict[str, Any]] = (
            pq.ParquetFile(folder / "skipped-00001.parquet").read().to_pylist()
        )

    def shards(self, provider: Provider = TENCENT) -> list[list[Question]]:
        return [
            [question for batch in read_shard(shard_path(self.folder, shard)) for question in batch]
            for shard in self.totals.providers[provider].shards
        ]

    def questions(self, provider: Provider = TENCENT) -> list[Question]:
        return [question for shard in self.shards(provider) for question in shard]

    def keys(self, provider: Provider = TENCENT) -> list[str]:
        return [question.object.key for question in self.questions(provider)]

    def reasons(self) -> dict[str, str]:
        return {row["key"]: row["reason"] for row in self.skipped}


MakePlan = Callable[..., Plan]


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    folders = (tmp_path / f"plan-{number}" for number in range(100))

    def parquet(folder: Path, parts: Iterable[Sequence[dict[str, Any]]], schema: pa.Schema) -> list[Path]:
        folder.mkdir(parents=True)
        files = []
        for number, rows in enumerate(parts, start=1):
            files.append(folder / f"part-{number:05d}.parquet")
            pq.write_table(pa.Table.from_pylist(list(rows), schema), files[-1])
        return files

    def make(
        *listing: Sequence[dict[str, Any]],
        verdicts: Sequence[dict[str, Any]] = (),
        providers: dict[Provider, int] | None = None,
        again: tuple[str, set[Outcome]] | None = None,
        reask: bool = False,
        **selection: Any,
    ) -> Plan:
        folder = next(folders)
        verdict_files = parquet(
            folder / "verdicts/provider=x/run=y", [verdicts] if verdicts else [], VERDICTS
        )
        sizes = providers or {TENCENT: 1_000}
        out = folder / "plans" / "run=1"
        if again:
            return Plan(out, plan_again(verdict_files, *again, sizes, out, reask=reask))
        has_absent = any("absent" in row for rows in listing for row in rows)
        schema = LISTING.append(pa.field("absent", pa.string())) if has_absent else LISTING
        files = parquet(folder / "listings/run=z", listing, schema)
        return Plan(out, plan(files, verdict_files, sizes, Selection(**selection), out, reask=reask))

    return make


def test_a_question_says_all_the_listing_knew(make_plan: MakePlan) -> None:
    """Newline, quote and emoji in a key arrive as they were, and the id is the domain's."""
    row = listed(
        "线上/it's a\n\N{GRINNING FACE}.MP4",
        version_id="v1",
        last_modified=datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC),
        subject_id="customer 7",
    )

    (question,) = make_plan([row]).questions()

    assert question == Question(
        question_id=question_id(row["url"], "v1", TENCENT),
        provider=TENCENT,
        object=ref(row),
        media=MediaKind.VIDEO,
        copy_of=None,
        asked_because="all",
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"version_id": "v7", "etag": "e"},
        {"version_id": "", "etag": "e"},
        {"version_id": None, "etag": "e"},
        {"version_id": "", "etag": ""},
        {"version_id": None, "etag": None, "size_bytes": 0},
        {"etag": None, "last_modified": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)},
    ],
)
def test_the_version_is_version_id_else_etag_else_size_and_time(
    make_plan: MakePlan, facts: dict[str, Any]
) -> None:
    row = listed("a.jpg", **facts)

    (question,) = make_plan([row]).questions()

    assert question.question_id == question_id(row["url"], ref(row).version, TENCENT)


def test_each_reason_to_skip_is_given(make_plan: MakePlan) -> None:
    rows = {
        "folder/": "not_a_file",
        "thumbs/a.jpg": "excluded",
        "a.xyz": "not_included",
        "a.pdf": "not_media",
        "small.jpg": "too_small",
        "large.jpg": "too_large",
        "old.jpg": "too_old",
        "new.jpg": "too_new",
    }
    facts: dict[str, dict[str, Any]] = {
        "small.jpg": {"size_bytes": 9},
        "large.jpg": {"size_bytes": 100_001},
        "old.jpg": {"last_modified": NOON - timedelta(microseconds=1)},
        "new.jpg": {"last_modified": NOON + timedelta(hours=1)},
    }

    made = make_plan(
        [listed(key, **facts.get(key, {})) for key in rows] + [listed("asked.jpg")],
        include=("*.jpg", "*.pdf", "*/"),
        exclude=("thumbs/*",),
        min_bytes=10,
        max_bytes=100_000,
        modified_after=NOON,
        modified_before=NOON + timedelta(hours=1),
    )

    assert made.reasons() == rows
    assert made.keys() == ["asked.jpg"]


def test_what_a_list_named_and_nobody_found_is_skipped_as_that(make_plan: MakePlan) -> None:
    """Nothing is known of it but its name, and it takes no place in a sample, a limit or an estimate."""
    unknown = {"etag": None, "size_bytes": None, "last_modified": None}
    rows = [
        listed("gone.jpg", absent="gone", **unknown),
        listed("denied.jpg", absent="denied", **unknown),
        *({**row, "absent": None} for row in images(3)),
    ]

    made = make_plan(rows, limit=3, min_bytes=1, exclude=("gone*",), modified_after=NOON)

    assert made.reasons() == {"gone.jpg": "gone", "denied.jpg": "denied"}
    assert sorted(made.keys()) == ["0.jpg", "1.jpg", "2.jpg"]
    assert made.totals.providers[TENCENT].listed == 5
    assert made.totals.providers[TENCENT].skipped == {"denied": 1, "gone": 1}


def test_a_listing_of_an_earlier_version_has_nothing_absent(make_plan: MakePlan) -> None:
    assert make_plan(images(2)).reasons() == {}


def test_the_first_reason_that_applies_is_the_one_given(make_plan: MakePlan) -> None:
    """Each row breaks a rule and every later one."""
    old = {"size_bytes": 1, "last_modified": NOON}
    verdicts = [ended(listed(key, **old), TENCENT, Outcome.SCORED) for key in ("x/", "x.pdf", "a.jpg")]
    rows = [listed(key, **old) for key in ("x/", "x.pdf", "y.pdf", "b.pdf", "a.jpg")]

    made = make_plan(
        rows,
        verdicts=verdicts,
        include=("?.pdf", "*.jpg"),
        exclude=("x*",),
        min_bytes=2,
        modified_after=NOON + timedelta(days=1),
        limit=0,
    )

    assert made.reasons() == {
        "x/": "not_a_file",
        "x.pdf": "excluded",
        "y.pdf": "not_media",
        "b.pdf": "not_media",
        "a.jpg": "too_small",
    }


def test_bounds_are_inclusive_but_for_the_end_of_the_time_window(make_plan: MakePlan) -> None:
    """Adjoining windows neither miss an object nor see it twice."""
    rows = [listed("a.jpg", size_bytes=10)]

    assert make_plan(rows, min_bytes=10, max_bytes=10, modified_after=NOON).keys() == ["a.jpg"]
    assert make_plan(rows, modified_before=NOON).reasons() == {"a.jpg": "too_new"}


def test_times_in_other_zones_mean_the_same_instant(make_plan: MakePlan) -> None:
    shanghai = datetime(2026, 1, 1, 20, tzinfo=timezone(timedelta(hours=8)))

    assert make_plan([listed("a.jpg")], modified_after=shanghai).keys() == ["a.jpg"]


def test_without_patterns_only_known_media_suffixes_pass(make_plan: MakePlan) -> None:
    made = make_plan([listed(key) for key in ("a.JPG", "b.mov", "c.bin", "d", "e.jpg.txt", ".jpg/f")])

    assert {question.object.key: question.media for question in made.questions()} == {
        "a.JPG": MediaKind.IMAGE,
        "b.mov": MediaKind.VIDEO,
    }
    assert set(made.reasons().values()) == {"not_included"}


def test_a_pattern_that_admits_everything_asks_about_unknown_suffixes_but_not_foreign_ones(
    make_plan: MakePlan,
) -> None:
    made = make_plan([listed(key) for key in ("a.jpg", "selfie", "c.bin", "d.TXT", "e.gz")], include=("*",))

    assert {question.object.key: question.media for question in made.questions()} == {
        "a.jpg": MediaKind.IMAGE,
        "selfie": MediaKind.OTHER,
        "c.bin": MediaKind.OTHER,
    }
    assert made.reasons() == {"d.TXT": "not_media", "e.gz": "not_media"}


def test_a_final_outcome_is_never_asked_again(make_plan: MakePlan) -> None:
    rows = {outcome: listed(f"{outcome}.jpg") for outcome in Outcome}

    made = make_plan(
        list(rows.values()),
        verdicts=[ended(row, TENCENT, outcome) for outcome, row in rows.items()],
    )

    assert set(made.keys()) == {"failed.jpg", "unreadable.jpg"}
    assert made.reasons() == {
        f"{outcome}.jpg": "already_answered" for outcome in ("scored", "reused", "refused", "unfit")
    }


def test_an_object_whose_content_changed_is_asked_about_again(make_plan: MakePlan) -> None:
    before = listed("a.jpg", etag="before")

    made = make_plan([listed("a.jpg", etag="after")], verdicts=[ended(before, TENCENT, Outcome.SCORED)])

    assert made.keys() == ["a.jpg"]


def test_asking_with_a_reason_asks_what_is_answered_too_and_says_so(make_plan: MakePlan) -> None:
    answered, paid_in_vain, new = listed("answered.jpg"), listed("failed.jpg"), listed("new.jpg")
    verdicts = [ended(answered, TENCENT, Outcome.SCORED), ended(paid_in_vain, TENCENT, Outcome.FAILED)]

    made = make_plan([answered, paid_in_vain, new], verdicts=verdicts, reask=True)

    assert {question.object.key: question.asked_because for question in made.questions()} == {
        "answered.jpg": "reask",
        "failed.jpg": "all",
        "new.jpg": "all",
    }
    assert made.totals.providers[TENCENT].skipped == {}


def test_asking_with_a_reason_counts_what_has_been_paid_for(make_plan: MakePlan) -> None:
    """Of what is asked, for each provider by itself: a refusal was free, a lost call may not have been."""
    rows = {outcome: listed(f"{outcome}.jpg") for outcome in Outcome}
    verdicts = [ended(row, TENCENT, outcome) for outcome, row in rows.items()]
    verdicts.append(ended(rows[Outcome.REFUSED], TENCENT, Outcome.SCORED) | {"billed": "unknown"})
    verdicts.append(ended(rows[Outcome.UNFIT], ALIYUN, Outcome.SCORED))
    providers = {TENCENT: 10, ALIYUN: 10}

    made = make_plan([*rows.values()], verdicts=verdicts, providers=providers, reask=True)
    usual = make_plan([*rows.values()], verdicts=verdicts, providers=providers)
    excluded = make_plan([*rows.values()], verdicts=verdicts, reask=True, exclude=("scored.jpg",))

    assert {name: totals.paid_before for name, totals in made.totals.providers.items()} == {
        TENCENT: 2,
        ALIYUN: 1,
    }
    assert excluded.totals.providers[TENCENT].paid_before == 1
    assert [totals.paid_before for totals in usual.totals.providers.values()] == [0, 0]
    assert PlanTotals.from_json(json.loads(json.dumps(made.totals.to_json()))) == made.totals


def test_a_limit_on_asking_with_a_reason_counts_what_is_answered_too(make_plan: MakePlan) -> None:
    rows = images(10)
    verdicts = [ended(row, TENCENT, Outcome.SCORED) for row in rows]

    made = make_plan(rows, verdicts=verdicts, reask=True, limit=3)

    assert made.keys() == make_plan(rows).keys()[:3]
    assert made.totals.providers[TENCENT].skipped == {"over_limit": 7}


def test_one_providers_answer_does_not_silence_the_other(make_plan: MakePlan) -> None:
    """A skipped row without a provider counts for all; with one, for that one."""
    both, one, none = listed("both.jpg"), listed("one.jpg"), listed("none.jpg")
    answers = [(both, TENCENT), (both, ALIYUN), (one, ALIYUN)]

    made = make_plan(
        [both, one, none],
        verdicts=[ended(row, provider, Outcome.SCORED) for row, provider in answers],
        providers={TENCENT: 10, ALIYUN: 10},
    )

    assert set(made.keys(TENCENT)) == {"one.jpg", "none.jpg"}
    assert made.keys(ALIYUN) == ["none.jpg"]
    assert {(row["key"], row["provider"]) for row in made.skipped} == {
        ("both.jpg", None),
        ("one.jpg", "aliyun"),
    }
    assert made.totals.providers[TENCENT].skipped == {"already_answered": 1}
    assert made.totals.providers[ALIYUN].skipped == {"already_answered": 2}


def test_an_object_listed_twice_is_one_question(make_plan: MakePlan) -> None:
    rows = [listed("a.jpg"), listed("b.jpg")]

    made = make_plan(rows, [listed("a.jpg"), listed("a.jpg", etag="other version")])

    assert Counter(made.keys()) == {"a.jpg": 2, "b.jpg": 1}
    assert [row["reason"] for row in made.skipped] == ["listed_twice"]
    assert made.totals.providers[TENCENT].listed == 4


def test_all_providers_visit_in_the_same_order(make_plan: MakePlan) -> None:
    made = make_plan(images(50), providers={TENCENT: 7, ALIYUN: 50})

    assert made.keys(TENCENT) == made.keys(ALIYUN)
    assert made.keys(TENCENT) != sorted(made.keys(TENCENT))


def test_the_same_listing_gives_the_same_plan_however_it_is_cut(make_plan: MakePlan) -> None:
    """Order and parts of the listing leave no trace, not even in which of two twins is kept."""
    rows = [*images(200), listed("7.jpg", size_bytes=1), *(listed(f"c{n}.jpg", etag="c") for n in range(9))]

    whole = make_plan(rows, providers={TENCENT: 20}, limit=90)
    parts = make_plan(rows[::-1][:13], [], rows[::-1][13:], providers={TENCENT: 20}, limit=90)

    assert parts.shards() == whole.shards()
    assert parts.totals == whole.totals
    assert sorted(map(repr, parts.skipped)) == sorted(map(repr, whole.skipped))


def test_a_plan_larger_than_memory_is_the_same_plan(tmp_path: Path) -> None:
    """60,000 objects in one slice, and in the four that a small memory limit makes of them."""
    listing = tmp_path / "listing.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 's3://kyc/' || i || '.jpg' AS url, 's3' AS store, 'kyc' AS bucket,
            i || '.jpg' AS key, NULL::VARCHAR AS version_id, (i // 2)::VARCHAR AS etag,
            5::BIGINT AS size_bytes,
            make_timestamptz(i) AS last_modified FROM range(60000) numbers(i)) TO '{listing}'"""
        )
    folders = tmp_path / "roomy", tmp_path / "tight"

    totals = [
        plan([listing], [], {TENCENT: 40_000}, Selection(limit=50_000), folder, memory_limit_bytes=limit)
        for folder, limit in zip(folders, (1 << 30, 40 << 20), strict=True)
    ]

    assert totals[0] == totals[1]
    for shard in totals[0].shards:
        roomy, tight = (pq.read_table(shard_path(folder, shard), partitioning=None) for folder in folders)
        assert roomy.equals(tight)
    assert {path.name for path in tmp_path.iterdir()} == {"listing.parquet", "roomy", "tight"}


def test_a_limit_asks_about_that_many_objects_and_the_next_run_goes_on_behind_them(
    make_plan: MakePlan,
) -> None:
    rows = images(40)
    in_order = make_plan(rows).keys()

    first = make_plan(rows, limit=10)
    answered = [ended(listed(q.object.key), TENCENT, Outcome.SCORED) for q in first.questions()]
    second = make_plan(rows, verdicts=answered, limit=10)

    assert first.keys() == in_order[:10]
    assert first.totals.providers[TENCENT].skipped == {"over_limit": 30}
    assert second.keys() == in_order[10:20]
    assert second.totals.providers[TENCENT].skipped == {"already_answered": 10, "over_limit": 20}


def test_a_limit_counts_objects_not_calls(make_plan: MakePlan) -> None:
    """Both providers are asked about the same objects, also where one has answered some before."""
    rows = images(40)
    in_order = make_plan(rows).keys()
    answered = [ended(listed(key), ALIYUN, Outcome.SCORED) for key in in_order[:4]]

    made = make_plan(rows, verdicts=answered, providers={TENCENT: 9, ALIYUN: 9}, limit=10)

    assert made.keys(TENCENT) == in_order[:10]
    assert made.keys(ALIYUN) == in_order[4:10]


def test_a_limit_of_nothing_asks_nothing(make_plan: MakePlan) -> None:
    made = make_plan(images(3), limit=0)

    assert made.totals.shards == ()
    assert set(made.reasons().values()) == {"over_limit"}


def test_a_sample_stays_the_same_from_run_to_run(make_plan: MakePlan) -> None:
    """What is answered is not replaced by other objects."""
    rows = images(40)
    in_order = make_plan(rows).keys()
    answered = [ended(listed(key), TENCENT, Outcome.SCORED) for key in in_order[:4]]

    made = make_plan(rows, verdicts=answered, sample_size=10)

    assert made.keys() == in_order[4:10]
    assert made.totals.providers[TENCENT].skipped == {"already_answered": 4, "out_of_sample": 30}


def test_a_sampled_share_keeps_its_objects_when_the_bucket_grows(make_plan: MakePlan) -> None:
    before = make_plan(images(200), sample_share=0.25).keys()
    after = make_plan(images(400), sample_share=0.25).keys()

    assert set(before) < set(after)
    assert 60 < len(after) < 140  # 100 expected; the listing is fixed, so this is no matter of luck
    assert len(make_plan(images(20), sample_share=1.0).keys()) == 20


def test_byte_identical_objects_share_one_call(make_plan: MakePlan) -> None:
    """The first visited is asked; the others follow it at once and name it."""
    rows = [*images(30), *(listed(f"copy-{n}.jpg", etag="same", size_bytes=7) for n in range(5))]

    made = make_plan(rows)
    group = [question for question in made.questions() if question.object.etag == "same"]
    original, *copies = group

    assert len(group) == 5
    assert original.copy_of is None
    assert {question.copy_of for question in copies} == {original.question_id}
    start = made.questions().index(original)
    assert made.questions()[start : start + 5] == group
    totals = made.totals.providers[TENCENT]
    assert (totals.asked, totals.copies, totals.calls) == (35, 4, 31)
    assert totals.bytes_to_fetch == 30 * 100_000 + 7


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"etag": "same", "size_bytes": 1}, {"etag": "same", "size_bytes": 2}),
        ({"etag": "same", "store": "s3"}, {"etag": "same", "store": "oss"}),
        ({"etag": None}, {"etag": None}),
        ({"etag": ""}, {"etag": ""}),
    ],
)
def test_other_objects_are_no_copies(make_plan: MakePlan, one: dict[str, Any], other: dict[str, Any]) -> None:
    made = make_plan([listed("a.jpg", **one), listed("b.jpg", **other)])

    assert made.totals.providers[TENCENT].copies == 0


def test_an_answered_object_lends_its_call_to_nobody_in_this_run(make_plan: MakePlan) -> None:
    """The original of a group is one that is asked about now."""
    rows = [listed(f"{n}.jpg", etag="same") for n in range(4)]
    first = make_plan(rows).keys()[0]

    made = make_plan(rows, verdicts=[ended(listed(first, etag="same"), TENCENT, Outcome.SCORED)])

    assert [question.copy_of is None for question in made.questions()] == [True, False, False]


def test_shards_are_consecutive_slices_of_the_visiting_order(make_plan: MakePlan) -> None:
    made = make_plan(images(25), providers={TENCENT: 10})

    assert made.totals.shards == (Shard(TENCENT, 1, 10), Shard(TENCENT, 2, 10), Shard(TENCENT, 3, 5))
    assert made.keys() == make_plan(images(25)).keys()
    assert sorted(path.name for path in (made.folder / "provider=tencent").iterdir()) == [
        "shard-00001.parquet",
        "shard-00002.parquet",
        "shard-00003.parquet",
    ]


def test_copies_stay_in_the_shard_of_their_original(make_plan: MakePlan) -> None:
    rows = [*images(12), *(listed(f"copy-{n}.jpg", etag="same") for n in range(30))]

    made = make_plan(rows, providers={TENCENT: 5})

    (home,) = [shard for shard in made.shards() if any(q.object.etag == "same" for q in shard)]
    assert sum(question.object.etag == "same" for question in home) == 30
    assert all(made.shards())
    assert [shard.number for shard in made.totals.shards] == list(range(1, len(made.shards()) + 1))
    assert [shard.questions for shard in made.totals.shards] == list(map(len, made.shards()))


def test_a_long_shard_is_read_in_batches(make_plan: MakePlan) -> None:
    made = make_plan(images(2_500), providers={TENCENT: 5_000})

    sizes = [len(batch) for batch in read_shard(shard_path(made.folder, made.totals.shards[0]))]

    assert sum(sizes) == 2_500
    assert max(sizes) == 1_000


@pytest.mark.parametrize("listing", [[], [[]], [[listed("a.txt")]]])
def test_without_questions_there_is_no_shard(
    make_plan: MakePlan, listing: list[list[dict[str, Any]]]
) -> None:
    made = make_plan(*listing)

    assert made.totals.shards == ()
    assert [path.name for path in made.folder.iterdir()] == ["skipped-00001.parquet"]


def test_paths_may_hold_quotes_and_globs(tmp_path: Path) -> None:
    folder = tmp_path / "it's [a] 线*{}"
    folder.mkdir()
    listing = folder / "part-1.parquet"
    pq.write_table(pa.Table.from_pylist(images(3), LISTING), listing)

    totals = plan([listing], [], {TENCENT: 2}, Selection(), folder / "plan")

    assert [shard.questions for shard in totals.shards] == [2, 1]
    assert all(list(read_shard(shard_path(folder / "plan", shard))) for shard in totals.shards)


def test_a_path_duckdb_would_misread_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another home"):
        plan([], [], {TENCENT: 1}, Selection(), tmp_path / "why?" / "plan")


def test_a_plan_is_never_written_over_another(make_plan: MakePlan, tmp_path: Path) -> None:
    folder = make_plan(images(1)).folder

    with pytest.raises(FileExistsError, match="already holds files"):
        plan([], [], {TENCENT: 1}, Selection(), folder)


@pytest.mark.parametrize("providers", [{}, {TENCENT: 0}])
def test_a_plan_needs_a_provider_and_a_shard_size(tmp_path: Path, providers: dict[Provider, int]) -> None:
    with pytest.raises(ValueError, match="shard size"):
        plan([], [], providers, Selection(), tmp_path / "plan")


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"include": ("*.jpg", "[a")}, r'"\[a"'),
        ({"exclude": ("a[",)}, r'"a\["'),
        ({"include": ()}, "include"),
        ({"limit": -1}, "limit"),
        ({"min_bytes": -1}, "min_bytes"),
        ({"modified_after": datetime(2026, 1, 1)}, "modified_after"),  # noqa: DTZ001 - the mistake
        ({"sample_share": 0.0}, "sample"),
        ({"sample_share": 1.1}, "sample"),
        ({"sample_share": 0.5, "sample_size": 5}, "sample"),
    ],
)
def test_a_selection_that_makes_no_sense_is_wrong_use(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Selection(**wrong)


def test_a_plans_books_survive_as_json(make_plan: MakePlan) -> None:
    totals = make_plan([*images(25), listed("a.txt")], providers={TENCENT: 10, ALIYUN: 3}, limit=20).totals

    assert PlanTotals.from_json(json.loads(json.dumps(totals.to_json()))) == totals
    assert totals.calls == 40
    assert totals.bytes_to_fetch == 40 * 100_000
    assert all(books.balance.is_balanced for books in totals.providers.values())


def test_asking_again_takes_only_what_ended_so_in_that_run(make_plan: MakePlan) -> None:
    outcomes = {outcome: listed(f"{outcome}.jpg") for outcome in Outcome}
    verdicts = [ended(row, TENCENT, outcome, "r1") for outcome, row in outcomes.items()]
    verdicts.append(ended(listed("other-run.jpg"), TENCENT, Outcome.FAILED, "r2"))
    verdicts.append(ended(listed("other-provider.jpg"), ALIYUN, Outcome.FAILED, "r1"))

    made = make_plan(verdicts=verdicts, again=("r1", {Outcome.FAILED}))

    assert made.keys() == ["failed.jpg"]
    assert made.questions()[0].question_id == verdicts[-3]["question_id"]
    assert made.questions()[0].object == ref(outcomes[Outcome.FAILED])
    both = make_plan(verdicts=verdicts, again=("r1", {Outcome.FAILED, Outcome.UNREADABLE}))
    assert set(both.keys()) == {"failed.jpg", "unreadable.jpg"}


def test_asking_again_leaves_out_what_a_later_run_answered(make_plan: MakePlan) -> None:
    rows = images(3)
    verdicts = [ended(row, TENCENT, Outcome.FAILED, "r1") for row in rows]
    verdicts.append(ended(rows[1], TENCENT, Outcome.SCORED, "r2", hour=1))

    made = make_plan(verdicts=verdicts, again=("r1", {Outcome.FAILED}))

    assert set(made.keys()) == {"0.jpg", "2.jpg"}
    assert [(row["key"], row["provider"], row["reason"]) for row in made.skipped] == [
        ("1.jpg", "tencent", "already_answered")
    ]
    assert made.totals.providers[TENCENT].listed == 3


def test_asking_again_what_a_run_with_a_reason_failed_at_looks_at_later_runs_only(
    make_plan: MakePlan,
) -> None:
    """Everything had an answer before that run: it is a newer one that is wanted."""
    rows = images(3)
    verdicts = [ended(row, TENCENT, Outcome.SCORED, "r1", hour=0) for row in rows]
    verdicts += [ended(row, TENCENT, Outcome.FAILED, "r2", hour=1) for row in rows]
    verdicts.append(ended(rows[1], TENCENT, Outcome.SCORED, "r3", hour=2))

    made = make_plan(verdicts=verdicts, again=("r2", {Outcome.FAILED}), reask=True)

    assert set(made.keys()) == {"0.jpg", "2.jpg"}
    assert made.totals.providers[TENCENT].skipped == {"already_answered": 1}
    assert made.totals.providers[TENCENT].paid_before == 2


def test_asking_again_follows_the_last_row_of_a_question(make_plan: MakePlan) -> None:
    row = listed("a.jpg")
    verdicts = [
        ended(row, TENCENT, Outcome.UNREADABLE, "r1", hour=1),
        ended(row, TENCENT, Outcome.FAILED, "r1", hour=0),
    ]

    assert make_plan(verdicts=verdicts, again=("r1", {Outcome.UNREADABLE})).keys() == ["a.jpg"]
    assert make_plan(verdicts=verdicts, again=("r1", {Outcome.FAILED})).keys() == []


def test_asking_again_keeps_order_and_copies(make_plan: MakePlan) -> None:
    rows = [*images(20), *(listed(f"copy-{n}.jpg", etag="same") for n in range(3))]
    verdicts = [ended(row, provider, Outcome.FAILED, "r1") for row in rows for provider in (TENCENT, ALIYUN)]

    made = make_plan(verdicts=verdicts, again=("r1", {Outcome.FAILED}), providers={TENCENT: 5, ALIYUN: 50})

    first = make_plan(rows, providers={TENCENT: 5, ALIYUN: 50})
    assert made.shards(TENCENT) == first.shards(TENCENT)
    assert made.shards(ALIYUN) == first.shards(ALIYUN)


def test_listings_and_verdicts_of_earlier_versions_can_be_planned(tmp_path: Path) -> None:
    """They lack the columns that were added since."""
    added = ["subject_id", "stratum", "asked_because", "weight"]
    paths = {}
    for name, rows, schema in (
        ("listing", images(3), LISTING),
        ("verdicts", [ended(images(3)[0], TENCENT, Outcome.SCORED)], VERDICTS),
    ):
        table = pa.Table.from_pylist(rows, schema)
        old = table.drop_columns([each for each in added if each in table.column_names])
        paths[name] = tmp_path / f"{name}.parquet"
        pq.write_table(old, paths[name])

    totals = plan([paths["listing"]], [paths["verdicts"]], {TENCENT: 10}, Selection(), tmp_path / "plan")

    assert totals.providers[TENCENT].asked == 2


@pytest.mark.parametrize("outcomes", [set(), {Outcome.SCORED}, {Outcome.FAILED, Outcome.REFUSED}])
def test_settled_questions_cannot_be_asked_again(tmp_path: Path, outcomes: set[Outcome]) -> None:
    with pytest.raises(UsageError, match="failed"):
        plan_again([], "r1", outcomes, {TENCENT: 1}, tmp_path / "plan")


def totals_of(calls: int) -> ProviderTotals:
    return ProviderTotals(TENCENT, calls + 7, {"too_old": 4}, calls + 3, 3, 0, ())


def test_an_estimate_is_calls_divided_by_the_cap() -> None:
    """100 million calls at 5 a second take 231 days and a half."""
    reckoned = estimate(totals_of(100_000_000), 5, NOON, price_per_call=0.25)

    assert reckoned.calls == 100_000_000
    assert reckoned.hours == pytest.approx(5555.5556)
    assert reckoned.ends_at == NOON + timedelta(seconds=20_000_000)
    assert reckoned.cost == 25_000_000


def test_no_price_no_cost() -> None:
    assert estimate(totals_of(10), 5, NOON).cost is None


def test_an_end_beyond_the_calendar_is_its_last_moment() -> None:
    assert estimate(totals_of(10**9), 0.001, NOON).ends_at == datetime.max.replace(tzinfo=UTC)


def test_an_estimate_needs_a_cap() -> None:
    with pytest.raises(ValueError, match="rate_per_s"):
        estimate(totals_of(10), 0, NOON)
