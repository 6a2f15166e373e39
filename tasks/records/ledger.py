"""What may be written into a journal file; SQLite only, no threads, no waiting.

A `Ledger` is driven by one thread. Every method but `commit` runs inside the transaction that
`commit` opens, checks before it writes, and so either does all of its work or none.
"""

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.budgets import Budget
from domain.errors import BudgetSpent, FacesweepError
from domain.verdicts import Billed, Outcome, Provider
from tasks.records.allowance import MoneyOnTheWay, Spent
from tasks.records.calls import Calls
from tasks.records.encoding import from_bytes
from tasks.records.layout import open_writer, refusal


class AlreadySettled(FacesweepError):
    """A call was about to be made for a question that has its final row; it must not be made."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that make up one Parquet part; never changes once it was assigned."""

    run_id: str
    provider: Provider
    number: int  # 1, 2, …
    first_seq: int
    last_seq: int
    row_count: int

    @property
    def relative_path(self) -> str:
        """Where the part lies in a home."""
        return part_path(self.provider, self.run_id, self.number)


@dataclass(frozen=True, slots=True)
class Settled:
    """What the books need to know of a verdict, and the verdict itself as bytes."""

    question: bytes
    provider: str
    outcome: Outcome
    billed: str
    throttled: int
    cost: float | None
    body: bytes


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row found in a part that this journal did not write."""

    question: bytes
    outcome: Outcome
    content: bytes | None
    spent: Spent
    throttled: int
    billed: str
    cost: float | None


def part_path(provider: Provider, run_id: str, number: int) -> str:
    """`verdicts/provider=<p>/run=<id>/part-00001.parquet`."""
    return f"verdicts/provider={provider}/run={run_id}/part-{number:05d}.parquet"


class Ledger:
    """One run's journal file, open for writing. `calls` are those whose questions are not settled.

    Raises:
        UsageError: the file cannot be opened, is damaged, is not a journal, is another run's, or
            was written by another version; names the file.
    """

    def __init__(self, path: Path, run_id: str, budget: Budget, prices: Mapping[Provider, float]) -> None:
        self.path, self.run_id = path, run_id
        self._sql = open_writer(path, run_id)
        try:
            self._sql.execute(
                "DELETE FROM claims WHERE (provider, content, question) IN "
                "(SELECT provider, content, question FROM calls)"
            )
            self.calls = Calls(self._sql, budget, prices)
        except sqlite3.Error as error:
            self._sql.close()
            raise refusal(path, error) from None

    def commit(self, steps: Sequence[Callable[["Ledger"], object]]) -> list[object | FacesweepError]:
        """Each step's result, or the error it was refused with, once all of them are on disk.

        Raises:
            sqlite3.Error: nothing of this batch is on disk, or nothing can be said about it.
        """
        self._sql.execute("BEGIN IMMEDIATE")
        results: list[object | FacesweepError] = []
        for step in steps:
            try:
                results.append(step(self))
            except (AlreadySettled, BudgetSpent, MoneyOnTheWay) as refusal:
                results.append(refusal)
        self._sql.execute("COMMIT")
        return results

    def close(self) -> None:
        self._sql.close()

    def intend(
        self, question: bytes, provider: str, attempt: int, order_no: str, content: bytes | None
    ) -> tuple[bytes, int | None]:
        """As `Calls.announce`.

        Raises:
            AlreadySettled: the question has its final row.  BudgetSpent, MoneyOnTheWay: see there.
        """
        if self._sql.execute("SELECT 1 FROM answers WHERE question = ?", (question,)).fetchone():
            raise AlreadySettled(f"question {question.hex()} is settled: it must not be asked again")
        return self.calls.announce(question, provider, attempt, order_no, content)

    def settle(self, row: Settled) -> bool:
        """Whether this row is the question's; the first one stays, whatever comes later."""
        known = self._sql.execute("SELECT 1 FROM answers WHERE question = ?", (row.question,))
        if known.fetchone():
            return False
        spent = self.calls.end(row.question, is_final=row.outcome.is_final)
        seq = self._sql.execute(
            "INSERT INTO bodies (provider, body) VALUES (?, ?)", (row.provider, row.body)
        ).lastrowid
        self._sql.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?, NULL)",
            (row.question, row.provider, row.outcome, seq),
        )
        self._book(row.provider, row.outcome, row.billed, spent, row.throttled, row.cost)
        return True

    def assign_part(self, provider: Provider, max_rows: int, min_rows: int, above: int) -> Part | None:
        """The part to write next: one left unfinished, else a new one of the oldest free answers.

        None when fewer than `min_rows` are free. A new part's number is greater than `above` and
        than that of any part the ledger knows.
        """
        columns = "number, first_seq, last_seq, row_count"
        unfinished = self._sql.execute(
            f"SELECT {columns} FROM parts WHERE provider = ? AND NOT published",  # noqa: S608
            (provider,),
        ).fetchone()
        if unfinished:
            return Part(self.run_id, provider, *unfinished)
        last_number, last_seq = self._sql.execute(
            "SELECT coalesce(max(number), 0), coalesce(max(last_seq), 0) FROM parts WHERE provider = ?",
            (provider,),
        ).fetchone()
        row_count, first, last = self._sql.execute(
            "SELECT count(*), min(seq), max(seq) FROM (SELECT seq FROM bodies "
            "WHERE provider = ? AND seq > ? ORDER BY seq LIMIT ?)",
            (provider, last_seq, max_rows),
        ).fetchone()
        if row_count < max(min_rows, 1):
            return None
        part = (max(last_number, above) + 1, first, last, row_count)
        self._sql.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?, 0)", (provider, *part))
        return Part(self.run_id, provider, *part)

    def mark_published(self, part: Part) -> None:
        """The part is in its place; its answers' bodies may go."""
        self._sql.execute(
            "UPDATE parts SET published = 1 WHERE provider = ? AND number = ?",
            (part.provider, part.number),
        )

    def prune(self, provider: Provider, max_rows: int) -> int:
        """Drop at most so many bodies that published parts hold; how many were dropped."""
        return self._sql.execute(
            "DELETE FROM bodies WHERE seq IN (SELECT seq FROM bodies WHERE provider = ? AND seq <= "
            "(SELECT max(last_seq) FROM parts WHERE provider = ? AND published) "
            "ORDER BY seq LIMIT ?)",
            (provider, provider, max_rows),
        ).rowcount

    def take_back_part(self, provider: Provider, there: Collection[int]) -> None:
        """A part that was assigned and is not among those `there` is assigned no more.

        Only where another journal has gone on with the questions since: its rows come first.
        """
        marks = ",".join(map(str, there))
        self._sql.execute(
            f"DELETE FROM parts WHERE provider = ? AND NOT published AND number NOT IN ({marks})",  # noqa: S608
            (provider,),
        )

    def restore(self, provider: Provider, number: int, rows: Sequence[PublishedRow]) -> int:
        """Take over the rows of a published part this ledger does not know; how many were new.

        A question that was answered here too, and its answer never published, was asked twice: what is
        published is its answer, and both calls count.
        """
        new = 0
        for row in rows:
            is_new = self._sql.execute(
                "INSERT INTO answers VALUES (?, ?, ?, NULL, ?) ON CONFLICT DO NOTHING",
                (row.question, provider, row.outcome, number),
            ).rowcount
            if not is_new and not self._withdraw_answer(provider, row, number):
                continue
            new += is_new
            self.calls.allowance.add(provider, row.spent)
            self._book(provider, row.outcome, row.billed, row.spent, row.throttled, row.cost)
            if row.content is not None and row.outcome in (Outcome.SCORED, Outcome.REFUSED):
                self._sql.execute(
                    "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (provider, row.content, row.question),
                )
        return new

    def restored(self, provider: Provider, number: int, row_count: int) -> None:
        """All rows of a foreign part are taken over; its number is used up."""
        self._sql.execute(
            "INSERT INTO parts VALUES (?, ?, 0, 0, ?, 1) ON CONFLICT DO NOTHING",
            (provider, number, row_count),
        )

    def _withdraw_answer(self, provider: Provider, row: PublishedRow, number: int) -> bool:
        """The question's answer is the published one, in the place of one here that no part holds, if any."""
        found = self._sql.execute(
            "SELECT seq, outcome, body FROM answers JOIN bodies USING (seq) WHERE question = ? AND seq > "
            "(SELECT coalesce(max(last_seq), 0) FROM parts WHERE parts.provider = ?)",
            (row.question, provider),
        ).fetchone()
        if found is None:
            return False
        seq, outcome, body = found
        self._sql.execute(
            "UPDATE books SET questions = questions - 1 WHERE provider = ? AND outcome = ? AND billed = ?",
            (provider, outcome, Billed(from_bytes(body).billed)),
        )
        self._sql.execute("DELETE FROM bodies WHERE seq = ?", (seq,))
        self._sql.execute(
            "UPDATE answers SET outcome = ?, seq = NULL, part = ? WHERE question = ?",
            (row.outcome, number, row.question),
        )
        return True

    def _book(
        self,
        provider: str,
        outcome: Outcome,
        billed: str,
        spent: Spent,
        throttled: int,
        cost: float | None,
    ) -> None:
        self._sql.execute(
            "INSERT INTO books VALUES (?, ?, ?, 1, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET questions = questions + 1, calls = calls + excluded.calls, "
            "charged = charged + excluded.charged, throttled = throttled + excluded.throttled, "
            "cost = CASE WHEN excluded.cost IS NULL THEN cost ELSE coalesce(cost, 0) + excluded.cost END",
            (provider, outcome, billed, spent.calls, spent.charged, throttled, cost),
        )
