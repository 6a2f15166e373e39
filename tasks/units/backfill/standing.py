"""Where a backfill stands, from its home alone: right on any machine, also while its coordinator is dead."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from domain.runs import RunKind, RunStatus, ShardStatus
from domain.verdicts import Provider
from tasks.records import control, shard_record
from tasks.records.control import Control
from tasks.records.home import Home
from tasks.records.run_record import RunRecord
from tasks.records.shard_record import STALE_AFTER, ShardRecord
from tasks.settings import spec_of
from tasks.units.backfill.books import summed
from tasks.units.stages import read_totals


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A process that works on a shard by the shard's record."""

    worker: str  # such as `process 4711 on host`
    provider: Provider
    number: int
    attempt: int
    settled: int
    asked: int
    share_per_s: int | None  # calls a second it may make; 0: it waits for some
    rate_per_s: float | None  # that it made lately
    heard_of_at: datetime
    is_stale: bool  # not heard of for two minutes: it is dead, or cut off from the home


@dataclass(frozen=True, slots=True)
class BackfillStanding:
    """What its shards' records and its control say of a backfill."""

    planned: int  # shards
    shards: Mapping[ShardStatus, int]  # of these, begun ones
    workers: tuple[WorkerSeen, ...]
    eta_s: Mapping[Provider, float | None]  # at the present rate; None while nobody works
    wanted: Control
    is_coordinated: bool  # its coordinator has saved the run's record within two minutes

    @property
    def unbegun(self) -> int:
        """Shards nobody has begun."""
        return self.planned - sum(self.shards.values())

    @property
    def stale(self) -> int:
        """Shards whose process is gone, or cut off."""
        return sum(each.is_stale for each in self.workers)

    def to_json(self) -> dict[str, Any]:
        """As `facesweep status --json` shows it."""
        return {
            "planned": self.planned,
            "unbegun": self.unbegun,
            "shards": dict(self.shards),
            "stale": self.stale,
            "workers": [asdict(each) for each in self.workers],
            "eta_s": dict(self.eta_s),
            "wanted": asdict(self.wanted),
            "is_coordinated": self.is_coordinated,
        }


def counted(home: Home, record: RunRecord, now: datetime) -> RunRecord:
    """An unfinished backfill's record with the books of its shards as they stand now; another as it is.

    Raises:
        UsageError: a shard's record or the plan cannot be read; names the file.
    """
    if record.kind is not RunKind.BACKFILL or record.status.gives_way:
        return record
    shards = shard_record.list_shards(home, record.run_id)
    spec = spec_of(dict(record.spec), f"the spec of run {record.run_id}")
    home.refresh(f"plans/run={record.run_id}/plan-2.json")
    return replace(
        record,
        books=summed(spec, read_totals(home, record.run_id), shards, now),
        simulated=record.simulated or any(each.simulated for each in shards),
    )


def standing_of(home: Home, record: RunRecord, now: datetime) -> BackfillStanding | None:
    """Where a backfill stands whose books are `counted`; None for an audit and for one that is over.

    Raises:
        As `counted`.
    """
    if record.kind is not RunKind.BACKFILL or record.status.is_over:
        return None
    shards = shard_record.list_shards(home, record.run_id)
    workers = tuple(_seen(each, now) for each in shards if each.status is ShardStatus.WORKING)
    totals = read_totals(home, record.run_id)
    return BackfillStanding(
        planned=sum(len(each.shards) for each in totals.providers.values() if not each.handed_over),
        shards=dict(
            Counter(each.status for each in shards if not totals.providers[each.provider].handed_over)
        ),
        workers=workers,
        eta_s={
            each.balance.provider: each.balance.pending / each.rate_per_s if each.rate_per_s else None
            for each in record.books
            if each.balance.pending
        },
        wanted=control.load(home, record.run_id),
        is_coordinated=record.status is RunStatus.RUNNING and now - record.updated_at <= STALE_AFTER,
    )


def _seen(record: ShardRecord, now: datetime) -> WorkerSeen:
    balance = record.books.balance
    return WorkerSeen(
        worker=record.worker,
        provider=record.provider,
        number=record.number,
        attempt=record.attempt,
        settled=balance.asked - balance.pending,
        asked=balance.asked,
        share_per_s=record.share_per_s,
        rate_per_s=record.books.rate_per_s,
        heard_of_at=record.updated_at,
        is_stale=record.is_stale(now),
    )
