"""A plan: every object of a listing becomes, for each provider, a question in a shard or a skipped row."""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import duckdb

from domain.verdicts import Provider
from tasks.candidates.selection import Selection, SkipReason
from tasks.candidates.sharding import check_shard_sizes, write_shards
from tasks.candidates.skipped import count_skipped, skipped_sql, write_skipped
from tasks.candidates.slices import find_candidates
from tasks.candidates.totals import PlanTotals, ProviderTotals
from tasks.candidates.vocabulary import LISTING_COLUMNS, OBJECT, VERDICT_COLUMNS
from tasks.candidates.workspace import MEMORY_LIMIT_BYTES, THREADS, count, open_parquet, workspace


def plan(
    listing_files: Sequence[Path],
    verdict_files: Sequence[Path],
    providers: Mapping[Provider, int],
    selection: Selection,
    out_dir: Path,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    threads: int = THREADS,
) -> PlanTotals:
    """Writes `provider=<p>/shard-<n>.parquet` and `skipped-00001.parquet` into an empty `out_dir`.

    For each provider every row of the listing ends in exactly one place: a shard's row, or a skipped
    row with the first reason that applies. A skipped row without a provider counts for all of them.
    The same listing, verdicts and selection give the same plan, whatever the order of rows and parts.

    Memory does not grow with the listing: beyond `memory_limit_bytes` DuckDB works on disk, beside
    `out_dir`, where its tables take about twice the listing's uncompressed size while planning.

    Args:    listing_files, verdict_files: Parquet parts, any number of them.
             providers: for each provider to ask, about how many questions make a shard.
    Raises:  FileExistsError: `out_dir` holds files.  ValueError: no provider, or a shard size below 1.
    """
    check_shard_sizes(providers)
    with workspace(out_dir, memory_limit_bytes, threads) as (connection, work_dir):
        open_parquet(connection, "listing", listing_files, LISTING_COLUMNS)
        open_parquet(connection, "verdict", verdict_files, VERDICT_COLUMNS)
        connection.execute(
            f"CREATE TEMP VIEW judged AS SELECT {OBJECT}, {selection.reason_sql()} AS reason FROM listing"
        )
        find_candidates(connection, providers, memory_limit_bytes, work_dir)
        reasons = _reasons(connection, list(providers), selection)
        write_skipped(connection, _all_skipped_sql(reasons), out_dir)
        listed = count(connection, "SELECT count(*) FROM listing")
        totals: dict[Provider, ProviderTotals] = {}
        for provider, questions_per_shard in providers.items():
            sharded = write_shards(
                connection,
                f"SELECT {OBJECT}, media_of(key) AS media, visiting,"
                f" question_of('{provider}', version, url) AS question,"
                " 'all' AS asked_because, NULL::DOUBLE AS weight"
                f" FROM candidate WHERE {reasons[provider]} IS NULL",
                provider,
                questions_per_shard,
                out_dir,
            )
            totals[provider] = sharded.totals(listed, count_skipped(connection, provider))
    return PlanTotals(totals)


def _reasons(
    connection: duckdb.DuckDBPyConnection, providers: list[Provider], selection: Selection
) -> dict[Provider, str]:
    """SQL for each provider's reason to skip a candidate; NULL where it is asked."""
    beyond_sample = "false"
    if selection.sample_share is not None:
        beyond_sample = _beyond_share(selection.sample_share)
    elif selection.sample_size is not None:
        beyond_sample = _beyond_first(connection, selection.sample_size, "occurrence = 1")
    beyond_limit = "false"
    if selection.limit is not None:
        is_open = " OR ".join(f"NOT answered_{provider}" for provider in providers)
        beyond_limit = _beyond_first(
            connection, selection.limit, f"occurrence = 1 AND NOT {beyond_sample} AND ({is_open})"
        )
    return {
        provider: f"CASE WHEN occurrence > 1 THEN '{SkipReason.LISTED_TWICE}'"
        f" WHEN {beyond_sample} THEN '{SkipReason.OUT_OF_SAMPLE}'"
        f" WHEN answered_{provider} THEN '{SkipReason.ALREADY_ANSWERED}'"
        f" WHEN {beyond_limit} THEN '{SkipReason.OVER_LIMIT}' END"
        for provider in providers
    }


def _beyond_first(connection: duckdb.DuckDBPyConnection, number: int, condition: str) -> str:
    """SQL that is true behind the first `number` candidates, in visiting order, of those meant."""
    if number == 0:
        return "true"
    last: UUID | None = connection.execute(
        "SELECT max(visiting) FROM (SELECT visiting FROM candidate"
        f" WHERE {condition} ORDER BY visiting LIMIT {number})"
    ).fetchall()[0][0]
    return f"(visiting > '{last}'::UUID)" if last else "false"


def _beyond_share(share: float) -> str:
    """SQL that is true for candidates whose hash, as a share of all hashes, lies behind `share`."""
    last = UUID(int=int(Fraction(share) * 2**128) - 1)
    return f"(visiting > '{last}'::UUID)"


def _all_skipped_sql(reasons: Mapping[Provider, str]) -> str:
    return " UNION ALL ".join(
        (
            f"SELECT NULL::VARCHAR AS provider, reason, {OBJECT} FROM judged WHERE reason IS NOT NULL",
            skipped_sql("candidate", reasons),
        )
    )
