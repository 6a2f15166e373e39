"""The books and the progress of a whole backfill, summed over the records of its shards. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from domain.runs import Progress, ProviderProgress, ShardCounts, ShardStatus
from domain.verdicts import Billed, Outcome, Provider
from tasks.candidates import PlanTotals
from tasks.records.balance import Tally
from tasks.records.run_record import ProviderBooks, books_of
from tasks.records.shard_record import ShardRecord
from tasks.settings import Spec


def summed(
    spec: Spec, totals: PlanTotals, shards: Iterable[ShardRecord], now: datetime
) -> tuple[ProviderBooks, ...]:
    """Each provider's books: what the plan promised, with what the shards settled; others' questions pend.

    The rate is that of the shards at work, the cap the newest that one of them saw, or else the spec's.
    """
    of: dict[Provider, list[ShardRecord]] = {provider: [] for provider in totals.providers}
    for each in shards:
        of[each.provider].append(each)
    return tuple(
        replace(
            books_of(planned.balance, _tally(each.books for each in of[provider])),
            cap_per_s=_cap(of[provider], spec.asked[provider].qps),
            rate_per_s=round(sum(each.books.rate_per_s or 0.0 for each in _at_work(of[provider], now)), 3),
        )
        for provider, planned in totals.providers.items()
    )


def progress_of(
    phase: str, books: Iterable[ProviderBooks], counts: ShardCounts, trouble: str | None
) -> Progress:
    """Where the backfill stands, for people who watch."""
    books = tuple(books)
    return Progress(
        phase,
        max((each.balance.listed for each in books), default=0),
        tuple(
            ProviderProgress(
                provider=each.balance.provider,
                asked=each.balance.asked - each.balance.handed_over,
                outcomes=each.balance.outcomes,
                cap_per_s=each.cap_per_s or 0,
                rate_per_s=each.rate_per_s or 0.0,
                throttled=each.throttled,
                cost=each.cost,
                calls=each.calls,
            )
            for each in books
        ),
        trouble=trouble,
        shards=counts,
    )


def _tally(books: Iterable[ProviderBooks]) -> Tally:
    outcomes: Counter[Outcome] = Counter()
    billed: Counter[Billed] = Counter()
    calls = charged = throttled = 0
    costs: list[float] = []
    for each in books:
        outcomes.update(each.balance.outcomes)
        billed.update(each.billed)
        calls, charged, throttled = calls + each.calls, charged + each.charged, throttled + each.throttled
        costs += [] if each.cost is None else [each.cost]
    return Tally(
        outcomes=outcomes,
        billed=billed,
        calls=calls,
        charged=charged,
        throttled=throttled,
        cost=sum(costs) if costs else None,
    )


def _at_work(shards: Iterable[ShardRecord], now: datetime) -> list[ShardRecord]:
    return [each for each in shards if each.status is ShardStatus.WORKING and not each.is_stale(now)]


def _cap(shards: Iterable[ShardRecord], qps: int) -> int:
    seen = [(each.updated_at, each.books.cap_per_s) for each in shards if each.books.cap_per_s]
    return max(seen)[1] or qps if seen else qps
