"""A plan: every object of a listing becomes, for each provider, a question in a shard or a skipped row."""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from domain.verdicts import Provider
from tasks.candidates.population import count_population
from tasks.candidates.sample import Sample, beyond_first, draw
from tasks.candidates.selection import Selection, SkipReason
from tasks.candidates.sharding import check_shard_sizes, write_shards
from tasks.candidates.skipped import count_skipped, skipped_sql, write_skipped
from tasks.candidates.slices import find_candidates
from tasks.candidates.strategy import Strategy
from tasks.candidates.totals import PlanTotals, ProviderTotals
from tasks.candidates.vocabulary import LISTING_COLUMNS, OBJECT, REASK, VERDICT_COLUMNS
from tasks.candidates.workspace import MEMORY_LIMIT_BYTES, THREADS, count, open_parquet, workspace


def plan(
    listing_files: Sequence[Path],
    verdict_files: Sequence[Path],
    providers: Mapping[Provider, int],
    selection: Selection,
    out_dir: Path,
    strategy: Strategy = Strategy(),  # noqa: B008 (frozen)
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    threads: int = THREADS,
    *,
    reask: bool = False,
) -> PlanTotals:
    """Writes `provider=<p>/shard-<n>.parquet` and `skipped-00001.parquet` into an empty `out_dir`.

    For each provider every row of the listing ends in exactly one place: a shard's row, or a skipped
    row with the first reason that applies. A skipped row without a provider counts for all of them.
    The same listing, verdicts and selection give the same plan, whatever the order of rows and parts.

    Memory does not grow with the listing: beyond `memory_limit_bytes` DuckDB works on disk, beside
    `out_dir`, where its tables take about twice the listing's uncompressed size while planning.

    Args:    listing_files, verdict_files: Parquet parts, any number of them.
             providers: for each provider to ask, about how many questions make a shard; the first one
             only where the strategy has a second stage, which `plan_following` plans.
             reask: ask what is answered already too; such a question's `asked_because` is `reask`.
    Raises:  FileExistsError: `out_dir` holds files.  ValueError: no provider, or a shard size below 1.
             UsageError: the strata are too many, for facesweep or for the sample.
    """
    check_shard_sizes(providers)
    with workspace(out_dir, memory_limit_bytes, threads) as (connection, work_dir):
        open_parquet(connection, "listing", listing_files, LISTING_COLUMNS)
        open_parquet(connection, "verdict", verdict_files, VERDICT_COLUMNS)
        connection.execute(
            f"CREATE TEMP VIEW judged AS SELECT * REPLACE ({selection.stratum_sql()} AS stratum),"
            f" {selection.reason_sql()} AS reason FROM listing"
        )
        find_candidates(connection, providers, memory_limit_bytes, work_dir)
        sample = draw(connection, selection)
        answered = {provider: f"answered_{provider}" for provider in providers}
        if reask:
            answered = dict.fromkeys(answered, "false")
        reasons = _reasons(connection, answered, selection, sample, strategy)
        write_skipped(connection, _all_skipped_sql(reasons, strategy), out_dir)
        listed = count(connection, "SELECT count(*) FROM listing")
        totals: dict[Provider, ProviderTotals] = {}
        for provider, questions_per_shard in providers.items():
            because = f"CASE WHEN answered_{provider} THEN '{REASK}' ELSE '{strategy.because}' END"
            sharded = write_shards(
                connection,
                f"SELECT {OBJECT}, media_of(key) AS media, visiting,"
                f" question_of('{provider}', version, url) AS question,"
                f" {because} AS asked_because, {sample.weight} AS weight"
                f" FROM candidate WHERE {reasons[provider]} IS NULL",
                provider,
                questions_per_shard,
                out_dir,
            )
            paid_before = count(
                connection,
                f"SELECT count(*) FROM candidate WHERE {reasons[provider]} IS NULL AND paid_{provider}",
            )
            totals[provider] = sharded.totals(
                listed,
                count_skipped(connection, provider),
                count_population(connection, provider, reasons[provider], selection.strata),
                paid_before,
            )
    return PlanTotals(totals)


def _reasons(
    connection: duckdb.DuckDBPyConnection,
    answered: Mapping[Provider, str],
    selection: Selection,
    sample: Sample,
    strategy: Strategy,
) -> dict[Provider, str]:
    """SQL for each provider's reason to skip a candidate; NULL where it is asked.

    `answered` is SQL for each provider to ask that is true where an answer it has keeps it from being asked.
    """
    elsewhere = {provider: strategy.elsewhere_sql(provider, answered) for provider in answered}
    beyond_limit = "false"
    if selection.limit is not None:
        is_open = " OR ".join(f"NOT ({answered[name]} OR {each})" for name, each in elsewhere.items())
        beyond_limit = beyond_first(
            connection, selection.limit, f"occurrence = 1 AND NOT {sample.beyond} AND ({is_open})"
        )
    return {
        provider: f"CASE WHEN occurrence > 1 THEN '{SkipReason.LISTED_TWICE}'"
        f" WHEN {elsewhere[provider]} THEN '{SkipReason.OTHER_PROVIDER}'"
        f" WHEN {sample.beyond} THEN '{SkipReason.OUT_OF_SAMPLE}'"
        f" WHEN {is_answered} THEN '{SkipReason.ALREADY_ANSWERED}'"
        f" WHEN {beyond_limit} THEN '{SkipReason.OVER_LIMIT}' END"
        for provider, is_answered in answered.items()
    }


def _all_skipped_sql(reasons: Mapping[Provider, str], strategy: Strategy) -> str:
    parts = [f"SELECT NULL::VARCHAR AS provider, reason, {OBJECT} FROM judged WHERE reason IS NOT NULL"]
    if strategy.kind.has_second_stage:
        # What the first provider has answered already is not out of the second one's way.
        for provider, reason in reasons.items():
            is_answered = f"{reason} = '{SkipReason.ALREADY_ANSWERED}'"
            mine = f"CASE WHEN {is_answered} THEN {reason} END"
            everybodys = f"CASE WHEN NOT {is_answered} THEN {reason} END"
            parts.append(skipped_sql("candidate", {provider: mine}, owner=provider))
            parts.append(skipped_sql("candidate", {provider: everybodys}))
    else:
        parts.append(skipped_sql("candidate", reasons))
    return " UNION ALL ".join(parts)
