"""What a plan takes: hours at the cap, the date it ends, money."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.verdicts import Provider
from tasks.candidates.totals import ProviderTotals

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one provider's part of a plan takes if its cap is used to the full and every call succeeds."""

    provider: Provider
    calls: int
    hours: float
    ends_at: datetime  # in the zone of the `now` it was reckoned from
    cost: float | None  # in the currency of the price; None where no price is given


def estimate(
    totals: ProviderTotals, rate_per_s: float, now: datetime, price_per_call: float | None = None
) -> Estimate:
    """Calls divided by the cap: the least a run can take, since no call may leave sooner.

    An end beyond the calendar (year 9999) is given as the calendar's last moment.

    Args:    rate_per_s: the account's cap in calls per second, > 0.  now: when the run starts.
    Raises:  ValueError: the rate is not above 0.
    """
    if not rate_per_s > 0:
        raise ValueError(f"rate_per_s must be above 0, not {rate_per_s}")
    seconds = totals.calls / rate_per_s
    try:
        ends_at = now + timedelta(seconds=seconds)
    except OverflowError:
        ends_at = datetime.max.replace(tzinfo=now.tzinfo)
    return Estimate(
        provider=totals.provider,
        calls=totals.calls,
        hours=seconds / _SECONDS_PER_HOUR,
        ends_at=ends_at,
        cost=None if price_per_call is None else totals.calls * price_per_call,
    )
