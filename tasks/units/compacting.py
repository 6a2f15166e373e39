"""Compacting a home: which of its runs are over, and who is told and may stop it meanwhile."""

from collections.abc import Callable

from domain.errors import UsageError
from domain.runs import Progress
from tasks.records import run_record
from tasks.records.batches import Totals
from tasks.records.compaction import Compaction, compact, look_ahead
from tasks.records.home import Home
from tasks.units.watching import tell

__all__ = ["Compaction", "Totals", "compact_home", "look_at_compaction"]


def compact_home(home: Home, go_on: Callable[[], None] = lambda: None) -> Compaction:
    """Merge the parts of all runs that are over, while others read them. `go_on` may raise, to stop it.

    Raises:
        HomeBusy: another process compacts this home.  HomeUnwritable: no room or no permission.
        UsageError, PartDamaged: there are no runs, or a record or a part cannot be read; names it.
        Whatever is raised, every verdict still counts exactly once.
    """
    tell(Progress("compacting"))
    return compact(home, _runs_over(home), go_on=go_on)


def look_at_compaction(home: Home) -> Compaction:
    """What `compact_home` would do; nothing is touched. Raises: UsageError, PartDamaged: as there."""
    return look_ahead(home, _runs_over(home))


def _runs_over(home: Home) -> set[str]:
    records = run_record.list_runs(home)
    if not records:
        raise UsageError(f"{home.root} holds no runs: is it an audit's home?")
    return {record.run_id for record in records if record.status.is_over}
