"""From the questions chosen for one provider to its shard files, in visiting order."""

# ruff: noqa: S608 - what is put into these statements are names and numbers of our own, and quoted literals

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb

from domain.runs import Shard
from domain.verdicts import Provider
from tasks.candidates.shards import shard_path
from tasks.candidates.totals import ProviderTotals, StratumTotals
from tasks.candidates.vocabulary import OBJECT, literal


@dataclass(frozen=True, slots=True)
class Sharded:
    """What the shards of one provider hold together."""

    provider: Provider
    asked: int
    copies: int
    bytes_to_fetch: int
    shards: tuple[Shard, ...]

    def totals(
        self,
        listed: int,
        skipped: Mapping[str, int],
        strata: tuple[StratumTotals, ...] = (),
        paid_before: int = 0,
    ) -> ProviderTotals:
        """The provider's books.

        Raises:  RuntimeError: an object was lost or counted twice; such a plan must not be run.
        """
        totals = ProviderTotals(
            provider=self.provider,
            listed=listed,
            skipped=skipped,
            asked=self.asked,
            copies=self.copies,
            bytes_to_fetch=self.bytes_to_fetch,
            shards=self.shards,
            strata=strata,
            paid_before=paid_before,
        )
        if not totals.balance.is_balanced:
            raise RuntimeError(f"the plan's books do not balance: {totals.balance}")
        return totals


def check_shard_sizes(providers: Mapping[Provider, int]) -> None:
    """Raises ValueError unless there is a provider and each has a shard size of at least 1."""
    if not providers or any(questions < 1 for questions in providers.values()):
        raise ValueError(f"each provider needs a shard size of at least 1 question, not {providers}")


def write_shards(
    connection: duckdb.DuckDBPyConnection,
    chosen_sql: str,
    provider: Provider,
    questions_per_shard: int,
    out_dir: Path,
) -> Sharded:
    """Writes the shards of the chosen questions, about `questions_per_shard` in each, and counts them.

    `chosen_sql` yields an object's columns, `media`, `visiting` and `question` (both UUIDs), `asked_because`
    and `weight`, with each object once. Byte-identical objects (one ETag and one size in one store) share a
    call: the first visited is the original, the others follow it in its shard and name it in `copy_of`. A
    shard outgrows its size where its last original has many copies.

    The same questions give the same files, row for row, whatever order they come in.
    """
    connection.execute(f"CREATE OR REPLACE TEMP VIEW chosen AS {chosen_sql}")
    connection.execute(
        "CREATE OR REPLACE TABLE original AS"
        " SELECT store, etag, size_bytes, min(visiting) AS visiting, arg_min(question, visiting) AS question"
        " FROM chosen WHERE etag <> '' GROUP BY store, etag, size_bytes HAVING count(*) > 1"
    )
    # Rows must lie on disk in this order, so that each shard is read from one place.
    connection.execute("SET preserve_insertion_order = true")
    connection.execute(
        "CREATE OR REPLACE TABLE visit AS SELECT row_number() OVER () - 1 AS position, * FROM ("
        " SELECT chosen.*,"
        " CASE WHEN original.visiting <> chosen.visiting THEN original.question END AS copied"
        " FROM chosen LEFT JOIN original USING (store, etag, size_bytes)"
        " ORDER BY coalesce(original.visiting, chosen.visiting), chosen.visiting)"
    )
    connection.execute("SET preserve_insertion_order = false")
    # A shard starts at the first original of each stretch of positions; copies never start one.
    starts: list[int] = [
        row[0]
        for row in connection.execute(
            "SELECT min(position) FROM visit WHERE copied IS NULL"
            f" GROUP BY position // {questions_per_shard} ORDER BY 1"
        ).fetchall()
    ]
    asked, copies, bytes_to_fetch = connection.execute(
        "SELECT count(*), count(copied), coalesce(sum(size_bytes) FILTER (copied IS NULL), 0) FROM visit"
    ).fetchall()[0]
    shards = tuple(
        Shard(provider, number, end - start)
        for number, (start, end) in enumerate(pairwise([*starts, asked]), start=1)
    )
    if shards:
        shard_path(out_dir, shards[0]).parent.mkdir()
    for shard, start in zip(shards, starts, strict=True):
        path = literal(str(shard_path(out_dir, shard)))
        connection.execute(
            f"COPY (SELECT digits_of(question) AS question_id, '{provider}' AS provider, {OBJECT}, media,"
            " digits_of(copied) AS copy_of, asked_because, weight"
            f" FROM visit WHERE position >= {start} AND position < {start + shard.questions}"
            f" ORDER BY position) TO {path} (FORMAT parquet, COMPRESSION zstd)"
        )
    connection.execute("DROP TABLE visit")
    return Sharded(provider, asked, copies, bytes_to_fetch, shards)
