"""What was settled in a span of time, counted over all runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from domain.verdicts import Outcome, Provider, Risk
from tasks.reports.query import connect, literal


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """Questions settled in a span: one row of `verdicts` each, none of them an estimate."""

    run_ids: tuple[str, ...]  # of the runs that settled something, in order of their first answer
    outcomes: dict[Provider, dict[Outcome, int]]
    risks: dict[Provider, dict[Risk, int]]  # of scored and reused questions
    reasons: tuple[tuple[Provider, Outcome, str, int], ...]  # without a verdict; most frequent first
    calls: dict[Provider, int]  # of these questions; throttled ones are not among them
    costs: dict[Provider, float | None]  # in the currency of the spec's price; None where none is given


NOTHING = SpanCounts((), {}, {}, (), {}, {})


def count_span(verdict_files: Sequence[Path], since: datetime, until: datetime) -> SpanCounts:
    """Count the rows of the parts that were settled at `since` or later and before `until`."""
    if not verdict_files:
        return NOTHING
    with connect(verdict_files) as connection:
        connection.execute(
            f"CREATE TEMP VIEW settled AS SELECT * FROM verdicts"  # noqa: S608 - moments we wrote
            f" WHERE settled_at >= TIMESTAMPTZ {literal(since.isoformat())}"
            f" AND settled_at < TIMESTAMPTZ {literal(until.isoformat())}"
        )
        outcomes: dict[Provider, dict[Outcome, int]] = {}
        for provider, outcome, count in _rows(
            connection, "SELECT provider, outcome, count(*) FROM settled GROUP BY ALL ORDER BY ALL"
        ):
            outcomes.setdefault(Provider(provider), {})[Outcome(outcome)] = count
        risks: dict[Provider, dict[Risk, int]] = {}
        for provider, risk, count in _rows(
            connection,
            "SELECT provider, risk, count(*) FROM settled WHERE outcome IN ('scored', 'reused')"
            " GROUP BY ALL ORDER BY ALL",
        ):
            risks.setdefault(Provider(provider), dict.fromkeys(Risk, 0))[Risk(risk)] = count
        sums = _rows(
            connection,
            "SELECT provider, sum(attempts)::BIGINT, sum(cost) FROM settled GROUP BY ALL ORDER BY 1",
        )
        return SpanCounts(
            run_ids=tuple(
                run_id
                for (run_id,) in _rows(
                    connection, "SELECT run_id FROM settled GROUP BY run_id ORDER BY min(settled_at), run_id"
                )
            ),
            outcomes=outcomes,
            risks=risks,
            reasons=tuple(
                (Provider(provider), Outcome(outcome), reason, count)
                for provider, outcome, reason, count in _rows(
                    connection,
                    "SELECT provider, outcome, coalesce(reason, ''), count(*) AS questions"
                    " FROM settled WHERE outcome NOT IN ('scored', 'reused')"
                    " GROUP BY ALL ORDER BY questions DESC, 1, 2, 3",
                )
            ),
            calls={Provider(provider): calls for provider, calls, _ in sums},
            costs={Provider(provider): cost for provider, _, cost in sums},
        )


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()
