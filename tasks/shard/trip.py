"""One object's trip: fetch, look, prepare, ask, record."""

import asyncio
import hashlib

from domain.errors import StoreDenied, Unfit, Unreadable
from domain.media import PreparedMedia
from domain.objects import ObjectRef, Store
from domain.questions import Question
from domain.signals import Signals
from domain.verdicts import Delivery, Outcome, Verdict
from tasks.buckets.refusals import WHOLE_BUCKET_CODES
from tasks.media.glimpse import HEAD_BYTES
from tasks.media.prepare import prepare
from tasks.pacing.lane import Lane
from tasks.providers.detector import ComposedRequest
from tasks.records import parts
from tasks.shard import row
from tasks.shard.asking import Asking
from tasks.shard.line import Line
from tasks.shard.memory import Slot

MOST_FETCHED_BYTES = 64 * 1024**2
"""The largest object fetched: a 108-megapixel phone JPEG is about 40 MB; both providers stop at 10 MB."""

BEGINNING_S = 2.0
BEGINNING_CALLS = 32
"""A lane is not judged before so many calls, and so many seconds of its share: its rate says nothing yet."""

NEARLY_FULL = 0.95
"""A lane that keeps up stays within 2 % of its rate; below this the machine or the store holds it up."""

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
    asking = Asking(line, question, slot, was_in_doubt)
    try:
        # What may be a copy is compared with its original, so it is fetched; all else may go by url.
        if original is None and line.by_url is not None and line.earlier is not None:
            original = await line.earlier.alike(question.object)
        if original is None and (verdict := await _by_url(asking)) is not None:
            return verdict
        return await _fetched(asking, original)
    except Unreadable as error:
        if error.code in WHOLE_BUCKET_CODES:
            sentence = f"bucket {question.object.bucket} can no longer be read ({error.code})"
            raise StoreDenied(sentence) from None
        return row.unreadable(line, question, error)


async def _by_url(asking: Asking) -> Verdict | None:
    """The verdict on an object that the provider fetched by itself; None if it is to be fetched here.

    Raises: Unreadable: the store does not give it.  What `travel` raises.
    """
    line, question, by_url = asking.line, asking.question, asking.line.by_url
    if by_url is None:
        return None
    async with line.held.hold(min(question.object.size_bytes, 2 * HEAD_BYTES)):
        seen = await by_url.glimpse(question)
        if seen is None:
            return None
        signals, kind = line.looking.at_parts(seen), seen.kind
        if line.looking.skip_labelled and signals.says_generated:
            return row.with_signals(row.labelled(line, question, signals, None), signals)
        del seen

    async def request() -> ComposedRequest:
        return await by_url.request(question.object, kind)

    verdict, error = await asking.ask(row.Sent.by_url(question, kind), request)
    # A call that may have been served is not made again another way.
    if error is not None and not asking.tries.in_doubt and by_url.is_worth_sending(error):
        return None
    if verdict.outcome == Outcome.SCORED:
        by_url.arrived()
    return row.with_signals(verdict, signals)


async def _fetched(asking: Asking, original: Verdict | None) -> Verdict:
    """The verdict on an object that is fetched, looked at, prepared and sent.

    Raises: Unreadable: the store does not give it.  What `travel` raises.
    """
    line, question = asking.line, asking.question
    async with line.held.hold(BODY_TIMES * question.object.size_bytes):
        content: bytes | None = None
        signals = Signals()
        try:
            content = await line.bucket.fetch(question.object, MOST_FETCHED_BYTES)
            signals = line.looking.at(content)
            if original is not None and await _is_same(line, question.object, content, original):
                return row.with_signals(row.repeated(line, question, original), signals)
            if line.earlier is not None and (known := await line.earlier.answer_to(content)) is not None:
                return row.with_signals(row.repeated(line, question, known), signals)
            if line.looking.skip_labelled and signals.says_generated:
                return row.with_signals(row.labelled(line, question, signals, content), signals)
            # Who is being decoded holds no place among those who make ready: untouched media pass by
            media = await prepare(content, line.limits, line.workers, asking.slot.release)
            signals = await line.looking.verified(content, signals, line.workers)
            hashing = await line.looking.hashing(content, line.workers, is_behind=_is_behind(line.lane))
            requests = [await _composed(line, each) for each in (media, *media.further)]
        except Unfit as error:
            return row.with_signals(row.unfit(line, question, error, content), signals)
        del content, media  # while it waits and travels, the requests' bodies are all that is held
        verdict = await asking.about_each(requests)
        return row.with_signals(verdict, signals if hashing is None else hashing.taken(signals))


def _is_behind(lane: Lane) -> bool:
    """Whether fewer calls leave than might, once the lane has run for some seconds."""
    has_run = lane.admitted > BEGINNING_CALLS + BEGINNING_S * lane.share_per_s
    return has_run and lane.recent_rate_per_s < NEARLY_FULL * lane.rate_per_s


async def _composed(line: Line, media: PreparedMedia) -> tuple[row.Sent, ComposedRequest]:
    if line.detector.delivery is Delivery.ENCRYPTED:  # tens of milliseconds, in which no call would leave
        request = await asyncio.to_thread(line.detector.compose, media)
    else:
        request = line.detector.compose(media)
    return row.Sent.of(media, request.delivery), request


async def _is_same(line: Line, each: ObjectRef, content: bytes, original: Verdict) -> bool:
    """Whether a copy really holds the original's bytes.

    The plan pairs objects of one ETag, which is an MD5: two files of one MD5, one harmless and one not,
    can be made by whoever uploads them. So a copy is fetched and compared before a verdict is repeated.
    Where the original went by url its bytes were never here: now they are fetched, too.
    """
    known = original.content_sha256
    if known is None and original.delivery == Delivery.URL:
        if (original.store, original.bucket) != (each.store, each.bucket):
            return False  # an earlier run's, in a bucket that is not open now
        try:
            first = await line.bucket.fetch(_object_of(original), MOST_FETCHED_BYTES)
        except (Unreadable, Unfit):
            return False
        return first == content
    return known == hashlib.sha256(content).hexdigest()


def _object_of(verdict: Verdict) -> ObjectRef:
    return ObjectRef(
        url=verdict.url,
        store=Store(verdict.store),
        bucket=verdict.bucket,
        key=verdict.key,
        version_id=verdict.version_id,
        etag=verdict.etag,
        size_bytes=verdict.size_bytes,
        last_modified=verdict.last_modified,
    )


async def _end_of(line: Line, question_id: str) -> Verdict | None:
    """The final verdict of the question a copy was planned behind; None if it left none."""
    while (under_way := line.under_way.get(question_id)) is not None:
        await under_way.wait()
    verdict = await parts.answer_of(line.journal, line.home, question_id)
    return verdict if verdict is not None and Outcome(verdict.outcome).is_final else None
