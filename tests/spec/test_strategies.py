"""Strategies: which provider is put which object, and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.questions import Question
from domain.verdicts import Outcome, Provider
from tasks.candidates import PlanTotals, Selection, plan, plan_following, read_shard, shard_path
from tasks.candidates.strategy import Strategy, StrategyKind
from tests.spec.test_plan import LISTING, VERDICTS, ended, images, listed

TENCENT, ALIYUN = Provider.TENCENT, Provider.ALIYUN
RISKS = VERDICTS.append(pa.field("risk", pa.string()))
SPLIT = Strategy(StrategyKind.SPLIT, caps_per_s={TENCENT: 5, ALIYUN: 10})
CASCADE = Strategy(StrategyKind.CASCADE, first=TENCENT)
FAILOVER = Strategy(StrategyKind.FAILOVER, first=TENCENT)

Row = dict[str, Any]


def parquet(path: Path, rows: Sequence[Row], schema: pa.Schema) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
    return [path]


def planned(
    folder: Path, rows: Sequence[Row], strategy: Strategy, verdicts: Sequence[Row] = (), **selection: Any
) -> PlanTotals:
    providers = [strategy.first] if strategy.first else [TENCENT, ALIYUN]
    return plan(
        parquet(folder / "listing.parquet", rows, LISTING),
        parquet(folder / "earlier.parquet", verdicts, RISKS),
        dict.fromkeys(providers, 1_000),
        Selection(**selection),
        folder / "plan",
        strategy,
    )


def followed(folder: Path, first: PlanTotals, strategy: Strategy, verdicts: Sequence[Row]) -> PlanTotals:
    """Both stages together."""
    second = plan_following(
        first.providers[TENCENT],
        sorted((folder / "plan").rglob("*.parquet")),
        parquet(folder / "verdicts.parquet", verdicts, RISKS),
        ALIYUN,
        1_000,
        strategy,
        folder / "second",
    )
    return PlanTotals({**first.providers, ALIYUN: second})


def questions(plan_dir: Path, totals: PlanTotals, provider: Provider) -> list[Question]:
    return [
        question
        for shard in totals.providers[provider].shards
        for batch in read_shard(shard_path(plan_dir, shard))
        for question in batch
    ]


def keys(plan_dir: Path, totals: PlanTotals, provider: Provider) -> list[str]:
    return [question.object.key for question in questions(plan_dir, totals, provider)]


def skipped(plan_dir: Path) -> dict[tuple[str | None, str], str]:
    rows = pq.ParquetFile(plan_dir / "skipped-00001.parquet").read().to_pylist()
    return {(row["provider"], row["key"]): row["reason"] for row in rows}


def scored(row: Row, risk: str, provider: Provider = TENCENT, hour: int = 0) -> Row:
    return {**ended(row, provider, Outcome.SCORED, hour=hour), "risk": risk}


def without_score(row: Row, outcome: Outcome, provider: Provider = TENCENT) -> Row:
    return {**ended(row, provider, outcome), "risk": None}


# --- split ---


def test_a_split_gives_each_object_one_provider(tmp_path: Path) -> None:
    rows = images(300)
    totals = planned(tmp_path, rows, SPLIT)

    tencent = keys(tmp_path / "plan", totals, TENCENT)
    aliyun = keys(tmp_path / "plan", totals, ALIYUN)

    assert sorted(tencent + aliyun) == sorted(row["key"] for row in rows)
    for provider, others in ((TENCENT, aliyun), (ALIYUN, tencent)):
        assert totals.providers[provider].skipped == {"other_provider": len(others)}


def test_a_split_follows_the_caps(tmp_path: Path) -> None:
    """A third of 3,000 objects for a third of the calls per second, within four standard deviations."""
    totals = planned(tmp_path, images(3_000), SPLIT)

    assert abs(totals.providers[TENCENT].asked - 1_000) < 4 * (3_000 * 2 / 9) ** 0.5


def test_a_sample_is_split_like_the_whole(tmp_path: Path) -> None:
    """The split is no part of the visiting order, whose start the sample is."""
    totals = planned(tmp_path, images(3_000), SPLIT, sample_size=600)

    assert totals.providers[TENCENT].asked + totals.providers[ALIYUN].asked == 600
    assert abs(totals.providers[TENCENT].asked - 200) < 4 * (600 * 2 / 9) ** 0.5


def test_byte_identical_objects_go_to_one_provider_of_a_split(tmp_path: Path) -> None:
    totals = planned(tmp_path, [listed(f"copy-{n}.jpg", etag="same") for n in range(40)], SPLIT)

    assert sorted(each.asked for each in totals.providers.values()) == [0, 40]
    assert totals.calls == 1


def test_what_either_provider_has_answered_is_answered_in_a_split(tmp_path: Path) -> None:
    rows = images(40)
    verdicts = [scored(row, "low", provider) for row in rows[:20] for provider in (TENCENT, ALIYUN)]
    verdicts += [scored(row, "low", TENCENT) for row in rows[20:30]]

    totals = planned(tmp_path, rows, SPLIT, verdicts)

    asked = keys(tmp_path / "plan", totals, TENCENT) + keys(tmp_path / "plan", totals, ALIYUN)
    assert sorted(asked) == sorted(row["key"] for row in rows[30:])


def test_a_limit_counts_the_open_objects_of_a_split(tmp_path: Path) -> None:
    totals = planned(tmp_path, images(100), SPLIT, limit=30)

    assert sum(each.asked for each in totals.providers.values()) == 30


# --- cascade ---


def test_a_cascade_puts_to_the_second_what_the_first_calls_mid_or_high(tmp_path: Path) -> None:
    low, mid, high, refused, unfit, failed = rows = images(6)
    first = planned(tmp_path, rows, CASCADE)
    assert first.providers.keys() == {TENCENT}
    assert first.providers[TENCENT].asked == 6

    totals = followed(
        tmp_path,
        first,
        CASCADE,
        [
            scored(low, "low"),
            scored(mid, "mid"),
            scored(high, "high"),
            without_score(refused, Outcome.REFUSED),
            without_score(unfit, Outcome.UNFIT),
            without_score(failed, Outcome.FAILED),
        ],
    )

    asked = {each.object.key: each.asked_because for each in questions(tmp_path / "second", totals, ALIYUN)}
    assert asked == {mid["key"]: "first_says_mid", high["key"]: "first_says_high"}
    assert skipped(tmp_path / "second") == {
        (ALIYUN, low["key"]): "first_says_low",
        (ALIYUN, refused["key"]): "first_without_score",
        (ALIYUN, unfit["key"]): "first_without_score",
        (ALIYUN, failed["key"]): "first_undecided",
    }
    assert totals.providers[ALIYUN].balance.is_balanced


def test_a_control_share_of_the_low_ones_is_asked_too_and_says_so(tmp_path: Path) -> None:
    """A tenth of 2,000, within four standard deviations; the same ones each time."""
    strategy = Strategy(StrategyKind.CASCADE, first=TENCENT, low_share=0.1)
    rows = images(2_000)
    drawn = []
    for name in ("one", "two"):
        first = planned(tmp_path / name, rows, strategy)
        totals = followed(tmp_path / name, first, strategy, [scored(row, "low") for row in rows])
        asked = questions(tmp_path / name / "second", totals, ALIYUN)
        assert {each.asked_because for each in asked} == {"control"}
        drawn.append([each.question_id for each in asked])

    assert drawn[0] == drawn[1]
    assert abs(len(drawn[0]) - 200) < 4 * (2_000 * 0.09) ** 0.5


def test_a_cascade_follows_up_what_the_first_answered_in_an_earlier_run(tmp_path: Path) -> None:
    old, new = rows = images(2)
    earlier = [scored(old, "high")]
    first = planned(tmp_path, rows, CASCADE, earlier)
    assert keys(tmp_path / "plan", first, TENCENT) == [new["key"]]

    totals = followed(tmp_path, first, CASCADE, [*earlier, scored(new, "low")])

    assert keys(tmp_path / "second", totals, ALIYUN) == [old["key"]]
    assert totals.providers[ALIYUN].balance.is_balanced


def test_the_last_level_of_the_first_decides(tmp_path: Path) -> None:
    (row,) = rows = images(1)
    totals = followed(
        tmp_path,
        planned(tmp_path, rows, CASCADE),
        CASCADE,
        [scored(row, "high", hour=1), scored(row, "low", hour=2)],
    )

    assert totals.providers[ALIYUN].skipped == {"first_says_low": 1}


def test_a_second_stage_keeps_to_the_sample_and_the_limit_of_the_first(tmp_path: Path) -> None:
    rows = [*images(50), listed("notes.pdf")]
    first = planned(tmp_path, rows, CASCADE, sample_size=20, limit=10)
    asked = keys(tmp_path / "plan", first, TENCENT)

    totals = followed(tmp_path, first, CASCADE, [scored(row, "high") for row in rows])

    assert sorted(keys(tmp_path / "second", totals, ALIYUN)) == sorted(asked)
    assert totals.providers[ALIYUN].skipped == first.providers[TENCENT].skipped
    assert totals.providers[ALIYUN].balance.is_balanced


def test_the_second_is_not_asked_what_it_has_answered(tmp_path: Path) -> None:
    (row,) = rows = images(1)
    totals = followed(
        tmp_path, planned(tmp_path, rows, CASCADE), CASCADE, [scored(row, "high"), scored(row, "low", ALIYUN)]
    )

    assert totals.providers[ALIYUN].skipped == {"already_answered": 1}


# --- failover ---


def test_in_a_failover_the_second_takes_over_what_the_first_left(tmp_path: Path) -> None:
    answered, refused, failed, pending = rows = images(4)
    first = planned(tmp_path, rows, FAILOVER)

    totals = followed(
        tmp_path,
        first,
        FAILOVER,
        [
            scored(answered, "low"),
            without_score(refused, Outcome.REFUSED),
            without_score(failed, Outcome.FAILED),
        ],
    )

    asked = questions(tmp_path / "second", totals, ALIYUN)
    assert {each.object.key for each in asked} == {failed["key"], pending["key"]}
    assert {each.asked_because for each in asked} == {"first_left_it"}
    assert totals.providers[ALIYUN].skipped == {"first_answered": 2}


# --- all of them ---


@pytest.mark.parametrize("strategy", [Strategy(), SPLIT, CASCADE, FAILOVER], ids=lambda each: each.kind)
def test_invariant_1_the_books_of_every_strategy_balance(tmp_path: Path, strategy: Strategy) -> None:
    rows = [*images(60), listed("notes.pdf"), listed("0.jpg", size_bytes=0), *images(5)]
    earlier = [scored(row, "high", provider) for row in rows[:9] for provider in (TENCENT, ALIYUN)]
    totals = planned(tmp_path, rows, strategy, earlier, min_bytes=1, sample_size=50, limit=30)
    if strategy.first:
        now = [scored(row, ("low", "mid", "high")[number % 3]) for number, row in enumerate(rows[9:60])]
        totals = followed(tmp_path, totals, strategy, [*earlier, *now])

    assert totals.providers.keys() == {TENCENT, ALIYUN}
    for each in totals.providers.values():
        assert each.listed == len(rows)
        assert each.listed == each.asked + sum(each.skipped.values())


def test_what_a_first_or_only_stage_asks_says_why(tmp_path: Path) -> None:
    for strategy, because in ((Strategy(), "all"), (SPLIT, "split"), (CASCADE, "first")):
        folder = tmp_path / strategy.kind
        totals = planned(folder, images(3), strategy)
        asked = [
            each for provider in totals.providers for each in questions(folder / "plan", totals, provider)
        ]
        assert {each.asked_because for each in asked} == {because}


def test_in_a_split_each_provider_has_a_population_of_its_own(tmp_path: Path) -> None:
    """What the other one is asked about is no gap in it."""
    totals = planned(tmp_path, images(300), SPLIT, sample_size=90)

    populations = {name: each.strata[0].selected for name, each in totals.providers.items()}
    assert sum(populations.values()) == 300
    for provider, each in totals.providers.items():
        assert each.strata[0].sampled == each.asked
        assert each.strata[0].selected == 300 - each.skipped["other_provider"], provider


def test_a_second_stage_knows_no_population(tmp_path: Path) -> None:
    """The first provider chose its objects: they say nothing about the others."""
    rows = images(3)
    totals = followed(
        tmp_path, planned(tmp_path, rows, CASCADE), CASCADE, [scored(row, "high") for row in rows]
    )

    assert totals.providers[ALIYUN].strata == ()


def test_asking_again_asks_both_stages_of_a_cascade_again(tmp_path: Path) -> None:
    """The first provider's new word decides, not what it said before."""
    once, now = rows = images(2)
    earlier = [
        {**scored(once, "high"), "billed": "yes"},
        {**scored(now, "low"), "billed": "yes"},
        {**scored(now, "low", ALIYUN), "billed": "yes"},
    ]
    folder = tmp_path
    first = plan(
        parquet(folder / "listing.parquet", rows, LISTING),
        parquet(folder / "earlier.parquet", earlier, RISKS),
        {TENCENT: 1_000},
        Selection(),
        folder / "plan",
        CASCADE,
        reask=True,
    )
    assert {each.asked_because for each in questions(folder / "plan", first, TENCENT)} == {"reask"}

    verdicts = [*earlier, scored(once, "low", hour=1), scored(now, "high", hour=1)]
    for row in verdicts[-2:]:
        row["run_id"] = "again"
    second = plan_following(
        first.providers[TENCENT],
        sorted((folder / "plan").rglob("*.parquet")),
        parquet(folder / "verdicts.parquet", verdicts, RISKS),
        ALIYUN,
        1_000,
        CASCADE,
        folder / "second",
        reask_in="again",
    )

    asked = questions(folder / "second", PlanTotals({ALIYUN: second}), ALIYUN)
    assert [(each.object.key, each.asked_because) for each in asked] == [(now["key"], "reask")]
    assert (second.skipped, second.paid_before) == ({"first_says_low": 1}, 1)


def test_asking_again_splits_like_the_first_time(tmp_path: Path) -> None:
    rows = images(40)
    fresh = planned(tmp_path / "fresh", rows, SPLIT)
    verdicts = [scored(row, "low", provider) for row in rows for provider in (TENCENT, ALIYUN)]
    again = plan(
        parquet(tmp_path / "listing.parquet", rows, LISTING),
        parquet(tmp_path / "earlier.parquet", verdicts, RISKS),
        {TENCENT: 1_000, ALIYUN: 1_000},
        Selection(),
        tmp_path / "again",
        SPLIT,
        reask=True,
    )

    for provider in (TENCENT, ALIYUN):
        assert keys(tmp_path / "again", again, provider) == keys(tmp_path / "fresh/plan", fresh, provider)
