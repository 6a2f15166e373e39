"""What people see of a backfill that is not over: its shards, who works on them, when it ends."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.runs import Wanted
from flows.wording import duration, moment, shown
from tasks.units.backfill.standing import BackfillStanding


def show_backfill(console: Console, standing: BackfillStanding) -> None:
    """Shards by where they stand, the processes at work, the time left."""
    if standing.wanted.wanted is not Wanted.RUN:
        by = f" by {standing.wanted.by}" if standing.wanted.by else ""
        console.print(f"wanted: {standing.wanted.wanted}{by}", highlight=False, markup=False)
    counts = [f"{count:,} {status}" for status, count in sorted(standing.shards.items())]
    unbegun = [f"{standing.unbegun:,} not begun"] if standing.unbegun else []
    stale = [f"{standing.stale:,} not heard of for 2 minutes"] if standing.stale else []
    console.print(
        f"{standing.planned:,} shards: {', '.join([*counts, *stale, *unbegun])}",
        highlight=False,
        markup=False,
    )
    if standing.workers:
        console.print(_workers(standing))
    for provider, eta_s in standing.eta_s.items():
        left = "nobody works on it" if eta_s is None else f"{duration(eta_s / 3600)} left at the present rate"
        console.print(f"{provider}: {left}", highlight=False, markup=False)


def _workers(standing: BackfillStanding) -> Table:
    table = Table("worker", "shard", "settled", "rate", "share", "heard of", box=None, pad_edge=False)
    for each in standing.workers:
        table.add_row(
            Text(shown(each.worker)),
            f"{each.provider} {each.number}",
            f"{each.settled:,} of {each.asked:,}",
            f"{each.rate_per_s or 0.0:.2f}/s",
            "-" if each.share_per_s is None else f"{each.share_per_s}/s",
            Text(moment(each.heard_of_at), "red" if each.is_stale else ""),
        )
    return table
