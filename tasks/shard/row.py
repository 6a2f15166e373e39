"""How a trip's end becomes a verdict: one row for each question, whatever happened."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from domain.errors import Unfit, Unreadable
from domain.media import PreparedMedia
from domain.questions import Question
from domain.verdicts import SCHEMA_VERSION, Billed, Delivery, Outcome, Verdict
from tasks.pacing.settle import Settled
from tasks.providers.vocabulary import MAPPING_VERSION
from tasks.shard.line import Line


def unreadable(line: Line, question: Question, error: Unreadable) -> Verdict:
    """The object could not be fetched."""
    return replace(
        _blank(line, question, Outcome.UNREADABLE),
        reason=error.code,
        message=error.detail,
    )


def unfit(line: Line, question: Question, error: Unfit, content: bytes | None) -> Verdict:
    """The object cannot be sent to this provider; `content` is None where it was too large to fetch."""
    return replace(
        _blank(line, question, Outcome.UNFIT),
        content_sha256=None if content is None else hashlib.sha256(content).hexdigest(),
        reason=error.reason,
        message=error.detail,
    )


def repeated(line: Line, question: Question, original: Verdict) -> Verdict:
    """The row of a byte-identical copy: the original's verdict, without a call.

    A copy of a scored object is `reused`; a copy of a refused or unfit one shares that outcome.
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
    )


def settled(
    line: Line, question: Question, media: PreparedMedia, end: Settled, *, was_in_doubt: bool
) -> Verdict:
    """The provider was asked: it answered, refused, or could not be brought to answer.

    A call whose reply never came may have been billed: the row says `unknown`, and its cost counts that
    call, so that the books never show less than the provider may charge.
    """
    answer, error, tries = end.answer, end.error, end.tries
    lost_calls = tries.in_doubt + was_in_doubt
    common = replace(
        _blank(line, question, Outcome.FAILED),
        media=media.kind,
        content_sha256=media.content_sha256,
        action=line.detector.action,
        delivery=Delivery.BASE64,
        preparation=media.preparation,
        sent_sha256=media.sent_sha256,
        sent_bytes=len(media.content),
        order_no=end.order_no,
        attempts=tries.attempts,
        throttled=tries.throttled,
        latency_ms=round(end.latency_ms, 3),
        asked_at=end.asked_at,
        billed=Billed.UNKNOWN if lost_calls else Billed.NO,
        cost=_cost(line, lost_calls),
    )
    if answer is not None:
        return replace(
            common,
            outcome=Outcome.SCORED,
            risk=answer.risk,
            risk_raw=answer.risk_raw,
            tags=answer.tags,
            tags_raw=answer.tags_raw,
            scores=answer.scores,
            template_group=answer.template_group,
            template_similarity=answer.template_similarity,
            endpoint=answer.endpoint,
            request_id=answer.request_id,
            raw=answer.raw,
            billed=Billed.UNKNOWN if lost_calls else Billed.YES,
            cost=_cost(line, lost_calls + 1),
        )
    assert error is not None  # noqa: S101 — a settled question has an answer or an error
    return replace(
        common,
        outcome=Outcome.REFUSED if end.is_refused else Outcome.FAILED,
        reason=error.code,
        message=error.message,
        endpoint=error.endpoint or None,
        request_id=error.request_id or None,
        raw=error.raw or None,
    )


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
    }


def _blank(line: Line, question: Question, outcome: Outcome) -> Verdict:
    """A row of which nothing is known but what was asked and how it ended."""
    return Verdict(
        **_identity(line, question),
        media=question.media,
        content_sha256=None,
        provider=line.provider,
        action=None,
        outcome=outcome,
        reason=None,
        message=None,
        risk=None,
        risk_raw=None,
        tags=(),
        tags_raw=(),
        scores={},
        template_group=None,
        template_similarity=None,
        delivery=None,
        preparation=None,
        sent_sha256=None,
        sent_bytes=None,
        endpoint=None,
        request_id=None,
        order_no=None,
        attempts=0,
        throttled=0,
        latency_ms=None,
        asked_at=None,
        settled_at=datetime.now(UTC),
        billed=Billed.NO,
        cost=_cost(line, 0),
        reused_from=None,
        raw=None,
        schema_version=SCHEMA_VERSION,
        mapping_version=MAPPING_VERSION,
        code_version=line.code_version,
    )
