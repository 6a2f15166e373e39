"""The population: the objects that an audit's selection keeps, and how far into them a plan will see."""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

import duckdb

from domain.verdicts import Provider
from tasks.candidates.selection import SkipReason
from tasks.candidates.strata import Strata
from tasks.candidates.totals import StratumTotals

# Reasons that leave an object in the population; any other takes it out.
_KEPT = ", ".join(
    f"'{reason}'" for reason in (SkipReason.OUT_OF_SAMPLE, SkipReason.ALREADY_ANSWERED, SkipReason.OVER_LIMIT)
)


def count_population(
    connection: duckdb.DuckDBPyConnection, provider: Provider, reason: str, strata: Strata | None
) -> tuple[StratumTotals, ...]:
    """One provider's population, in a split its own part, by stratum; without strata in one row.

    It is counted in the view `candidate`. `reason` is SQL: why a candidate is not asked about.
    """
    stratum = "NULL::VARCHAR" if strata is None else "stratum"
    rows = connection.execute(
        # Read twice rather than kept: it has a row for each object.
        "WITH kept AS NOT MATERIALIZED (SELECT stratum, visiting, reason, answered FROM ("
        f"SELECT {stratum} AS stratum, visiting, {reason} AS reason, answered_{provider} AS answered"
        f" FROM candidate WHERE occurrence = 1) WHERE reason IS NULL OR reason IN ({_KEPT})),"
        " ends AS (SELECT stratum, count(*) AS selected,"
        f" count(*) FILTER (reason IS DISTINCT FROM '{SkipReason.OUT_OF_SAMPLE}') AS sampled,"
        " count(*) FILTER (reason IS NULL) AS asked, min(visiting) FILTER (NOT answered) AS first_open,"
        f" min(visiting) FILTER (reason IN ('{SkipReason.OUT_OF_SAMPLE}', '{SkipReason.OVER_LIMIT}'))"
        " AS first_left FROM kept GROUP BY stratum)"
        " SELECT ends.stratum, any_value(selected), any_value(sampled), any_value(asked),"
        " count(*) FILTER (first_open IS NULL OR visiting < first_open),"
        " count(*) FILTER (first_left IS NULL OR visiting < first_left), digits_of(any_value(first_left))"
        " FROM kept JOIN ends ON kept.stratum IS NOT DISTINCT FROM ends.stratum"
        " GROUP BY ends.stratum ORDER BY ends.stratum"
    ).fetchall()
    return tuple(StratumTotals(*row) for row in rows)
