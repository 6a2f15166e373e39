"""The breaker: ends a run in which most questions fail or are refused."""

from collections import Counter, deque

from domain.errors import Tripped
from domain.verdicts import Outcome, Provider

LOOKS_BACK = 5
"""How far, in times of the least number: 1,000 questions by default.

Over all questions, a provider that breaks after a million good answers would have to spoil a million more.
Over the least number alone, a source of which 40 % is refused would trip by chance: in 200 questions
50 % is three standard deviations away, in 1,000 it is six.
"""

MOST_NAMED = 3
"""Reasons a sentence names."""

SPOILED = (Outcome.FAILED, Outcome.REFUSED)


class Breaker:
    """Watches the questions one provider was asked, since this process began.

    Trips when more than `share` of the latest of them failed or were refused: of all while there are
    few, of the last `LOOKS_BACK` times `least` later; never on fewer than `least`.
    """

    def __init__(self, provider: Provider, share: float, least: int) -> None:
        """`share`: over 0 and up to 1; with 1 it never trips. `least`: questions, 1 at least."""
        self._provider, self._share, self._least = provider, share, least
        self._latest: deque[str | None] = deque(maxlen=LOOKS_BACK * least)
        self._spoiled = 0

    def note(self, outcome: Outcome, reason: str | None) -> Tripped | None:
        """Count a question that was put to the provider; the end it means for the run, if it trips."""
        if len(self._latest) == self._latest.maxlen:
            self._spoiled -= self._latest[0] is not None
        spoiled = outcome in SPOILED
        self._latest.append((reason or outcome) if spoiled else None)
        self._spoiled += spoiled
        asked = len(self._latest)
        if asked < self._least or self._spoiled <= self._share * asked:
            return None
        reasons = Counter(each for each in self._latest if each is not None)
        named = [f"{count:,} × {code}" for code, count in reasons.most_common(MOST_NAMED)]
        if others := reasons.total() - sum(count for _, count in reasons.most_common(MOST_NAMED)):
            named.append(f"{others:,} × others")
        return Tripped(
            f"{self._spoiled:,} of the last {asked:,} questions to {self._provider} failed or were refused, "
            f"more than {self._share * 100:g} %: {', '.join(named)}"
        )
