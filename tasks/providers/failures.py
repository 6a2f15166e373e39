"""What goes wrong with a call, before anybody has decided what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Meaning(StrEnum):
    """What a provider's error code says; `standing` turns it into an error class.

    Some meanings depend on what came before: the same code may blame one object or the account.
    """

    REFUSED = "refused"  # no verdict is possible for this media
    SUSPECT = "suspect"  # a bad parameter: this object's fault, unless every object has it
    THROTTLED = "throttled"  # too fast
    UNAVAILABLE = "unavailable"  # broken at that endpoint for now
    RETRY = "retry"  # ask again; the endpoint is not to blame
    UPSTREAM = "upstream"  # a source behind the provider failed, or a permission is missing
    REPEATED = "repeated"  # too many calls alike: slow down for long
    TOKEN = "token"  # noqa: S105 (a word, not a secret): temporary keys have run out
    CLOCK = "clock"  # our time is too far from the provider's
    DENIED = "denied"  # the account, the key or our configuration


@dataclass(frozen=True, slots=True)
class Failure:
    """A call without a verdict, as one exchange shows it."""

    meaning: Meaning
    code: str
    message: str
    request_id: str = ""
    raw: str = ""
    in_doubt: bool = False  # the request may have been served, and billed
    retry_after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class CodeTable:
    """A provider's error codes as data: exact names first, then families by prefix, in order."""

    exact: Mapping[str, Meaning]
    families: Sequence[tuple[str, Meaning]]
    advice: Sequence[tuple[str, str]]  # by prefix, in order: what a person can do
    withheld: tuple[str, ...]  # prefixes of codes whose text may echo what was signed

    def meaning(self, code: str) -> Meaning:
        """What `code` says; a code nobody has described is worth a bounded number of new tries."""
        if code in self.exact:
            return self.exact[code]
        for prefix, meaning in self.families:
            if code.startswith(prefix):
                return meaning
        return Meaning.UNAVAILABLE

    def failure(
        self,
        code: str,
        message: str,
        request_id: str,
        raw: str,
        retry_after_s: float = 1.0,
    ) -> Failure:
        """The failure a reply with `code` is, with advice for people in its message.

        Replies about authentication lose their text: Aliyun's echo the string that was signed, and
        with it the security token and the query.
        """
        advice = next((text for prefix, text in self.advice if code.startswith(prefix)), "")
        if code.startswith(self.withheld):
            message, raw = "", ""
        sentence = ". ".join(part for part in (message.strip().rstrip("."), advice) if part)
        return Failure(
            meaning=self.meaning(code),
            code=code,
            message=sentence or "the provider gave no explanation",
            request_id=request_id,
            raw=raw,
            retry_after_s=retry_after_s,
        )


def unreadable(code: str, message: str, request_id: str = "", raw: str = "") -> Failure:
    """A served request whose reply says nothing we may rely on: never guessed at, billed perhaps."""
    return Failure(Meaning.UNAVAILABLE, code, message, request_id, raw, in_doubt=True)
