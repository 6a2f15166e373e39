"""How a trip's end becomes a verdict: one row for each question, whatever happened."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from domain.errors import Unfit, Unreadable
from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.questions import Question
from domain.signals import Signals
from domain.verdicts import SCHEMA_VERSION, Billed, Delivery, Outcome, Risk, Verdict
from tasks.media.prepare import UNTOUCHED
from tasks.pacing.retry import Tries
from tasks.pacing.settle import Settled
from tasks.providers.vocabulary import MAPPING_VERSION
from tasks.shard.line import Line


@dataclass(frozen=True, slots=True)
class Sent:
    """What a row says of the media sent, without the media: those the request alone holds."""

    kind: MediaKind
    size_bytes: int
    content_sha256: str | None  # None: only the provider has fetched it
    sent_sha256: str | None
    preparation: str
    delivery: Delivery

    @classmethod
    def of(cls, media: PreparedMedia, delivery: Delivery) -> "Sent":
        """The facts of `media`."""
        hashes = media.content_sha256, media.sent_sha256
        return cls(media.kind, len(media.content), *hashes, media.preparation, delivery)

    @classmethod
    def by_url(cls, question: Question, kind: MediaKind) -> "Sent":
        """The facts of an object that the provider fetches by itself."""
        return cls(kind, question.object.size_bytes, None, None, UNTOUCHED, Delivery.URL)


def unreadable(line: Line, question: Question, error: Unreadable) -> Verdict:
    """The object could not be fetched."""
    return _row(line, question, outcome=Outcome.UNREADABLE, reason=error.code, message=error.detail)


def with_signals(verdict: Verdict, signals: Signals) -> Verdict:
    """The row with what its object's bytes say; a copy keeps what its original has and this look has not."""
    if signals.signals_from is None:
        return verdict
    found = signals.columns()
    if verdict.perceptual_hash is not None and signals.perceptual_hash is None:
        del found["perceptual_hash"], found["perceptual_quality"]
    return replace(verdict, **found)


def labelled(line: Line, question: Question, signals: Signals, content: bytes | None) -> Verdict:
    """The object is labelled as made by a machine, and the spec spares the call: it was not sent."""
    what = f"aigc_label {signals.aigc_label}" if signals.aigc_label else f"source_type {signals.source_type}"
    return unfit(
        line, question, Unfit("labelled", f"not asked about: its own label says so ({what})"), content
    )


def unfit(line: Line, question: Question, error: Unfit, content: bytes | None) -> Verdict:
    """The object cannot be sent to this provider; `content` is None where it was too large to fetch."""
    return _row(
        line,
        question,
        outcome=Outcome.UNFIT,
        content_sha256=None if content is None else hashlib.sha256(content).hexdigest(),
        reason=error.reason,
        message=error.detail,
    )


def repeated(line: Line, question: Question, original: Verdict) -> Verdict:
    """The row of a byte-identical copy: its original's verdict, of this run or an earlier one, and no call.

    A copy of a scored object is `reused`; a copy of a refused or unfit one shares that outcome. The tags stay
    as they were mapped when the answer came: `mapping_version` is the original's.
    """
    scored = original.outcome in (Outcome.SCORED, Outcome.REUSED)
    return replace(
        original,
        **_identity(line, question),
        outcome=Outcome.REUSED if scored else original.outcome,
        attempts=0,
        throttled=0,
        latency_ms=None,
        asked_at=None,
        settled_at=datetime.now(UTC),
        billed=Billed.NO,
        cost=_cost(line, 0),
        order_no=None,
        reused_from=original.reused_from or original.question_id,
        schema_version=SCHEMA_VERSION,
        code_version=line.code_version,
    )


def settled(line: Line, question: Question, sent: Sent, end: Settled) -> Verdict:
    """The provider was asked: it answered, refused, or could not be brought to answer.

    A call whose reply never came may have been billed: the row says `unknown`, and its cost counts that
    call, so that the books never show less than the provider may charge.
    """
    lost_calls = end.tries.in_doubt
    answered = end.answer is not None
    billed = Billed.UNKNOWN if lost_calls else Billed.YES if answered else Billed.NO
    return _row(
        line,
        question,
        media=sent.kind,
        content_sha256=sent.content_sha256,
        action=line.detector.action,
        delivery=sent.delivery,
        preparation=sent.preparation,
        sent_sha256=sent.sent_sha256,
        sent_bytes=sent.size_bytes,
        order_no=end.order_no,
        attempts=end.tries.attempts,
        throttled=end.tries.throttled,
        latency_ms=round(end.latency_ms, 3),
        asked_at=end.asked_at,
        billed=billed,
        cost=_cost(line, lost_calls + answered),
        **_said(end),
    )


