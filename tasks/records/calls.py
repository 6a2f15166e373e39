"""Announced calls in the journal file: who claims which content, and what the run may still spend.

Part of a `Ledger`: every method runs inside its transaction, checks before it writes, and keeps the
allowance in step with the rows.
"""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime

from domain.budgets import Budget
from domain.verdicts import Provider
from tasks.records.allowance import Allowance, Spent, spent_by

NOTHING = Spent(0, 0)


class Calls:
    """The calls of one run that are announced and whose questions are not settled.

    Claims of such questions are dropped when it opens: whoever made them is gone. Their calls stay, in
    doubt. Whatever it opens after, calls and their prices stay within `budget`: a call is counted in the
    transaction that announces it.
    """

    def __init__(self, sql: sqlite3.Connection, budget: Budget, prices: Mapping[Provider, float]) -> None:
        self._sql = sql
        sql.execute(
            "DELETE FROM claims WHERE (provider, content, question) IN "
            "(SELECT provider, content, question FROM calls)"
        )
        self.allowance = Allowance(budget, prices, spent_by(sql))

    def announce(
        self, question: bytes, provider: str, attempt: int, order_no: str, content: bytes | None
    ) -> tuple[bytes, int | None]:
        """The question that asks about this content, and the call's number when it is this one.

        Raises:
            BudgetSpent: the budget has no room for one more call.
            MoneyOnTheWay: it may have, once a call on the way has come home.
        """
        if shortage := self.allowance.shortage(provider):
            owner = self._owner(provider, content)
            if owner in (None, question):
                raise shortage
            return owner, None
        if content is not None:
            claim = (provider, content, question)
            if not self._sql.execute(
                "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT DO NOTHING", claim
            ).rowcount:
                owner = self._owner(provider, content)
                if owner is not None and owner != question:
                    return owner, None
        now = datetime.now(UTC).isoformat()
        seq = self._sql.execute(
            "INSERT INTO calls (question, provider, attempt, order_no, content, intended_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (question, provider, attempt, order_no, content, now),
        ).lastrowid
        self.allowance.reserve(question, provider)
        return question, seq

    def come_home(self, question: bytes, is_free: bool) -> None:
        """The question's latest call ended without an answer; `is_free`: it is known not to be billed."""
        self.allowance.come_home(question)
        if is_free:
            for (provider,) in self._sql.execute(
                "UPDATE calls SET free = 1 WHERE seq = (SELECT max(seq) FROM calls WHERE question = ?) "
                "AND NOT free RETURNING provider",
                (question,),
            ).fetchall():
                self.allowance.turned_away(provider, 1)

    def end(self, question: bytes, *, is_final: bool) -> Spent:
        """The question has its row: what its calls have used up. With a final one it keeps its claim."""
        if not is_final:
            self._drop_claims(question)
        self.allowance.come_home(question)
        taken = self._sql.execute(
            "DELETE FROM calls WHERE question = ? RETURNING free", (question,)
        ).fetchall()
        return Spent(len(taken), taken.count((0,)))

    def release(self, question: bytes, in_doubt: bool, never_left: int) -> None:
        """Pass the question's claim on; unless in doubt, its calls are known not to be billed.

        The last `never_left` of its calls were announced and not made: they are forgotten.
        """
        self._drop_claims(question)
        self.allowance.come_home(question)
        latest = "seq IN (SELECT seq FROM calls WHERE question = ? ORDER BY seq DESC LIMIT ?)"
        for provider, spent in self._take(latest, (question, never_left)).items():
            self.allowance.forget(provider, spent)
        if not in_doubt:
            for provider, spent in self._take("question = ?", (question,)).items():
                self.allowance.turned_away(provider, spent.charged)
                self._withdraw(provider, Spent(spent.calls, 0))

    def cancel(self, seq: int) -> None:
        """Forget a call whose caller went away before it could leave; it counts as never made."""
        found = self._sql.execute("SELECT question FROM calls WHERE seq = ?", (seq,)).fetchone()
        if found:
            self._drop_claims(found[0])
            self.allowance.come_home(found[0])
            for provider, spent in self._take("seq = ?", (seq,)).items():
                self.allowance.forget(provider, spent)

    def catch_up(self, known: Mapping[Provider, Spent], unsaved: Mapping[Provider, int]) -> None:
        """Count what the run is `known` to have spent and no row here accounts for.

        For a run that went on elsewhere, or goes on without its first journal. `unsaved` are calls that what
        is known may lack; they count once in a journal's life, before its first call.
        """
        is_new = self._sql.execute("UPDATE identity SET begun = 1 WHERE NOT begun").rowcount
        here = spent_by(self._sql)
        for provider, spent in known.items():
            more = unsaved.get(provider, 0) if is_new else 0
            own = here.get(provider, NOTHING)
            missing = Spent(
                max(spent.calls + more - own.calls, 0), max(spent.charged + more - own.charged, 0)
            )
            if missing != NOTHING:
                self._withdraw(provider, missing)
                self.allowance.add(provider, missing)

    def _owner(self, provider: str, content: bytes | None) -> bytes | None:
        """The question that asks about this content, if any does."""
        found = self._sql.execute(
            "SELECT question FROM claims WHERE provider = ? AND content = ?", (provider, content)
        ).fetchone()
        return None if found is None else found[0]

    def _drop_claims(self, question: bytes) -> None:
        self._sql.execute(
            "DELETE FROM claims WHERE question = ? AND (provider, content) IN "
            "(SELECT provider, content FROM calls WHERE question = ?)",
            (question, question),
        )

    def _take(self, which: str, values: tuple[object, ...]) -> dict[str, Spent]:
        """Delete announced calls; how many there were of each provider, and how many of them charged."""
        taken: dict[str, Spent] = {}
        for provider, is_free in self._sql.execute(
            f"DELETE FROM calls WHERE {which} RETURNING provider, free",  # noqa: S608
            values,
        ).fetchall():
            spent = taken.get(provider, NOTHING)
            taken[provider] = Spent(spent.calls + 1, spent.charged + (not is_free))
        return taken

    def _withdraw(self, provider: str, spent: Spent) -> None:
        self._sql.execute(
            "INSERT INTO withdrawn VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "calls = calls + excluded.calls, charged = charged + excluded.charged",
            (provider, spent.calls, spent.charged),
        )
