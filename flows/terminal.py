"""What people see on a terminal, or in a log where there is none."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from domain.runs import Progress, ProviderProgress
from domain.verdicts import Outcome, Risk
from tasks.units.books import Summary
from tasks.units.compacting import Compaction, Totals
from tasks.units.doctor import Check
from tasks.units.draft import Draft

PLAIN_EVERY_S = 10.0
"""How often progress is written where nobody can redraw a line: a night's log stays readable."""

RISK_STYLES = {Risk.HIGH: "bold red", Risk.MID: "yellow", Risk.LOW: "green"}


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
    return [
        f"{progress.phase}: {each.provider} {each.settled:,} of {each.asked:,} settled ({_counts(each)}), "
        f"{each.rate_per_s:.2f}/s of {each.cap_per_s}/s, {each.throttled:,} throttled, "
        f"{_left(each)} left{_spent(each)}"
        for each in progress.providers
    ]


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
    return Group(Text(progress.phase, style="dim"), table)


def _counts(each: ProviderProgress) -> str:
    return (
        ", ".join(f"{each.outcomes[name]:,} {name}" for name in Outcome if each.outcomes.get(name)) or "none"
    )


def _left(each: ProviderProgress) -> str:
    return str(timedelta(seconds=round(each.eta_s)))


def _spent(each: ProviderProgress) -> str:
    return "" if each.cost is None else f", {each.cost:,.2f} spent"


def show_plan(console: Console, draft: Draft) -> None:
    """What a plan would ask, skip, take and cost."""
    for provider, totals in draft.totals.providers.items():
        console.print(
            f"[bold]{provider}[/]: {totals.listed:,} listed, {totals.asked:,} to ask about"
            + (f" ({totals.copies:,} of them copies that need no call)" if totals.copies else ""),
            highlight=False,
        )
        for reason, count in totals.skipped.items():
            console.print(f"  skipped, {reason}: {count:,}", highlight=False)
    table = Table("provider", "calls", "time at the cap", "ends", "cost", box=None, pad_edge=False)
    for each in draft.estimates:
        table.add_row(
            each.provider,
            f"{each.calls:,}",
            _duration(each.hours),
            _moment(each.ends_at),
            "no price given" if each.cost is None else f"{each.cost:,.2f}",
        )
    console.print(table)


def show_summary(console: Console, summary: Summary) -> None:
    """What a run found, and its books."""
    record = summary.record
    console.print(f"[bold]{record.audit}[/] run {record.run_id}: [bold]{record.status}[/]", highlight=False)
    if record.simulated:
        console.print("[reverse] simulated [/] an emulator answered: nothing here is a real verdict")
    if record.stop_reason:
        console.print(f"stopped: {record.stop_reason}", highlight=False, markup=False)
    if summary.findings.risks:
        console.print()
        table = Table("risk, by", *reversed(Risk), box=None, pad_edge=False)
        for provider, risks in summary.findings.risks.items():
            table.add_row(provider, *(Text(f"{risks[risk]:,}", RISK_STYLES[risk]) for risk in reversed(Risk)))
        console.print(table)
    if summary.findings.suspects:
        console.print()
        console.print(_suspects(summary))
    if summary.findings.reasons:
        console.print()
        console.print(_reasons(summary))
    console.print()
    for line_of_books in summary.balance:
        console.print(line_of_books, highlight=False, markup=False, soft_wrap=True)
    for books in record.books:
        cost = "" if books.cost is None else f", {books.cost:,.2f} spent"
        console.print(
            f"{books.balance.provider}: {books.calls:,} calls, {books.throttled:,} throttled{cost}",
            highlight=False,
        )


def _suspects(summary: Summary) -> Table:
    providers = list(summary.findings.risks)
    table = Table("look at first", *providers, "tags", box=None, pad_edge=False)
    for each in summary.findings.suspects:
        risks = (
            Text(each.risks[name], RISK_STYLES[each.risks[name]]) if name in each.risks else "-"
            for name in providers
        )
        table.add_row(Text(shown(each.url), overflow="fold"), *risks, ", ".join(each.tags))
    return table


def _reasons(summary: Summary) -> Table:
    table = Table("without a verdict", "by", "reason", "e.g.", box=None, pad_edge=False)
    for each in summary.findings.reasons:
        example = Text(shown(each.example_url), overflow="fold")
        table.add_row(f"{each.count:,} {each.outcome}", each.provider, each.reason, example)
    return table


def show_runs(console: Console, summaries: Sequence[Summary]) -> None:
    """One line for each run, then the books of the newest."""
    for summary in summaries:
        show_summary(console, summary)
        console.print()


def show_compaction(console: Console, compaction: Compaction, *, is_done: bool) -> None:
    """Files, rows and bytes before and after, and what was left alone."""
    table = Table("", "files", "rows", "bytes", "", "files", "rows", "bytes", box=None, pad_edge=False)
    for provider, before in compaction.before.items():
        after = compaction.after.get(provider, Totals(0, 0, 0, 0))
        table.add_row(provider, *_held(before), "become" if is_done else "would become", *_held(after))
    console.print(table)
    if compaction.unfinished:
        files, runs = sum(compaction.unfinished.values()), ", ".join(compaction.unfinished)
        console.print(
            f"left alone, {files:,} files of runs that are not over or have no record: {runs}",
            highlight=False,
            markup=False,
        )


def _held(totals: Totals) -> tuple[str, str, str]:
    return f"{totals.files:,}", f"{totals.row_count:,}", decimal(totals.size_bytes)


def show_check(console: Console, check: Check) -> None:
    """One line of a doctor's visit."""
    mark = "[green]ok  [/]" if check.is_well else "[bold red]FAIL[/]"
    console.print(mark, Text(f"{check.name}: {check.sentence}"), soft_wrap=True)


def shown(text: str) -> str:
    """Text of a bucket's making as one harmless line: control characters are escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _duration(hours: float) -> str:
    """Hours, as people plan by them; seconds or minutes where it is less than one."""
    if hours < 1:
        return f"{hours * 3600:,.0f} s" if hours < 1 / 30 else f"{hours * 60:,.0f} min"
    return f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h ({hours / 24:,.1f} days)"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M %Z}"
