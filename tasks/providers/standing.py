"""What a run has learned of its account: are the keys good, is the clock right, whose fault is it?

The same code may blame one object or the whole account; what came before tells them apart. All that
memory lives here, for both providers, so that their wire modules stay pure functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from domain.errors import Denied, ProviderError, Refused, Throttled, Unavailable
from domain.verdicts import Provider
from tasks.providers.credentials import Keys, KeySource
from tasks.providers.failures import Failure, Meaning

SUSPECTS_IN_A_ROW = 10  # ours: ten objects in a row with a bad parameter is a bug, not ten objects
UPSTREAM_IN_A_ROW = 2  # providers.md B4: "one or two retries, then STOP"
REPEATED_IN_A_ROW = 10  # ours: with 30 s between them, five minutes in which nothing else came back
_MESSAGE_CHARACTERS = 1000  # a sentence or two; the whole text stays in `raw`


@dataclass(frozen=True, slots=True)
class Stamp:
    """What one attempt is signed with."""

    keys: Keys
    now_s: float  # the provider's time as far as we know it, Unix
    number: int  # of the attempt, counting up
    clock_setting: int  # how often the clock had been set when this was signed


@dataclass(slots=True)
class _Streak:
    """Like replies without another one in between; those under way together count as one."""

    length: int = 0
    counted_at: int = 0  # attempts there had been by then

    def grow(self, stamp: Stamp, attempts: int) -> int:
        """The new length: one more if `stamp` was made after the last reply that counted."""
        if stamp.number > self.counted_at:
            self.length += 1
            self.counted_at = attempts
        return self.length


class Standing:
    """Signs attempts on and judges their failures. Made for one detector in one event loop."""

    def __init__(self, provider: Provider, keys: KeySource, clock: Callable[[], float]) -> None:
        self._provider, self._keys, self._clock = provider, keys, clock
        self._attempts = 0
        self._suspects = 0
        self._upstream = _Streak()
        self._repeated = _Streak()
        self._keys_on_trial: Keys | None = None
        self._clock_offset_s = 0.0
        self._clock_settings = 0
        self._clock_on_trial = False

    def __repr__(self) -> str:
        return (
            f"<Standing {self._provider}: {self._attempts} attempts, {self._suspects} suspect in a"
            f" row, clock set {self._clock_settings} times>"
        )

    async def stamp(self) -> Stamp:
        """Keys and time for the next attempt. Raises: Denied: there are no keys."""
        keys = await self._keys.current()
        self._attempts += 1
        now_s = self._clock() + self._clock_offset_s
        return Stamp(keys, now_s, self._attempts, self._clock_settings)

    def accepted(self, stamp: Stamp) -> None:
        """The provider let `stamp` in: its keys and its clock are good."""
        if stamp.keys == self._keys_on_trial:
            self._keys_on_trial = None
        if stamp.clock_setting == self._clock_settings:
            self._clock_on_trial = False

    def answered(self, stamp: Stamp) -> None:
        """A verdict came: nothing is wrong with the account."""
        self.accepted(stamp)
        self._end_streaks()

    async def judge(
        self,
        failure: Failure,
        stamp: Stamp,
        endpoint: str,
        date_s: float | None = None,
        private: Sequence[str] = (),
    ) -> ProviderError:
        """The error to raise for `failure`, with what it teaches remembered.

        `date_s` is the reply's own clock. Keys and the strings in `private` are cut out of every
        text. Raises: Denied: keys had to be renewed and there are none.
        """
        failure = _without_secrets(failure, stamp.keys, private)
        match failure.meaning:
            case Meaning.SUSPECT:
                self.accepted(stamp)
                self._end_streaks(but=Meaning.SUSPECT)
                self._suspects += 1
                if self._suspects >= SUSPECTS_IN_A_ROW:
                    why = f"{self._suspects} objects in a row were called a bad parameter: that is"
                    return self._denied(failure, f"{why} our request, not the objects", endpoint)
            case Meaning.UPSTREAM:
                self.accepted(stamp)
                self._end_streaks(but=Meaning.UPSTREAM)
                if self._upstream.grow(stamp, self._attempts) > UPSTREAM_IN_A_ROW:
                    return self._denied(failure, "it stays so when asked again", endpoint)
            case Meaning.REPEATED:
                self.accepted(stamp)
                self._end_streaks(but=Meaning.REPEATED)
                if self._repeated.grow(stamp, self._attempts) > REPEATED_IN_A_ROW:
                    return self._denied(failure, "it stays so after long waits", endpoint)
            case Meaning.REFUSED:
                self.answered(stamp)
            case Meaning.TOKEN:
                return await self._renew_keys(failure, stamp, endpoint)
            case Meaning.CLOCK:
                return self._set_clock(failure, stamp, endpoint, date_s)
            case _:  # says nothing about the request, the key or the clock: no streak ends
                pass
        return self._as_it_says(failure, endpoint)

    def explain(
        self, failure: Failure, stamp: Stamp, endpoint: str, private: Sequence[str] = ()
    ) -> ProviderError:
        """The error that `failure` is when nothing came before it; teaches nothing."""
        return self._as_it_says(_without_secrets(failure, stamp.keys, private), endpoint)

    def _as_it_says(self, failure: Failure, endpoint: str) -> ProviderError:
        fields = (
            self._provider,
            failure.code,
            failure.message,
            failure.request_id,
            endpoint,
            failure.raw,
        )
        match failure.meaning:
            case Meaning.REFUSED | Meaning.SUSPECT:
                return Refused(*fields)
            case Meaning.THROTTLED | Meaning.REPEATED:
                return Throttled(*fields, failure.retry_after_s)
            case Meaning.DENIED:
                return Denied(*fields)
            case _:
                return Unavailable(*fields, failure.in_doubt)

    def _denied(self, failure: Failure, why: str, endpoint: str) -> Denied:
        message = f"{why}. {failure.message}" if failure.message else why
        return Denied(self._provider, failure.code, message, failure.request_id, endpoint, failure.raw)

    def _end_streaks(self, but: Meaning | None = None) -> None:
        if but is not Meaning.SUSPECT:
            self._suspects = 0
        if but is not Meaning.UPSTREAM:
            self._upstream.length = 0
        if but is not Meaning.REPEATED:
            self._repeated.length = 0

    async def _renew_keys(self, failure: Failure, stamp: Stamp, endpoint: str) -> ProviderError:
        if stamp.keys == self._keys_on_trial:
            return self._denied(failure, "freshly obtained keys are refused too", endpoint)
        self._keys_on_trial = await self._keys.refresh(after=stamp.keys)
        return self._as_it_says(failure, endpoint)

    def _set_clock(
        self, failure: Failure, stamp: Stamp, endpoint: str, date_s: float | None
    ) -> ProviderError:
        if stamp.clock_setting < self._clock_settings:  # signed before the clock was set
            return self._as_it_says(failure, endpoint)
        if self._clock_on_trial or date_s is None:
            why = "this machine's clock is wrong: set it (for example with NTP) and resume"
            return self._denied(failure, why, endpoint)
        self._clock_offset_s = date_s - self._clock()
        self._clock_settings += 1
        self._clock_on_trial = True
        return self._as_it_says(failure, endpoint)


def _without_secrets(failure: Failure, keys: Keys, private: Sequence[str]) -> Failure:
    """`failure` with keys and `private` cut from its texts, as they are or percent-encoded."""
    private = (keys.secret, keys.token, *private)
    message, raw = without(failure.message, private), without(failure.raw, private)
    return replace(failure, message=message[:_MESSAGE_CHARACTERS], raw=raw)


def without(text: str, private: Sequence[str]) -> str:
    """`text` without the strings in `private`, as they are or percent-encoded."""
    for secret in filter(None, private):
        for form in (secret, quote(secret, safe="")):
            text = text.replace(form, "[cut]")
    return text