def worst_of(line: Line, verdicts: Sequence[Verdict], planned: int, tries: Tries) -> Verdict:
    """The row of a question that was asked about one segment of its video after the other.

    It is the row of the segment with the highest risk; `message` says what was said of each, `preparation`
    which they were. One that failed counts only where none was scored: then the question is asked again.
    """
    if planned == 1:
        return verdicts[0]
    worst = max(verdicts, key=_severity)
    answered = sum(each.outcome == Outcome.SCORED for each in verdicts)
    said = ", ".join(str(each.risk or f"{each.outcome} ({each.reason})") for each in verdicts)
    return replace(
        worst,
        message=f"{len(verdicts)} of {planned} segments: {said}",
        preparation="; ".join(str(each.preparation) for each in verdicts),
        attempts=tries.attempts,
        throttled=tries.throttled,
        billed=Billed.UNKNOWN if tries.in_doubt else Billed.YES if answered else Billed.NO,
        cost=_cost(line, tries.in_doubt + answered),
    )


def _severity(verdict: Verdict) -> int:
    if verdict.risk is not None:
        return 2 + (Risk.LOW, Risk.MID, Risk.HIGH).index(Risk(verdict.risk))
    return int(verdict.outcome == Outcome.FAILED)


def after_lost_calls(line: Line, verdict: Verdict, lost_calls: int) -> Verdict:
    """The row of a question that earlier processes had announced calls for, and left no answer to.

    Each of those calls may have been billed, so each is in the cost.
    """
    lost_cost = _cost(line, lost_calls)
    cost = None if verdict.cost is None or lost_cost is None else verdict.cost + lost_cost
    return replace(verdict, billed=Billed.UNKNOWN, cost=cost)


def _said(end: Settled) -> dict[str, Any]:
    """The columns that hold the provider's own words."""
    if (answer := end.answer) is not None:
        return {
            "outcome": Outcome.SCORED,
            "risk": answer.risk,
            "risk_raw": answer.risk_raw,
            "tags": answer.tags,
            "tags_raw": answer.tags_raw,
            "scores": answer.scores,
            "template_group": answer.template_group,
            "template_similarity": answer.template_similarity,
            "endpoint": answer.endpoint,
            "request_id": answer.request_id,
            "raw": answer.raw,
        }
    error = end.error
    assert error is not None  # noqa: S101 - a settled question has an answer or an error
    return {
        "outcome": Outcome.REFUSED if end.is_refused else Outcome.FAILED,
        "reason": error.code,
        "message": error.message,
        "endpoint": error.endpoint or None,
        "request_id": error.request_id or None,
        "raw": error.raw or None,
    }


def _cost(line: Line, calls: int) -> float | None:
    return None if line.price_per_call is None else line.price_per_call * calls


def _identity(line: Line, question: Question) -> dict[str, Any]:
    """The columns that say which question of which run a row answers."""
    each = question.object
    return {
        "run_id": line.run_id,
        "audit": line.audit,
        "question_id": question.question_id,
        "url": each.url,
        "store": each.store,
        "bucket": each.bucket,
        "key": each.key,
        "version_id": each.version_id,
        "etag": each.etag,
        "size_bytes": each.size_bytes,
        "last_modified": each.last_modified,
        "asked_because": question.asked_because,
        "subject_id": each.subject_id,
        "stratum": each.stratum,
        "weight": question.weight,
    }


_UNKNOWN: dict[str, Any] = {field.name: None for field in fields(Verdict)} | {
    "tags": (),
    "tags_raw": (),
    "scores": {},
    "attempts": 0,
    "throttled": 0,
    "billed": Billed.NO,
    "schema_version": SCHEMA_VERSION,
    "mapping_version": MAPPING_VERSION,
}
"""The columns of a row of which nothing is known yet."""


def _row(line: Line, question: Question, **known: Any) -> Verdict:
    """A row of what is known; every other column says that it is not."""
    return Verdict(
        **{
            **_UNKNOWN,
            **_identity(line, question),
            "media": question.media,
            "provider": line.provider,
            "settled_at": datetime.now(UTC),
            "cost": _cost(line, 0),
            "code_version": line.code_version,
            **known,
        }
    )
