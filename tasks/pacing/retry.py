"""Retry: whether a question is asked again, and when; the same for both providers."""

from dataclasses import dataclass

from domain.errors import ProviderError, Throttled, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds on one question, in attempts and in time; the error's class decides within them.

    Throttled calls cost no attempt, only time. A call in doubt may have been billed without our seeing
    the reply, and neither provider has a key that would make a second one free: those are counted apart
    and allowed least. Attempts and back-off: the providers' own SDKs stop at 3 attempts over 2^n
    seconds; five over about 15 s outlive a rolling restart at the provider.
    """

    attempts: int = 5
    in_doubt_attempts: int = 2
    patience_s: float = 900.0  # from a question's first call to giving up, throttling included
    backoff_s: float = 1.0  # the first wait; doubled at each further one
    backoff_cap_s: float = 60.0


@dataclass(slots=True)
class Tries:
    """What a question has cost so far."""

    announced: int = 0
    left: int = 0  # of the announced calls; the rest were held back for good
    attempts: int = 0  # calls that left and were not throttled
    throttled: int = 0
    in_doubt: int = 0


def wait_before_next(
    policy: RetryPolicy, tries: Tries, error: ProviderError, elapsed_s: float, jitter: float
) -> float | None:
    """Seconds to wait before asking again, or None when the question is over.

    `tries` counts the call that failed with `error`. `jitter` in [0, 1) spreads the waits of questions
    that failed together over the second half of the back-off. For a throttled call the wait is 0: the
    lane itself holds everybody back.
    """
    match error:
        case Throttled():
            wait_s, ahead_s = 0.0, error.retry_after_s
        case Unavailable():
            if tries.attempts >= policy.attempts or tries.in_doubt >= policy.in_doubt_attempts:
                return None
            full_s = min(policy.backoff_cap_s, policy.backoff_s * 2 ** (tries.attempts - 1))
            wait_s = ahead_s = full_s * (0.5 + jitter / 2)
        case _:
            return None
    return wait_s if elapsed_s + ahead_s < policy.patience_s else None
