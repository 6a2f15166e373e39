"""Asking about one object: announced, paced and sent, by one delivery or about one segment after another."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from domain.errors import FacesweepError, ProviderError, Refused, Unavailable, Unreadable
from domain.questions import Question
from domain.verdicts import Answer, Outcome, Verdict
from tasks.pacing.retry import Tries
from tasks.pacing.settle import Settled, settle
from tasks.providers.detector import ComposedRequest, new_order_no
from tasks.records import parts
from tasks.records.journal import JournalFailed
from tasks.shard import row
from tasks.shard.line import Line
from tasks.shard.memory import Slot


@dataclass(slots=True)
class Asking:
    """One question being asked; what it costs adds up over deliveries and segments.

    Raises, whoever is asked: what ended the run; the question stays pending.
    """

    line: Line
    question: Question
    slot: Slot  # given back as soon as the first call leaves
    was_in_doubt: bool  # calls of earlier processes have no answer
    tries: Tries = field(default_factory=Tries)
    settled: int = 0  # of its segments
    settled_attempts: int = 0  # what those took: each segment has the policy's attempts for itself

    async def ask(
        self, sent: row.Sent, request_of: Callable[[], Awaitable[ComposedRequest]]
    ) -> tuple[Verdict, ProviderError | None]:
        """The row, and what kept it from holding an answer."""
        verdict, end = await _ask(self, sent, request_of)
        return verdict, None if end is None else end.error

    async def about_each(self, requests: Sequence[tuple[row.Sent, ComposedRequest]]) -> Verdict:
        """The row of all segments, a call after the other: that of the worst.

        Where the run ends in between, what is answered makes the row: it has been paid for.
        """
        verdicts: list[Verdict] = []
        for sent, request in requests:
            try:
                found, _ = await self.ask(sent, _always(request))
            except FacesweepError:
                if not any(each.outcome == Outcome.SCORED for each in verdicts):
                    raise
                break
            if found.reused_from is not None:  # another question has asked about the same bytes
                return found
            verdicts.append(found)
            self.settled, self.settled_attempts = len(verdicts), self.tries.attempts
        return row.worst_of(self.line, verdicts, len(requests), self.tries)


def _always(request: ComposedRequest) -> Callable[[], Awaitable[ComposedRequest]]:
    async def same_each_time() -> ComposedRequest:
        return request

    return same_each_time


async def _ask(
    asking: Asking, sent: row.Sent, request_of: Callable[[], Awaitable[ComposedRequest]]
) -> tuple[Verdict, Settled | None]:
    line, question, tries, slot = asking.line, asking.question, asking.tries, asking.slot
    policy = replace(line.policy, attempts=line.policy.attempts + asking.settled_attempts)

    async def announce(call_number: int) -> str:
        """Make the coming call durable, unless the same bytes are being asked about already."""
        order_no = new_order_no(time.time())
        owner = await line.journal.intend(
            question.question_id, line.provider, call_number, order_no, sent.content_sha256
        )
        if owner != question.question_id:
            raise _AskedBy(owner)
        return order_no

    async def _request() -> ComposedRequest:
        try:
            return await request_of()
        except Unreadable as error:
            raise Unavailable(line.provider, error.code, "no url of the object can be signed") from None

    async def ask(order_no: str) -> Answer:
        slot.release()
        line.in_flight += 1
        try:
            answer = await line.detector.ask(await _request(), order_no)
        except ProviderError as error:
            may_be_billed = isinstance(error, Unavailable) and error.in_doubt
            line.journal.come_home(question.question_id, is_free=not may_be_billed)
            if isinstance(error, Refused):
                await line.accept(line.provider, line.detector.simulated)
            raise
        finally:
            line.in_flight -= 1
        await line.accept(line.provider, line.detector.simulated)
        return answer

    while True:
        try:
            end = await settle(line.lane, policy, announce, ask, tries)
        except _AskedBy as copy:
            if await line.journal.end_of(copy.owner):
                original = await parts.answer_of(line.journal, line.home, copy.owner)
                if original is not None:
                    return row.repeated(line, question, original), None
        except Exception as error:  # denied, stopped, spent, or unforeseen: the question stays pending
            is_foreseen = isinstance(error, FacesweepError)  # else a call that left may have been billed
            with contextlib.suppress(JournalFailed):
                await line.journal.release(
                    question.question_id,
                    in_doubt=bool(tries.in_doubt or asking.was_in_doubt or asking.settled or not is_foreseen),
                    never_left=tries.announced - tries.left,
                )
            raise
        else:
            return row.settled(line, question, sent, end), end


class _AskedBy(FacesweepError):
    """Another question of this run asks about the same bytes."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner
