"""Planning again: the questions of a run that ended without a final outcome."""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from domain.errors import UsageError
from domain.verdicts import Outcome, Provider
from tasks.candidates.selection import SkipReason
from tasks.candidates.sharding import check_shard_sizes, write_shards
from tasks.candidates.skipped import count_skipped, write_skipped
from tasks.candidates.totals import PlanTotals, ProviderTotals
from tasks.candidates.vocabulary import FINAL_OUTCOMES, OBJECT, VERDICT_COLUMNS, literal
from tasks.candidates.workspace import MEMORY_LIMIT_BYTES, THREADS, count, open_parquet, workspace


def plan_again(
    verdict_files: Sequence[Path],
    run_id: str,
    outcomes: Collection[Outcome],
    providers: Mapping[Provider, int],
    out_dir: Path,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    threads: int = THREADS,
    *,
    reask: bool = False,
) -> PlanTotals:
    """Writes a plan, as `plan` does, of the run's questions whose last row has one of the outcomes.

    `listed` counts these questions. The ones another run has answered are skipped as already answered; with
    `reask`, where the run asked what was answered before, only those answered since.
    An object is asked about as the run listed it; if it has changed since, fetching it will say so.

    Args:    outcomes: failed, unreadable or both.
             providers: for each provider to ask again, about how many questions make a shard.
    Raises:  UsageError: an outcome is final, or none is given.
             FileExistsError: `out_dir` holds files.  ValueError: no provider, or a shard size below 1.
    """
    check_shard_sizes(providers)
    _check_outcomes(outcomes)
    wanted = ", ".join(literal(outcome) for outcome in sorted(outcomes))
    with workspace(out_dir, memory_limit_bytes, threads) as (connection, _):
        open_parquet(connection, "verdict", verdict_files, VERDICT_COLUMNS)
        for provider in providers:
            connection.execute(
                f"CREATE TABLE ended_{provider} AS WITH last AS ("
                f" SELECT {OBJECT}, outcome, settled_at, asked_because, weight,"
                " TRY_CAST(question_id AS UUID) AS question"
                f" FROM verdict WHERE run_id = {literal(run_id)} AND provider = '{provider}'"
                f" AND outcome NOT IN ({FINAL_OUTCOMES})"
                " QUALIFY row_number()"
                " OVER (PARTITION BY question_id ORDER BY settled_at DESC, outcome) = 1)"
                f" SELECT {OBJECT}, media_of(key) AS media, question, visiting_of("
                " version_of(version_id, etag, size_bytes, last_modified), url) AS visiting,"
                " settled_at, asked_because, weight"
                f" FROM last WHERE outcome IN ({wanted})"
            )
            # Few questions fail, many are answered: only the answers to these are kept in memory.
            connection.execute(
                f"CREATE TABLE known_{provider} AS SELECT question, verdict.billed <> 'no' AS is_paid,"
                f" {'verdict.settled_at > ended.settled_at' if reask else 'true'} AS is_answer"
                f" FROM verdict JOIN ended_{provider} AS ended ON TRY_CAST(question_id AS UUID) = question"
                f" WHERE provider = '{provider}' AND verdict.outcome IN ({FINAL_OUTCOMES})"
            )
            connection.execute(
                f"CREATE VIEW answered_{provider} AS SELECT question FROM known_{provider} WHERE is_answer"
            )
        write_skipped(
            connection,
            " UNION ALL ".join(
                f"SELECT '{provider}' AS provider, '{SkipReason.ALREADY_ANSWERED}' AS reason, {OBJECT}"
                f" FROM ended_{provider} SEMI JOIN answered_{provider} USING (question)"
                for provider in providers
            ),
            out_dir,
        )
        totals: dict[Provider, ProviderTotals] = {}
        for provider, questions_per_shard in providers.items():
            sharded = write_shards(
                connection,
                f"SELECT * FROM ended_{provider} ANTI JOIN answered_{provider} USING (question)",
                provider,
                questions_per_shard,
                out_dir,
            )
            listed = count(connection, f"SELECT count(*) FROM ended_{provider}")
            paid_before = count(
                connection,
                f"SELECT count(DISTINCT question) FROM known_{provider}"
                f" ANTI JOIN answered_{provider} USING (question) WHERE is_paid",
            )
            totals[provider] = sharded.totals(
                listed, count_skipped(connection, provider), paid_before=paid_before
            )
    return PlanTotals(totals)


def _check_outcomes(outcomes: Collection[Outcome]) -> None:
    open_outcomes = " and ".join(outcome for outcome in Outcome if not outcome.is_final)
    if not outcomes:
        raise UsageError(f"no outcome is given to ask again about: there are {open_outcomes}")
    for outcome in sorted(outcomes):
        if outcome.is_final:
            raise UsageError(
                f"questions that ended as {outcome} are settled and never asked again;"
                f" only {open_outcomes} ones are"
            )
