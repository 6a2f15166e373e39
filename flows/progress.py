"""Progress on a terminal, or in a log where there is none."""

import time
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from domain.runs import Progress, ProviderProgress
from domain.verdicts import Outcome
from flows import budgets

PLAIN_EVERY_S = 10.0
"""How often progress is written where nobody can redraw a line: a night's log stays readable."""


class ProgressDisplay:
    """Progress of a run: drawn anew on a terminal, a plain line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._latest: Progress | None = None
        self._next_line_at = 0.0
        self._written: list[str] = []

    def __enter__(self) -> "ProgressDisplay":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        elif self._latest and self._latest.providers:
            self._write_line(self._latest)

    def update(self, progress: Progress) -> None:
        """Show where the run stands; may be called from any thread."""
        is_new_phase = self._latest is None or self._latest.phase != progress.phase
        self._latest = progress
        if self._live:
            self._live.update(_drawn(progress), refresh=True)
        elif is_new_phase or time.monotonic() >= self._next_line_at:
            self._write_line(progress)

    @property
    def is_asking(self) -> bool:
        """Whether calls may be on the way."""
        return self._latest is not None and bool(self._latest.providers)

    def pause(self) -> None:
        """Clear the drawing, so that somebody can be asked something."""
        if self._live:
            self._live.stop()

    def go_on(self) -> None:
        """Draw again."""
        if self._live:
            self._live.start()

    def _write_line(self, progress: Progress) -> None:
        self._next_line_at = time.monotonic() + PLAIN_EVERY_S
        lines = _plain(progress)
        if lines != self._written:
            self._console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
            self._written = lines


def _plain(progress: Progress) -> list[str]:
    if not progress.providers:
        return [f"{progress.phase}: {progress.listed:,} objects" if progress.listed else progress.phase]
    trouble = [] if progress.trouble is None else [progress.trouble]
    lines = trouble + [
        f"{progress.phase}: {each.provider} {each.settled:,} of {each.asked:,} settled ({_counts(each)}), "
        f"{each.rate_per_s:.2f}/s of {each.cap_per_s}/s, {each.throttled:,} throttled, "
        f"{_left(each)} left{_spent(each)}"
        for each in progress.providers
    ]
    return [*lines, *_shards(progress), *_budget_left(progress)]


def _drawn(progress: Progress) -> RenderableType:
    if not progress.providers:
        return Text(_plain(progress)[0], style="dim")
    table = Table.grid(padding=(0, 2))
    for each in progress.providers:
        table.add_row(
            Text(each.provider, style="bold"),
            ProgressBar(total=max(each.asked, 1), completed=each.settled, width=24),
            f"{each.settled:,}/{each.asked:,}",
            f"{each.rate_per_s:.1f} of {each.cap_per_s}/s",
            f"{_left(each)} left{_spent(each)}",
        )
        table.add_row("", Text(_counts(each), style="dim"), "", f"{each.throttled:,} throttled", "")
    trouble = [Text(progress.trouble, style="yellow")] if progress.trouble else []
    below = [Text(line, style="dim") for line in (*_shards(progress), *_budget_left(progress))]
    return Group(Text(progress.phase, style="dim"), table, *below, *trouble)


def _shards(progress: Progress) -> list[str]:
    return [] if progress.shards is None else [str(progress.shards)]


def _budget_left(progress: Progress) -> list[str]:
    return [] if progress.spending is None else [budgets.left(progress.spending, datetime.now(UTC))]


def _counts(each: ProviderProgress) -> str:
    return (
        ", ".join(f"{each.outcomes[name]:,} {name}" for name in Outcome if each.outcomes.get(name)) or "none"
    )


def _left(each: ProviderProgress) -> str:
    return str(timedelta(seconds=round(each.eta_s)))


def _spent(each: ProviderProgress) -> str:
    return "" if each.cost is None else f", {each.cost:,.2f} spent"
