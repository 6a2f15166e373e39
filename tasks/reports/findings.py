"""What a run found, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from domain.verdicts import Outcome, Provider, Risk
from tasks.reports.query import connect

SUSPECTS = 10
"""How many suspect objects a summary names."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object that a provider calls high or mid risk, and what each provider says of it."""

    url: str
    risks: dict[Provider, Risk]
    tags: tuple[str, ...]  # of all providers, each once


@dataclass(frozen=True, slots=True)
class Reason:
    """Why questions ended without a verdict, with one example."""

    provider: Provider
    outcome: Outcome
    reason: str
    count: int
    example_url: str


@dataclass(frozen=True, slots=True)
class Findings:
    """One run's verdicts, counted. Rows of copies count like the rows they repeat."""

    risks: dict[Provider, dict[Risk, int]]
    reasons: tuple[Reason, ...]  # most frequent first
    suspects: tuple[Suspect, ...]  # most high risks first, then most mid ones


def find(verdict_files: Sequence[Path], run_id: str | None = None) -> Findings:
    """Count the verdicts of the given parts, of one run or of all; nothing where there are none."""
    if not verdict_files:
        return Findings({}, (), ())
    with connect(verdict_files, run_id) as connection:
        return Findings(_risks(connection), _reasons(connection), _suspects(connection))


def _risks(connection: duckdb.DuckDBPyConnection) -> dict[Provider, dict[Risk, int]]:
    risks: dict[Provider, dict[Risk, int]] = {}
    rows = connection.execute(
        "SELECT provider, risk, count(*) FROM verdicts WHERE outcome IN ('scored', 'reused')"
        " GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for provider, risk, count in rows:
        risks.setdefault(Provider(provider), dict.fromkeys(Risk, 0))[Risk(risk)] = count
    return risks


def _reasons(connection: duckdb.DuckDBPyConnection) -> tuple[Reason, ...]:
    rows = connection.execute(
        "SELECT provider, outcome, coalesce(reason, ''), count(*) AS questions, min(url) FROM verdicts"
        " WHERE outcome NOT IN ('scored', 'reused') GROUP BY ALL ORDER BY questions DESC, 1, 2, 3"
    ).fetchall()
    return tuple(Reason(Provider(row[0]), Outcome(row[1]), *row[2:]) for row in rows)


def _suspects(connection: duckdb.DuckDBPyConnection) -> tuple[Suspect, ...]:
    rows = connection.execute(
        "SELECT url, list(provider ORDER BY provider), list(risk ORDER BY provider),"
        " list_sort(list_distinct(flatten(list(tags)))) FROM verdicts WHERE risk IS NOT NULL"
        " GROUP BY url, version_id, etag HAVING count(*) FILTER (risk <> 'low') > 0"
        " ORDER BY count(*) FILTER (risk = 'high') DESC, count(*) FILTER (risk = 'mid') DESC, url LIMIT ?",
        [SUSPECTS],
    ).fetchall()
    return tuple(
        Suspect(
            url,
            {Provider(each): Risk(risk) for each, risk in zip(providers, risks, strict=True)},
            tuple(tags),
        )
        for url, providers, risks, tags in rows
    )
