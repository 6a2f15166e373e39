"""The second stage of a plan: what the second provider is asked, once the first has had its turn."""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

from collections.abc import Mapping, Sequence
from pathlib import Path

from domain.verdicts import Provider, Risk
from tasks.candidates.selection import SkipReason
from tasks.candidates.sharding import check_shard_sizes, write_shards
from tasks.candidates.skipped import count_skipped, skipped_sql, write_skipped
from tasks.candidates.slices import find_candidates
from tasks.candidates.strategy import Strategy, StrategyKind
from tasks.candidates.totals import ProviderTotals
from tasks.candidates.vocabulary import OBJECT, OBJECT_COLUMNS, REASK, VERDICT_COLUMNS, literal
from tasks.candidates.workspace import MEMORY_LIMIT_BYTES, THREADS, count, open_parquet, workspace


def plan_following(
    first: ProviderTotals,
    plan_files: Sequence[Path],
    verdict_files: Sequence[Path],
    second: Provider,
    questions_per_shard: int,
    strategy: Strategy,
    out_dir: Path,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    threads: int = THREADS,
    *,
    reask_in: str | None = None,
) -> ProviderTotals:
    """Writes the second provider's shards and skipped objects into an empty `out_dir`, as `plan` does.

    Every object that the first stage put to the first provider, or found answered by it, ends in one place:
    a shard's row or a skipped one. What the first stage left out for a reason of its own is left out here
    for the same reason and is not written again. The same files give the same plan.

    Args:    plan_files: the first stage's shards and skipped objects.
             verdict_files: all verdicts of the home, this run's among them.
             reask_in: the run, where it asks again: only its own answers of the first provider count, and
             earlier ones of the second keep nothing from being asked.
    Raises:  FileExistsError: `out_dir` holds files.  ValueError: no second stage, or a shard size below 1.
    """
    check_shard_sizes({second: questions_per_shard})
    if not strategy.kind.has_second_stage:
        raise ValueError(f"strategy {strategy.kind} has no second stage")
    shards = [path for path in plan_files if path.name.startswith("shard-")]
    left_out = [path for path in plan_files if path.name.startswith("skipped-")]
    with workspace(out_dir, memory_limit_bytes, threads) as (connection, work_dir):
        open_parquet(connection, "asked", shards, {**OBJECT_COLUMNS, "weight": "DOUBLE"})
        open_parquet(
            connection, "left_out", left_out, {**OBJECT_COLUMNS, "provider": "VARCHAR", "reason": "VARCHAR"}
        )
        open_parquet(connection, "home_verdict", verdict_files, {**VERDICT_COLUMNS, "risk": "VARCHAR"})
        is_meant = "true" if reask_in is None else f"provider = '{second}' OR run_id = {literal(reask_in)}"
        connection.execute(f"CREATE TEMP VIEW verdict AS SELECT * FROM home_verdict WHERE {is_meant}")
        connection.execute(
            f"CREATE TEMP VIEW judged AS SELECT {OBJECT}, NULL::VARCHAR AS reason FROM asked UNION ALL"
            f" SELECT {OBJECT}, NULL FROM left_out"
            f" WHERE provider = '{first.provider}' AND reason = '{SkipReason.ALREADY_ANSWERED}'"
        )
        find_candidates(
            connection, [first.provider, second], memory_limit_bytes, work_dir, judged_by=first.provider
        )
        is_answered = f"answered_{second}" if reask_in is None else "false"
        reason = _reason_sql(strategy, first.provider, is_answered)
        write_skipped(connection, skipped_sql("candidate", {second: reason}, owner=second), out_dir)
        sharded = write_shards(
            connection,
            f"SELECT {OBJECT}, media_of(key) AS media, visiting,"
            f" question_of('{second}', version, url) AS question, "
            f" CASE WHEN answered_{second} THEN '{REASK}' ELSE {_because_sql(strategy)} END AS asked_because,"
            f" weight FROM candidate LEFT JOIN (SELECT url, version_of(version_id, etag, size_bytes,"
            f" last_modified) AS version, weight FROM asked WHERE weight IS NOT NULL) USING (url, version)"
            f" WHERE {reason} IS NULL",
            second,
            questions_per_shard,
            out_dir,
        )
        paid_before = count(
            connection, f"SELECT count(*) FROM candidate WHERE {reason} IS NULL AND paid_{second}"
        )
        skipped = _together(
            {name: number for name, number in first.skipped.items() if name != SkipReason.ALREADY_ANSWERED},
            count_skipped(connection, second),
        )
    return sharded.totals(first.listed, skipped, paid_before=paid_before)


def _reason_sql(strategy: Strategy, first: Provider, is_answered: str) -> str:
    """SQL for the reason not to ask the second about a candidate; NULL where it is asked.

    `is_answered` is SQL that is true where an answer of the second keeps it from being asked.
    """
    if strategy.kind is StrategyKind.FAILOVER:
        return (
            f"CASE WHEN {is_answered} THEN '{SkipReason.ALREADY_ANSWERED}'"
            f" WHEN answered_{first} THEN '{SkipReason.FIRST_ANSWERED}' END"
        )
    return (
        f"CASE WHEN {is_answered} THEN '{SkipReason.ALREADY_ANSWERED}'"
        f" WHEN NOT answered_{first} THEN '{SkipReason.FIRST_UNDECIDED}'"
        f" WHEN risk IS NULL THEN '{SkipReason.FIRST_WITHOUT_SCORE}'"
        f" WHEN risk = '{Risk.LOW}' AND NOT {strategy.is_control_sql}"
        f" THEN '{SkipReason.FIRST_SAYS_LOW}' END"
    )


def _because_sql(strategy: Strategy) -> str:
    if strategy.kind is StrategyKind.FAILOVER:
        return "'first_left_it'"
    return f"CASE WHEN risk = '{Risk.LOW}' THEN 'control' ELSE 'first_says_' || risk END"


def _together(*counts: Mapping[str, int]) -> dict[str, int]:
    names = sorted({name for each in counts for name in each})
    return {name: sum(each.get(name, 0) for each in counts) for name in names}
