"""The journal: what was asked and what was answered, on disk before anybody acts on it.

Callers are coroutines of one event loop; `group_commit` writes for them, a connection that cannot
write reads for them.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from domain.budgets import Budget, Spending
from domain.errors import BudgetSpent
from domain.verdicts import Billed, Outcome, Provider, Verdict
from tasks.records import queries
from tasks.records.allowance import MoneyOnTheWay, Spent
from tasks.records.balance import Tally
from tasks.records.encoding import to_bytes
from tasks.records.group_commit import GroupCommit, JournalFailed
from tasks.records.layout import open_reader
from tasks.records.ledger import Ledger, Part, PublishedRow, Settled
from tasks.records.waiting import Waiting

__all__ = ["Journal", "JournalFailed"]

WINDOW_S = 0.02  # a call takes 150 ms and more: 20 ms is not felt, and shares a commit well
BATCH = 256  # a full batch does not wait for the window
PRUNED_AT_ONCE = 2000  # bodies dropped in one commit, so that answers do not wait behind the broom

NO_BUDGET = Budget()
NO_PRICES: Mapping[Provider, float] = {}

MONEY = b""  # where those wait who may call once money comes back; no question has this id

T = TypeVar("T")


class Journal:
    """One run's journal. `async with Journal(path, run_id) as journal`, in one event loop.

    What has returned is on disk (SQLite, WAL, synchronous=FULL) and survives kill -9 and power
    loss. Once the disk fails, every waiting caller gets `JournalFailed`, and so does every later
    one at once. Hold the run's `RunLock` around it: a journal has one writing process.

    `budget` bounds the calls announced over the file's whole life, `prices` is what a call costs; with
    a budget of money each provider needs a price.

    Raises:
        UsageError: on entering: the file is damaged, foreign or another run's; names the file.
    """

    def __init__(
        self,
        path: Path,
        run_id: str,
        budget: Budget = NO_BUDGET,
        prices: Mapping[Provider, float] = NO_PRICES,
        *,
        window_s: float = WINDOW_S,
        batch: int = BATCH,
    ) -> None:
        self.path, self.run_id = path, run_id
        self._budget, self._prices = budget, prices
        self._window_s, self._batch = window_s, batch
        self._waiting = Waiting()

    async def __aenter__(self) -> Self:
        self._ledger = await asyncio.to_thread(Ledger, self.path, self.run_id, self._budget, self._prices)
        try:
            self._reader = open_reader(self.path, self.run_id)
        except BaseException:
            self._ledger.close()
            raise
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self._commits = GroupCommit(
            self._ledger, self._window_s, self._batch, self._wake, self._waiting.wake_all
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.wake_all(JournalFailed(f"the journal {self.path} was closed"))
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._commits.close()
        self._reading.shutdown()
        self._reader.close()
        self._ledger.close()

    @property
    def spending(self) -> Spending:
        """What is spent of the budget now; costs nothing."""
        return self._ledger.calls.allowance.spending

    def shortage(self, provider: Provider) -> BudgetSpent | MoneyOnTheWay | None:
        """Why no call to this provider may be announced now; None when one may."""
        return self._ledger.calls.allowance.shortage(provider)

    async def catch_up(self, known: Mapping[Provider, Spent], unsaved: Mapping[Provider, int]) -> None:
        """Count what the run is `known` to have spent elsewhere; `unsaved` calls too if this file is new."""
        await self._commits.put(lambda ledger: ledger.calls.catch_up(known, unsaved))

    async def intend(
        self,
        question_id: str,
        provider: Provider,
        attempt: int,
        order_no: str,
        content_sha256: str | None,
    ) -> str:
        """The call is announced, on disk, and may be made if the returned id is `question_id`.

        Another id is the question that asks this provider about the very same content: make no
        call, wait for its `end_of` and repeat its answer. Content None is never shared. A caller
        that is cancelled while it waits here has announced nothing. Where calls on the way hold the
        last of the money, it waits for them.

        Raises:
            AlreadySettled: the question has its final row.
            BudgetSpent: the budget has no room for this call.  JournalFailed: make no call.
        """
        question = _question(question_id)
        content = None if content_sha256 is None else bytes.fromhex(content_sha256)
        announced: list[int] = []

        def announce(ledger: Ledger) -> str:
            owner, seq = ledger.intend(question, provider.value, attempt, order_no, content)
            if seq is not None:
                announced.append(seq)
            return owner.hex()

        def take_back(ledger: Ledger) -> None:
            for seq in announced:
                ledger.calls.cancel(seq)

        owner: str
        try:
            try:
                owner = await self._commits.put(announce)
            except MoneyOnTheWay:
                owner = await self._once_money_is_back(announce)
        except asyncio.CancelledError:
            with contextlib.suppress(JournalFailed):  # then the call stays, in doubt
                self._commits.put(take_back, question).cancel()
            raise
        return owner

    async def _once_money_is_back(self, announce: Callable[[Ledger], str]) -> str:
        while True:
            with self._waiting.at(MONEY) as back:
                try:
                    owner: str = await self._commits.put(announce)
                except MoneyOnTheWay:
                    await back
                else:
                    return owner

    def come_home(self, question_id: str, *, is_free: bool) -> None:
        """The question's call ended without an answer; `is_free`: it is known not to be billed.

        Not on disk when it returns: should that be lost, the call counts as one that may be billed.
        """
        question = _question(question_id)
        with contextlib.suppress(JournalFailed):  # whoever goes on with the question will hear of it
            self._commits.put(lambda ledger: ledger.calls.come_home(question, is_free)).add_done_callback(
                self._money_may_be_back
            )

    def _money_may_be_back(self, done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and done.exception() is None:
            self._waiting.wake(MONEY)

    async def settle(self, verdict: Verdict) -> bool:
        """The verdict is on disk; False if the question had one already, which then stays.

        A caller that is cancelled while it waits here has still settled. An outcome that is not
        final passes the question's content claim on.

        Raises:
            ValueError: the verdict is another run's.  JournalFailed: it may not be on disk.
        """
        if verdict.run_id != self.run_id:
            raise ValueError(f"a verdict of run {verdict.run_id} is not for {self.run_id}")
        question = _question(verdict.question_id)
        row = Settled(
            question=question,
            provider=Provider(verdict.provider).value,
            outcome=Outcome(verdict.outcome),
            billed=Billed(verdict.billed).value,
            throttled=verdict.throttled,
            cost=verdict.cost,
            body=to_bytes(verdict),
        )
        # No await before this line: an answer in hand must not be lost to a cancellation.
        kept: bool = await self._commits.put(lambda ledger: ledger.settle(row), question)
        return kept

    async def release(self, question_id: str, *, in_doubt: bool, never_left: int = 0) -> None:
        """The question ends here without an answer: another one with its content may ask.

        To be called by whoever announced a call and gives up before settling. With `in_doubt` its
        calls may have been billed; without, they are known not to be (the provider turned them
        away): they count as made, not as in doubt. The last `never_left` calls were announced only:
        they count as nothing. Done even if its caller is cancelled.
        """
        question = _question(question_id)
        await self._commits.put(lambda ledger: ledger.calls.release(question, in_doubt, never_left), question)

    async def end_of(self, question_id: str) -> bool:
        """Waits for a question that holds a claim: True once its final answer can be repeated.

        False when it ended without one, or was given up: announce your own call again, which may
        name yet another owner.

        Raises:
            JournalFailed: also when the journal is closed meanwhile.
        """
        question = _question(question_id)
        with self._waiting.at(question) as ended:
            known = await self._read(partial(queries.standing, question=question))
            if known is queries.Standing.ASKING:
                await ended
                known = await self._read(partial(queries.standing, question=question))
            return known is queries.Standing.ANSWERED

    async def in_doubt(self) -> AsyncIterator[queries.Call]:
        """Announced calls without a settled answer, oldest first: those that may be billed twice.

        Read at the start of a process these are what a crash left; later also what is in flight.
        """
        seq = 0
        while calls := await self._read(partial(queries.calls_after, seq=seq)):
            for call in calls:
                yield call
            seq = calls[-1].seq

    async def in_doubt_among(self, question_ids: Iterable[str], most_of_each_process: int) -> dict[str, int]:
        """Those of the questions with an announced call and no settled answer: how many may be billed.

        Of each process that asked, no more than the given number counts: it left no more in doubt.
        """
        questions = [_question(each) for each in question_ids]
        most = most_of_each_process
        return await self._read(
            partial(queries.in_doubt_among, questions=questions, most_of_each_process=most)
        )

    async def settled_among(self, question_ids: Iterable[str]) -> set[str]:
        """Those of the questions that have their final row in this run."""
        questions = [_question(each) for each in question_ids]
        return await self._read(partial(queries.settled_among, questions=questions))

    async def answer_of(self, question_id: str) -> Verdict | queries.PublishedIn | None:
        """The answer, or the part it was published in, or None; `parts.answer_of` looks in both."""
        return await self._read(partial(queries.answer_of, question=_question(question_id)))

    async def tallies(self) -> dict[Provider, Tally]:
        """Counts by provider and outcome; cheap at any time."""
        return await self._read(queries.tallies)

    async def unpublished(self, provider: Provider) -> queries.Unpublished:
        """Settled rows that no part holds yet; takes as long as it takes to count them."""
        return await self._read(partial(queries.unpublished, provider=provider))

    async def known_parts(self, provider: Provider) -> set[int]:
        """Numbers of the parts this journal assigned or took over."""
        return await self._read(partial(queries.known_parts, provider=provider))

    async def written_parts(self, provider: Provider) -> set[int]:
        """Numbers of the parts this journal assigned itself."""
        return await self._read(partial(queries.written_parts, provider=provider))

    async def assign_part(
        self, provider: Provider, *, max_rows: int, min_rows: int = 1, above: int = 0
    ) -> Part | None:
        """The part to write next, the same one again until it is marked; None if too few rows."""
        part: Part | None = await self._commits.put(
            lambda ledger: ledger.assign_part(provider, max_rows, min_rows, above)
        )
        return part

    async def mark_published(self, part: Part) -> None:
        """The part is in its place and will never be written again."""
        await self._commits.put(lambda ledger: ledger.mark_published(part))

    async def prune(self, provider: Provider) -> None:
        """The bodies that published parts hold are gone; identities and outcomes stay."""
        while await self._commits.put(lambda ledger: ledger.prune(provider, PRUNED_AT_ONCE)):
            pass

    async def take_back_part(self, provider: Provider, there: Collection[int]) -> None:
        """A part that is assigned and not `there` is assigned no more: another journal has gone on."""
        await self._commits.put(lambda ledger: ledger.take_back_part(provider, there))

    async def restore(self, provider: Provider, number: int, rows: Sequence[PublishedRow]) -> int:
        """Take over rows of a published part this journal does not know; how many were new."""
        new: int = await self._commits.put(lambda ledger: ledger.restore(provider, number, rows))
        return new

    async def mark_restored(self, provider: Provider, number: int, row_count: int) -> None:
        """All rows of that part are taken over."""
        await self._commits.put(lambda ledger: ledger.restored(provider, number, row_count))

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._commits.check()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reading, query, self._reader)
        except (sqlite3.Error, ValueError) as error:
            raise JournalFailed(f"the journal {self.path} cannot be read: {error}") from None

    def _wake(self, question: bytes) -> None:
        self._waiting.wake(question)
        self._waiting.wake(MONEY)


def _question(question_id: str) -> bytes:
    question = bytes.fromhex(question_id)
    if question.hex() != question_id:
        raise ValueError(f"a question id is lower-case hex digits, not {question_id!r}")
    return question
