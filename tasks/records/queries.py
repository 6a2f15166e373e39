"""What may be asked of a journal file, by connections that cannot write to it.

Every query that can be long goes in slices by key, so that memory stays flat and no long read keeps
SQLite from folding its write-ahead log.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from domain.errors import UsageError
from domain.verdicts import Billed, Outcome, Provider, Verdict
from tasks.records.allowance import spent_by
from tasks.records.balance import Tally
from tasks.records.encoding import from_bytes
from tasks.records.layout import NeverBegan, open_reader, refusal
from tasks.records.ledger import Part

SLICE = 500  # parameters of one IN list, and rows of one slice


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was announced and whose question is not settled."""

    seq: int
    question_id: str
    provider: Provider
    attempt: int
    order_no: str
    content_sha256: str | None
    intended_at: datetime


@dataclass(frozen=True, slots=True)
class PublishedIn:
    """The answer left the journal: it is in this part."""

    provider: Provider
    number: int


class Standing(Enum):
    """Whether somebody else may rely on a question's answer."""

    ANSWERED = "answered"  # with a final outcome
    ASKING = "asking"  # it holds the claim on its content
    FREE = "free"  # neither: whoever has the content may ask


def read_tallies(path: Path) -> dict[Provider, Tally]:
    """The counts of a run's journal, from any process, also while the run goes on.

    Raises:
        UsageError: there is no journal, or it is out of reach, damaged or foreign; names the file.
    """
    try:
        sql = open_reader(path)
    except NeverBegan:
        return {}
    try:
        return tallies(sql)
    except sqlite3.Error as error:
        raise refusal(path, error) from None
    finally:
        sql.close()


def read_answers(path: Path, slice_rows: int = 2000) -> Iterator[list[Verdict]]:
    """The verdicts a run's journal still holds, a slice at a time; for any process, also while the run works.

    Those that no part holds yet are among them; so are some that were published a moment ago. Whoever reads
    parts as well reads these first: a row that is published meanwhile is then seen twice, never missed.

    Raises:
        UsageError: there is no journal, or it is damaged or foreign; names the file.
    """
    try:
        sql = open_reader(path)
    except NeverBegan:
        return
    seq = 0
    try:
        while rows := sql.execute(
            "SELECT seq, body FROM bodies WHERE seq > ? ORDER BY seq LIMIT ?", (seq, slice_rows)
        ).fetchall():
            yield [from_bytes(body) for _, body in rows]
            seq = rows[-1][0]
    except sqlite3.Error as error:
        raise refusal(path, error) from None
    except ValueError as error:
        raise UsageError(f"the journal {path} cannot be read: {error}") from None
    finally:
        sql.close()


