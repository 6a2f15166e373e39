"""Verdicts: exactly one final row for each question, whatever happened."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

SCHEMA_VERSION = 3
"""1: up to `code_version`. 2: also `asked_because`, `subject_id`, `stratum` and `weight`. 3: also the
signals, `signals_from` to `perceptual_quality`."""


class Provider(StrEnum):
    TENCENT = "tencent"
    ALIYUN = "aliyun"


class Outcome(StrEnum):
    """How a question ended."""

    SCORED = "scored"  # the provider gave a verdict
    REUSED = "reused"  # a byte-identical object was already scored; no call
    REFUSED = "refused"  # the provider says no verdict is possible for this media
    UNFIT = "unfit"  # not sent: outside the provider's limits and not preparable
    UNREADABLE = "unreadable"  # the object could not be fetched
    FAILED = "failed"  # attempts exhausted, or the answer is in doubt

    @property
    def is_final(self) -> bool:
        """Whether later runs leave this question alone."""
        return self not in (Outcome.UNREADABLE, Outcome.FAILED)


class Risk(StrEnum):
    """The providers' three levels, least severe first."""

    LOW = "low"
    MID = "mid"
    HIGH = "high"


class Delivery(StrEnum):
    """How the media reached the provider."""

    BASE64 = "base64"
    URL = "url"
    ENCRYPTED = "encrypted"


class Billed(StrEnum):
    """Whether the question cost money; unknown when a call was lost after it may have arrived."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said in one successful reply, mapped to our vocabulary; raw forms kept."""

    risk: Risk
    risk_raw: str
    request_id: str
    endpoint: str  # scheme and host that answered
    raw: str  # the reply's JSON text
    tags: tuple[
        str, ...
    ] = ()  # synthesis, composite, template, recapture, watermark, adversarial, anomaly, other:<raw>
    tags_raw: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)  # the provider's own scale, by raw tag
    template_group: str | None = None
    template_similarity: float | None = None  # Tencent: distance in [0, 2], smaller is more suspect
    simulated: bool = False  # an emulator answered


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of `verdicts/`: its fields are the columns of schema version 3, in their order."""

    run_id: str
    audit: str
    question_id: str
    url: str
    store: str
    bucket: str
    key: str
    version_id: str | None
    etag: str | None
    size_bytes: int
    last_modified: datetime
    media: str  # image | video | other, by content once fetched
    content_sha256: str | None  # hex; None when the object was never fetched, or only by the provider
    provider: str
    action: str | None  # the API's action, e.g. DetectAIFakeFaces; None when nothing was asked
    outcome: str
    reason: str | None  # a code: the provider's, the store's or ours; None when scored
    message: str | None  # one sentence for people
    risk: str | None
    risk_raw: str | None
    tags: tuple[str, ...]
    tags_raw: tuple[str, ...]
    scores: dict[str, float]
    template_group: str | None
    template_similarity: float | None
    delivery: str | None
    preparation: str | None
    sent_sha256: str | None
    sent_bytes: int | None  # size of the media sent, before base64
    endpoint: str | None
    request_id: str | None
    order_no: str | None
    attempts: int  # calls that left for the provider, throttled ones not counted
    throttled: int  # calls the provider turned away for pace
    latency_ms: float | None  # request out to reply in, last attempt; waiting for the pace is not in it
    asked_at: datetime | None  # when the last attempt left
    settled_at: datetime
    billed: str
    cost: float | None  # in the currency of the spec's price; None where no price is given
    reused_from: str | None  # question_id whose verdict this row repeats
    raw: str | None
    schema_version: int
    mapping_version: int
    code_version: str
    asked_because: str | None  # what in the strategy put the object to this provider
    subject_id: str | None  # the inventory's: whose face it is meant to be
    stratum: str | None  # None where the audit has no strata
    weight: float | None  # selected objects this one stands for; None where nothing was sampled
    signals_from: str | None = None  # these eleven are described in domain/signals.py
    aigc_label: str | None = None
    aigc_producer: str | None = None
    aigc_raw: str | None = None
    source_type: str | None = None
    c2pa: str | None = None
    camera: str | None = None
    software: str | None = None
    encoder: str | None = None
    perceptual_hash: str | None = None
    perceptual_quality: int | None = None
