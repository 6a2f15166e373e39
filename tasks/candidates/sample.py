"""The sample: which of the objects selected a plan considers at all, and how many each stands for."""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

import math
from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID

import duckdb
import pyarrow as pa

from domain.errors import UsageError
from tasks.candidates.selection import Selection
from tasks.candidates.strata import MOST_STRATA, NO_STRATUM, Strata, allocate
from tasks.candidates.workspace import count


@dataclass(frozen=True, slots=True)
class Sample:
    """SQL over the view `candidate`."""

    beyond: str  # true for candidates out of the sample
    weight: str  # objects selected that a sampled one stands for; NULL where nothing was sampled


def draw(connection: duckdb.DuckDBPyConnection, selection: Selection) -> Sample:
    """The sample that a selection asks for; with strata, the view `candidate` gains columns for it.

    A sample is the first objects in visiting order, of all or of each stratum. An object listed twice
    counts once.

    Raises:  UsageError: more strata than there may be, or than the sample holds objects.
    """
    if selection.strata is not None:
        return _draw_from_strata(connection, selection, selection.strata)
    if selection.sample_share is not None:
        beyond = _beyond_share(selection.sample_share)
    elif selection.sample_size is not None:
        beyond = beyond_first(connection, selection.sample_size, "occurrence = 1")
    else:
        return Sample("false", "NULL::DOUBLE")
    selected, sampled = connection.execute(
        f"SELECT count(*), count(*) FILTER (NOT {beyond}) FROM candidate WHERE occurrence = 1"
    ).fetchall()[0]
    return Sample(beyond, f"{selected / sampled!r}::DOUBLE" if sampled else "NULL::DOUBLE")


def beyond_first(connection: duckdb.DuckDBPyConnection, number: int, condition: str) -> str:
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


def _draw_from_strata(connection: duckdb.DuckDBPyConnection, selection: Selection, strata: Strata) -> Sample:
    """Counts strata by the first two digits of the hash, so that only a small part is ever ranked."""
    some = f"SELECT DISTINCT stratum FROM candidate LIMIT {MOST_STRATA + 1}"
    if count(connection, f"SELECT count(*) FROM ({some})") > MOST_STRATA:
        raise UsageError(
            f'source.strata = "{strata.name}" makes more than {MOST_STRATA:,} strata:'
            " name fewer folders, or a column with fewer values"
        )
    connection.execute(
        "CREATE TABLE dealt AS SELECT stratum, left(visiting::VARCHAR, 2) AS digits, count(*) AS objects"
        " FROM candidate WHERE occurrence = 1 GROUP BY ALL"
    )
    sizes: dict[str, int] = dict(
        connection.execute(
            "SELECT stratum, sum(objects)::BIGINT FROM dealt GROUP BY stratum ORDER BY stratum"
        ).fetchall()
    )
    if strata.depth is None and sizes.keys() == {NO_STRATUM}:
        raise UsageError(
            'source.strata = "column", but no object selected has a stratum: name an inventory with that'
            ' column, or cut strata out of the keys, as with "prefix:1"'
        )
    sampled = _sample_size(selection, strata, sizes)
    if sampled is None:
        return Sample("false", "NULL::DOUBLE")
    shares = allocate(sizes, sampled, strata.allocation)
    drawn = pa.table(
        {
            "stratum": pa.array(shares.keys(), pa.string()),
            "sampled": pa.array(shares.values(), pa.int64()),
            "weight": pa.array([sizes[name] / share for name, share in shares.items()], pa.float64()),
        }
    )
    connection.register("drawn", drawn)
    connection.execute(
        "CREATE TABLE stratum_sample AS WITH summed AS ("
        " SELECT *, sum(objects) OVER (PARTITION BY stratum ORDER BY digits)::BIGINT AS upto FROM dealt),"
        # The digits among which the last sampled object of each stratum is, and its place there.
        " found AS (SELECT stratum, digits, sampled - (upto - objects) AS place, weight"
        " FROM summed JOIN drawn USING (stratum) WHERE upto - objects < sampled AND sampled <= upto)"
        " SELECT stratum, weight, visiting AS last_sampled FROM candidate JOIN found USING (stratum)"
        " WHERE occurrence = 1 AND left(visiting::VARCHAR, 2) = digits"
        " QUALIFY row_number() OVER (PARTITION BY stratum ORDER BY visiting) = place"
    )
    connection.unregister("drawn")
    connection.execute("ALTER VIEW candidate RENAME TO undrawn")
    connection.execute(
        "CREATE TEMP VIEW candidate AS SELECT undrawn.*, weight, last_sampled"
        " FROM undrawn JOIN stratum_sample USING (stratum)"
    )
    return Sample("(visiting > last_sampled)", "weight")


def _sample_size(selection: Selection, strata: Strata, sizes: dict[str, int]) -> int | None:
    """How many objects the sample holds; None where nothing is sampled."""
    if selection.sample_share is not None:
        rounded = math.floor(Fraction(selection.sample_share) * sum(sizes.values()) + Fraction(1, 2))
        return max(rounded, len(sizes))
    if selection.sample_size is not None and selection.sample_size < len(sizes):
        raise UsageError(
            f"source.sample = {selection.sample_size} is less than one object for each of the {len(sizes)}"
            f' strata of "{strata.name}": raise it to {len(sizes)} at least'
        )
    return selection.sample_size