def tallies(sql: sqlite3.Connection) -> dict[Provider, Tally]:
    """Counts by provider, from the running sums: as cheap at the end of a run as at its start."""
    sql.execute("BEGIN")  # the three sums of one moment
    try:
        open_calls = dict(sql.execute("SELECT provider, count(*) FROM calls GROUP BY 1").fetchall())
        spent = spent_by(sql)
        books = sql.execute(
            "SELECT provider, outcome, billed, questions, throttled, cost FROM books"
        ).fetchall()
    finally:
        sql.execute("COMMIT")
    found: dict[Provider, Tally] = {}
    for provider in Provider:
        own = [row[1:] for row in books if row[0] == provider]
        if not own and provider not in spent:
            continue
        outcomes: dict[Outcome, int] = {}
        billed: dict[Billed, int] = {}
        for outcome, bill, questions, *_ in own:
            outcomes[Outcome(outcome)] = outcomes.get(Outcome(outcome), 0) + questions
            billed[Billed(bill)] = billed.get(Billed(bill), 0) + questions
        costs = [row[4] for row in own if row[4] is not None]
        found[provider] = Tally(
            outcomes=outcomes,
            billed=billed,
            calls=spent[provider].calls,
            charged=spent[provider].charged,
            open_calls=open_calls.get(provider, 0),
            throttled=sum(row[3] for row in own),
            cost=sum(costs) if costs else None,
        )
    return found


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Settled rows that no part holds yet."""

    rows: int
    oldest_at: datetime | None  # when the oldest of them was settled


def unpublished(sql: sqlite3.Connection, provider: Provider) -> Unpublished:
    """What a lost disk would lose now.

    Raises:
        ValueError: a stored answer is damaged.
    """
    waiting = (
        "FROM bodies WHERE provider = :provider AND seq > "
        "(SELECT coalesce(max(last_seq), 0) FROM parts WHERE provider = :provider AND published)"
    )
    (rows,) = sql.execute(f"SELECT count(*) {waiting}", {"provider": provider}).fetchone()
    oldest = sql.execute(f"SELECT body {waiting} ORDER BY seq LIMIT 1", {"provider": provider}).fetchone()
    return Unpublished(rows, None if oldest is None else from_bytes(oldest[0]).settled_at)


def settled_among(sql: sqlite3.Connection, questions: Sequence[bytes]) -> set[str]:
    """Those of the questions that have their final row."""
    return {question for question, _ in _among(sql, "answers WHERE", questions)}


def in_doubt_among(
    sql: sqlite3.Connection, questions: Sequence[bytes], most_of_each_process: int
) -> dict[str, int]:
    """Those of the questions with announced calls and no final row: how many may be billed at most.

    Each process numbers its calls of a question from 1 and leaves no more than so many in doubt: the
    others were turned away.
    """
    calls = f"calls WHERE attempt <= {most_of_each_process:d} AND"
    return dict(_among(sql, calls, questions))


def _among(sql: sqlite3.Connection, rows: str, questions: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    """Each of the questions that such rows have, and how many."""
    for start in range(0, len(questions), SLICE):
        some = questions[start : start + SLICE]
        marks = ",".join("?" * len(some))
        query = f"SELECT question, count(*) FROM {rows} question IN ({marks}) GROUP BY 1"  # noqa: S608
        for question, count in sql.execute(query, some):
            yield question.hex(), count


def calls_after(sql: sqlite3.Connection, seq: int) -> list[Call]:
    """The next slice of calls in doubt, in the order they were announced."""
    rows = sql.execute(
        "SELECT seq, question, provider, attempt, order_no, content, intended_at FROM calls "
        "WHERE seq > ? ORDER BY seq LIMIT ?",
        (seq, SLICE),
    ).fetchall()
    return [
        Call(
            seq=seq,
            question_id=question.hex(),
            provider=Provider(provider),
            attempt=attempt,
            order_no=order_no,
            content_sha256=None if content is None else content.hex(),
            intended_at=datetime.fromisoformat(intended_at),
        )
        for seq, question, provider, attempt, order_no, content, intended_at in rows
    ]


def standing(sql: sqlite3.Connection, question: bytes) -> Standing:
    """Whether the question is answered, being asked, or neither."""
    # One statement, so that a commit cannot come between its halves.
    outcome, calls = sql.execute(
        "SELECT (SELECT outcome FROM answers WHERE question = :question), (SELECT count(*) FROM "
        "calls JOIN claims USING (provider, content, question) WHERE question = :question)",
        {"question": question},
    ).fetchone()
    if outcome is not None and Outcome(outcome).is_final:
        return Standing.ANSWERED
    return Standing.ASKING if calls else Standing.FREE


def answer_of(sql: sqlite3.Connection, question: bytes) -> Verdict | PublishedIn | None:
    """The question's answer, or the part that holds it, or None while it is not settled.

    Raises:
        ValueError: the stored answer is damaged.
    """
    # One statement, so that pruning cannot come between looking for the body and for the part.
    row = sql.execute(
        "SELECT provider, part, body, (SELECT number FROM parts WHERE parts.provider = "
        "answers.provider AND answers.seq BETWEEN first_seq AND last_seq) "
        "FROM answers LEFT JOIN (SELECT seq, body FROM bodies) USING (seq) WHERE question = ?",
        (question,),
    ).fetchone()
    if row is None:
        return None
    provider, restored_from, body, published_in = row
    if body is not None:
        return from_bytes(body)
    return PublishedIn(Provider(provider), restored_from or published_in)


def known_parts(sql: sqlite3.Connection, provider: Provider) -> set[int]:
    """Numbers of the parts this journal assigned or took over."""
    rows = sql.execute("SELECT number FROM parts WHERE provider = ?", (provider,))
    return {number for (number,) in rows}


def written_parts(sql: sqlite3.Connection, provider: Provider) -> set[int]:
    """Numbers of the parts this journal assigned itself."""
    rows = sql.execute("SELECT number FROM parts WHERE provider = ? AND first_seq > 0", (provider,))
    return {number for (number,) in rows}


def rows_of(sql: sqlite3.Connection, part: Part, slice_rows: int = 2000) -> Iterator[list[Verdict]]:
    """The part's verdicts in the order they were settled, a slice at a time.

    Raises:
        ValueError: a stored answer is damaged.
    """
    seq = part.first_seq - 1
    while True:
        rows = sql.execute(
            "SELECT seq, body FROM bodies WHERE provider = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (part.provider, seq, part.last_seq, slice_rows),
        ).fetchall()
        if not rows:
            return
        yield [from_bytes(body) for _, body in rows]
        seq = rows[-1][0]
