"""Questions: one object put to one provider."""

import hashlib
from dataclasses import dataclass

from domain.objects import MediaKind, ObjectRef
from domain.verdicts import Provider


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a plan's shard: an object, the provider to ask, and what the plan knows of it."""

    question_id: str
    provider: Provider
    object: ObjectRef
    media: MediaKind  # by suffix; the content decides later
    copy_of: str | None  # question_id of a byte-identical object of this run that is asked instead
    asked_because: str | None = None  # what in the strategy put the object to this provider
    weight: float | None = None  # selected objects this one stands for; None where nothing was sampled


def question_id(url: str, version: str, provider: Provider) -> str:
    """The identity of a question, the same in every run: 128 bits of SHA-256, as 32 hex digits.

    A collision would make facesweep skip an object. SHA-256 rather than a faster hash because the
    keys of a KYC bucket are chosen by the people under suspicion.
    """
    text = f"{provider}\n{version}\n{url}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
