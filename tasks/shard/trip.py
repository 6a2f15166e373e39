"""One object's trip: fetch, prepare, announce, pace, ask, record."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

from domain.errors import (
    BudgetSpent,
    Denied,
    FacesweepError,
    ProviderError,
    Refused,
    Stopped,
    StoreDenied,
    Unavailable,
    Unfit,
    Unreadable,
)
from domain.questions import Question
from domain.verdicts import Answer, Outcome, Verdict
from tasks.buckets.refusals import WHOLE_BUCKET_CODES
from tasks.media.prepare import prepare
from tasks.pacing.retry import Tries
from tasks.pacing.settle import settle
from tasks.providers.detector import ComposedRequest, new_order_no
from tasks.records import parts
from tasks.records.journal import JournalFailed
from tasks.shard import row
from tasks.shard.line import Line
from tasks.shard.memory import Slot

MOST_FETCHED_BYTES = 64 * 1024**2
"""The largest object fetched: a 108-megapixel phone JPEG is about 40 MB; both providers stop at 10 MB."""

BODY_TIMES = 2
"""What a trip holds, in sizes of its object: first the object, then its base64 and aiohttp's copy."""


async def travel(line: Line, question: Question, slot: Slot, *, lost_calls: int) -> None:
    """Take one question to its final row; gives `slot` back as soon as its first call leaves.

    `lost_calls`: calls that earlier processes announced for it, whose answers nobody has.

    Raises:
        Denied, StoreDenied, Stopped, BudgetSpent: the run is over; the question stays pending.
    """
    ended = line.under_way[question.question_id] = asyncio.Event()
    try:
        verdict = await _verdict(line, question, slot, was_in_doubt=lost_calls > 0)
        if lost_calls:
            verdict = row.after_lost_calls(line, verdict, lost_calls)
        await line.journal.settle(verdict)
        line.recorded(verdict)
    finally:
        del line.under_way[question.question_id]
        ended.set()
        slot.release()


async def _verdict(line: Line, question: Question, slot: Slot, *, was_in_doubt: bool) -> Verdict:
    original = None if question.copy_of is None else await _end_of(line, question.copy_of)
    async with line.held.hold(BODY_TIMES * question.object.size_bytes):
        content: bytes | None = None
        try:
            content = await line.bucket.fetch(question.object, MOST_FETCHED_BYTES)
            if original is not None and _is_same(content, original):
                return row.repeated(line, question, original)
            if line.earlier is not None and (known := await line.earlier.answer_to(content)) is not None:
                return row.repeated(line, question, known)
            # Who is being decoded holds no place among those who make ready: untouched media pass by
            media = await prepare(content, line.limits, line.workers, slot.release)
            parts_sent = [
                (row.Sent.of(each), line.detector.compose(each)) for each in (media, *media.further)
            ]
        except Unreadable as error:
            if error.code in WHOLE_BUCKET_CODES:
                sentence = f"bucket {question.object.bucket} can no longer be read ({error.code})"
                raise StoreDenied(sentence) from None
            return row.unreadable(line, question, error)
        except Unfit as error:
            return row.unfit(line, question, error, content)
        del content, media  # while it waits and travels, the request's body is all that is held
        return await _ask_about_each(line, question, parts_sent, slot, was_in_doubt=was_in_doubt)


async def _ask_about_each(
    line: Line,
    question: Question,
    parts_sent: Sequence[tuple[row.Sent, ComposedRequest]],
    slot: Slot,
    *,
    was_in_doubt: bool,
) -> Verdict:
    """The worst of what the provider says of each segment, a call after the other.

    Where the run ends in between, what is answered makes the row: it has been paid for.
    """
    tries = Tries()
    verdicts: list[Verdict] = []
    for sent, request in parts_sent:
        try:
            found = await _ask(
                line, question, sent, request, slot, tries, len(verdicts), was_in_doubt=was_in_doubt
            )
        except (Denied, Stopped, BudgetSpent):
            if not any(each.outcome == Outcome.SCORED for each in verdicts):
                raise
            break
        if found.reused_from is not None:  # another question has asked about the same bytes
            return found
        verdicts.append(found)
    return row.worst_of(line, verdicts, len(parts_sent), tries)


def _is_same(content: bytes, original: Verdict) -> bool:
    """Whether a copy really holds the original's bytes.

    The plan pairs objects of one ETag, which is an MD5: two files of one MD5, one harmless and one not,
    can be made by whoever uploads them. So a copy is fetched and compared before a verdict is repeated.
    """
    return original.content_sha256 == hashlib.sha256(content).hexdigest()


async def _ask(
    line: Line,
    question: Question,
    sent: row.Sent,
    request: ComposedRequest,
    slot: Slot,
    tries: Tries,
    settled: int,
    *,
    was_in_doubt: bool,
) -> Verdict:
    """One of a question's media; `tries` counts all of its calls, `settled` of its media are settled."""
    policy = replace(line.policy, attempts=line.policy.attempts + tries.attempts)

    async def announce(call_number: int) -> str:
        """Make the coming call durable, unless the same bytes are being asked about already."""
        order_no = new_order_no(time.time())
        owner = await line.journal.intend(
            question.question_id, line.provider, call_number, order_no, sent.content_sha256
        )
        if owner != question.question_id:
            raise _AskedBy(owner)
        return order_no

    async def ask(order_no: str) -> Answer:
        slot.release()
        try:
            answer = await line.detector.ask(request, order_no)
        except ProviderError as error:
            may_be_billed = isinstance(error, Unavailable) and error.in_doubt
            line.journal.come_home(question.question_id, is_free=not may_be_billed)
            if isinstance(error, Refused):
                await line.accept(line.provider, line.detector.simulated)
            raise
        await line.accept(line.provider, line.detector.simulated)
        return answer

    while True:
        try:
            end = await settle(line.lane, policy, announce, ask, tries)
        except _AskedBy as copy:
            if await line.journal.end_of(copy.owner):
                original = await parts.answer_of(line.journal, line.home, copy.owner)
                if original is not None:
                    return row.repeated(line, question, original)
        except Exception as error:  # denied, stopped, spent, or unforeseen: the question stays pending
            is_foreseen = isinstance(error, FacesweepError)  # else a call that left may have been billed
            with contextlib.suppress(JournalFailed):
                await line.journal.release(
                    question.question_id,
                    in_doubt=bool(tries.in_doubt or was_in_doubt or settled or not is_foreseen),
                    never_left=tries.announced - tries.left,
                )
            raise
        else:
            return row.settled(line, question, sent, end)


class _AskedBy(FacesweepError):
    """Another question of this run asks about the same bytes."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


async def _end_of(line: Line, question_id: str) -> Verdict | None:
    """The final verdict of the question a copy was planned behind; None if it left none."""
    while (under_way := line.under_way.get(question_id)) is not None:
        await under_way.wait()
    verdict = await parts.answer_of(line.journal, line.home, question_id)
    return verdict if verdict is not None and Outcome(verdict.outcome).is_final else None
