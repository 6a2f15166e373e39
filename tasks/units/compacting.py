"""Compacting a home: which of its runs are over, and who is told and may stop it meanwhile."""

from collections.abc import Callable

from domain.errors import UsageError
from domain.runs import Progress, RunKind, ShardStatus
from tasks.records import run_record, shard_record
from tasks.records.batches import ShardName, Totals
from tasks.records.compaction import Compaction, compact, look_ahead
from tasks.records.home import Home
from tasks.units.watching import tell

__all__ = ["Compaction", "Totals", "compact_home", "look_at_compaction"]


def compact_home(home: Home, go_on: Callable[[], None] = lambda: None) -> Compaction:
    """Merge the parts of runs and shards that are over, while others read. `go_on` may raise, to stop it.

    Raises:
        HomeBusy: another process compacts this home.  HomeUnwritable: no room or no permission.
        UsageError, PartDamaged: there are no runs, or a record or a part cannot be read; names it.
        Whatever is raised, every verdict still counts exactly once.
    """
    tell(Progress("compacting"))
    runs, shards = _over(home)
    return compact(home, runs, shards_over=shards, go_on=go_on)


def look_at_compaction(home: Home) -> Compaction:
    """What `compact_home` would do; nothing is touched. Raises: UsageError, PartDamaged: as there."""
    runs, shards = _over(home)
    return look_ahead(home, runs, shards_over=shards)


def _over(home: Home) -> tuple[set[str], set[ShardName]]:
    """Runs that are over, and shards that are done of those that are not."""
    records = run_record.list_runs(home)
    if not records:
        raise UsageError(f"{home.root} holds no runs: is it an audit's home?")
    going_on = [each for each in records if not each.status.is_over and each.kind is RunKind.BACKFILL]
    shards = [each for record in going_on for each in shard_record.list_shards(home, record.run_id)]
    return (
        {record.run_id for record in records if record.status.is_over},
        {
            (each.run_id, str(each.provider), each.number)
            for each in shards
            if each.status is ShardStatus.DONE
        },
    )
