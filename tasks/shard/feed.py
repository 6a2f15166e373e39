"""The questions of a shard that have no answer yet, a batch at a time."""

import asyncio
from collections import deque
from collections.abc import Iterator

from domain.questions import Question
from tasks.pacing.retry import RetryPolicy
from tasks.records.journal import Journal


class Feed:
    """Hands a shard's open questions to its trips in visiting order; never holds more than a batch.

    What this run has settled already is left out. With each question comes how many of its calls earlier
    processes left without an answer: those may have been billed.
    """

    def __init__(self, batches: Iterator[list[Question]], journal: Journal, policy: RetryPolicy) -> None:
        self._batches = batches
        self._journal = journal
        self._in_doubt_attempts = policy.in_doubt_attempts
        self._ready: deque[tuple[Question, int]] = deque()
        self._refilling = asyncio.Lock()
        self._is_over = False

    async def next(self) -> tuple[Question, int] | None:
        """The next open question and how many calls of it are in doubt; None when all are taken."""
        if not self._ready:
            async with self._refilling:
                while not self._ready and not self._is_over:
                    await self._refill()
        return self._ready.popleft() if self._ready else None

    async def _refill(self) -> None:
        batch = await asyncio.to_thread(next, self._batches, None)
        if batch is None:
            self._is_over = True
            return
        ids = [question.question_id for question in batch]
        settled = await self._journal.settled_among(ids)
        in_doubt = await self._journal.in_doubt_among(ids, self._in_doubt_attempts)
        self._ready.extend(
            (question, in_doubt.get(question.question_id, 0))
            for question in batch
            if question.question_id not in settled
        )
