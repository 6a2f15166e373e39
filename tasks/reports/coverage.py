"""How far the visiting order is covered, and what was found on the way.

Answers come in the order of their latency: a video after the pictures behind it, a slow fetch last. Latency
hangs together with what an object is, so the objects answered at some moment are not a random sample. Those
before the first open one in visiting order are: whoever waits for a prefix to close gets the same prefix,
whatever was slow. So only these are counted, and answers behind the first gap wait; they are as many as
were on the way, some ten seconds of the cap.

The same holds across runs. What earlier runs answered counts as far as it lies before the first gap: all of
it where an earlier run asked a smaller sample of the same objects.
"""

# ruff: noqa: S608 - what is put into these statements are names of our own, and quoted literals

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from domain.sql import IDENTITY_MACROS
from domain.verdicts import Outcome, Provider, Risk
from tasks.reports.estimate import StratumCounts
from tasks.reports.query import literal, new_connection, read_parquet_sql

_TYPES: dict[str, pa.DataType] = {
    "question_id": pa.string(),
    "provider": pa.string(),
    "outcome": pa.string(),
    "risk": pa.string(),
    "settled_at": pa.timestamp("us", tz="UTC"),
}
ANSWER = pa.schema(_TYPES)
"""The columns of a verdict that are read here."""

_ALREADY_ANSWERED = "already_answered"  # a plan's reason to leave out what an earlier run has settled
_EVERYTHING = ""  # the one stratum of an audit without strata; theirs always have a name
_FINAL = ", ".join(f"'{outcome}'" for outcome in Outcome if outcome.is_final)


@dataclass(frozen=True, slots=True)
class PlannedStratum:
    """One stratum as a plan left it."""

    stratum: str | None  # None where the audit has no strata
    selected: int
    first_left: (
        str | None
    )  # place in visiting order of the first object it leaves out, hex; None: leaves none


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """One provider's part of a plan: its population, and the files that name the objects."""

    provider: Provider
    strata: Sequence[PlannedStratum]
    shards: Sequence[Path]
    skipped: Sequence[Path]


def count_covered(
    part: PlannedPart, verdict_files: Sequence[Path], unpublished: pa.Table
) -> list[StratumCounts]:
    """What is covered of each stratum of the plan, in the plan's order.

    A question's final row counts before one that is not final, and the later one before the earlier.

    Args:    verdict_files: parts of all runs whose answers count.  unpublished: rows of `ANSWER` that may be
             missing in the parts; they may also be in both.
    Raises:  UsageError: a part is damaged; names it.
    """
    with tempfile.TemporaryDirectory(prefix="facesweep-") as folder, new_connection() as connection:
        connection.execute(f"SET temp_directory = {literal(folder)}")
        for macro in IDENTITY_MACROS:
            connection.execute(macro)
        connection.register("unpublished", unpublished)
        connection.register("planned", _as_table(part.strata))
        answers = f"SELECT {', '.join(ANSWER.names)} FROM unpublished"
        if verdict_files:
            answers += f" UNION ALL SELECT {', '.join(ANSWER.names)} FROM {read_parquet_sql(verdict_files)}"
        _place(connection, part, answers)
        rows = connection.execute(
            "WITH gap AS (SELECT stratum, min(visiting) FILTER (outcome IS NULL) AS first_open"
            " FROM placed GROUP BY stratum)"
            " SELECT stratum, outcome, risk, count(*) FROM placed"
            " JOIN gap USING (stratum)"
            " WHERE first_open IS NULL OR visiting < first_open GROUP BY ALL"
        ).fetchall()
    found: dict[str, Counter[tuple[Outcome, str | None]]] = {}
    for stratum, outcome, risk, count in rows:
        found.setdefault(stratum, Counter())[Outcome(outcome), risk] = count
    return [_counts(each, found.get(each.stratum or _EVERYTHING, Counter())) for each in part.strata]


def _place(connection: duckdb.DuckDBPyConnection, part: PlannedPart, answers: str) -> None:
    """The table `placed`: stratum, place and last answer of each object before the first one left out.

    These are the objects the plan asks about and those that it found answered; outcome NULL is an open one.
    """
    is_stratified = any(each.stratum is not None for each in part.strata)
    stratum = "stratum" if is_stratified else f"'{_EVERYTHING}'"
    version = "version_of(version_id, etag, size_bytes, last_modified)"

    def named(question: str, rows: str) -> str:
        return (
            f"SELECT {question} AS question, {stratum} AS stratum,"
            f" visiting_of({version}, url) AS visiting FROM {rows}"
        )

    answered = f"reason = '{_ALREADY_ANSWERED}' AND (provider IS NULL OR provider = '{part.provider}')"
    objects = [
        named(
            f"question_of('{part.provider}', {version}, url)",
            f"{read_parquet_sql(part.skipped)} WHERE {answered}",
        )
    ]
    if part.shards:
        objects.append(named("question_id::UUID", read_parquet_sql(part.shards)))
    connection.execute(
        f"CREATE TEMP TABLE placed AS WITH named AS ({' UNION ALL '.join(objects)}),"
        " kept AS (SELECT named.* FROM named JOIN planned USING (stratum)"
        " WHERE first_left IS NULL OR visiting < first_left::UUID),"
        " answer AS (SELECT question_id::UUID AS question, {'is_final':"
        f" outcome IN ({_FINAL}), 'settled_at': settled_at, 'outcome': outcome, 'risk': risk}} AS row"
        f" FROM ({answers}) WHERE provider = '{part.provider}'),"
        " best AS (SELECT any_value(stratum) AS stratum, any_value(visiting) AS visiting, max(row) AS row"
        " FROM kept LEFT JOIN answer USING (question) GROUP BY question)"
        " SELECT stratum, visiting, row.outcome AS outcome, row.risk AS risk FROM best"
    )


def _as_table(strata: Sequence[PlannedStratum]) -> pa.Table:
    return pa.table(
        {
            "stratum": pa.array([each.stratum or _EVERYTHING for each in strata], pa.string()),
            "first_left": pa.array([each.first_left for each in strata], pa.string()),
        }
    )


def _counts(planned: PlannedStratum, found: Mapping[tuple[Outcome, str | None], int]) -> StratumCounts:
    risks: Counter[str | None] = Counter()
    others: Counter[Outcome] = Counter()
    for (outcome, risk), count in found.items():
        if outcome in (Outcome.SCORED, Outcome.REUSED):
            risks[risk] += count
        else:
            others[outcome] += count
    return StratumCounts(
        stratum=planned.stratum,
        selected=planned.selected,
        covered=sum(found.values()),
        assessed=sum(risks.values()),
        high=risks[Risk.HIGH],
        mid_or_high=risks[Risk.HIGH] + risks[Risk.MID],
        not_assessable=others,
    )
