"""What people see on a terminal, or in a log where there is none."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from domain.runs import Progress, ProviderProgress, RunStatus
from domain.verdicts import Outcome, Risk
from flows import budgets
from flows.sampling import show_estimates, show_strata
from flows.wording import duration, moment, shown
from tasks.units.books import RunRecord, Summary
from tasks.units.compacting import Compaction, Totals
from tasks.units.doctor import Check
from tasks.units.draft import Draft
from tasks.units.stages import second_of, strategy_of

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
    trouble = [] if progress.trouble is None else [progress.trouble]
    lines = trouble + [
        f"{progress.phase}: {each.provider} {each.settled:,} of {each.asked:,} settled ({_counts(each)}), "
        f"{each.rate_per_s:.2f}/s of {each.cap_per_s}/s, {each.throttled:,} throttled, "
        f"{_left(each)} left{_spent(each)}"
        for each in progress.providers
    ]
    return [*lines, *_budget_left(progress)]


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
    below = [Text(line, style="dim") for line in _budget_left(progress)]
    return Group(Text(progress.phase, style="dim"), table, *below, *trouble)


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


def show_plan(console: Console, draft: Draft) -> None:
    """What a plan would ask, skip, take and cost."""
    if draft.inventory is not None and (left_out := draft.inventory.left_out):
        counts = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(left_out.items()))
        console.print(f"inventory: {draft.inventory.rows:,} rows; left out, {counts}", highlight=False)
    for provider, totals in draft.totals.providers.items():
        console.print(
            f"[bold]{provider}[/]: {totals.listed:,} listed, {totals.asked:,} to ask about"
            + (f" ({totals.copies:,} of them copies that need no call)" if totals.copies else ""),
            highlight=False,
        )
        for reason, count in totals.skipped.items():
            console.print(f"  skipped, {reason}: {count:,}", highlight=False)
        if draft.reask is not None:
            paid = f"{totals.paid_before:,} of these have been paid for already"
            console.print(f"  [bold]{paid}[/] and would be paid for again", highlight=False)
    if (later := second_stage_line(draft)) is not None:
        console.print(later, highlight=False)
    show_strata(console, draft)
    table = Table("provider", "calls", "time at the cap", "ends", "cost", box=None, pad_edge=False)
    for each in draft.estimates:
        table.add_row(
            each.provider,
            f"{each.calls:,}",
            duration(each.hours),
            moment(each.ends_at),
            "no price given" if each.cost is None else f"{each.cost:,.2f}",
        )
    console.print(table)
    for sentence in budgets.covered(draft):
        console.print(sentence, highlight=False)


def second_stage_line(draft: Draft) -> str | None:
    """What the second provider will be asked once the first has had its turn; None without such a stage."""
    strategy, second = strategy_of(draft.spec), second_of(draft.spec)
    if strategy.first is None or second is None or draft.retry_of is not None:
        return None
    if strategy.kind == "failover":
        return f"[bold]{second}[/]: takes over what {strategy.first} leaves without an answer"
    control = f", and about {draft.spec.strategy.low_share} of the rest" if strategy.low_share else ""
    return f"[bold]{second}[/]: asked afterwards where {strategy.first} says mid or high{control}"


def show_summary(console: Console, summary: Summary) -> None:
    """What a run found, and its books."""
    record = summary.record
    console.print(
        f"[bold]{record.audit}[/] run {record.run_id}: [bold]{record.status}[/]{_standing(summary)}",
        highlight=False,
    )
    if record.simulated:
        console.print("[reverse] simulated [/] an emulator answered: nothing here is a real verdict")
    if record.reask is not None:
        console.print(f"asked again: {record.reask}", highlight=False, markup=False)
    if record.stop_reason:
        console.print(f"stopped: {record.stop_reason}", highlight=False, markup=False)
    if summary.findings.risks:
        console.print()
        table = Table("risk, by", *reversed(Risk), box=None, pad_edge=False)
        for provider, risks in summary.findings.risks.items():
            table.add_row(provider, *(Text(f"{risks[risk]:,}", RISK_STYLES[risk]) for risk in reversed(Risk)))
        console.print(table)
    if summary.estimates:
        console.print()
        show_estimates(console, summary.estimates)
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
    if summary.spending is not None:
        console.print(budgets.left(summary.spending), highlight=False)


def _standing(summary: Summary) -> str:
    """Who works on an unfinished run: its status may be the last word of a process that was killed."""
    if summary.worked_on_by:
        return f", worked on by {summary.worked_on_by}"
    if summary.record.status in (RunStatus.PLANNED, RunStatus.RUNNING):
        return ", but no process of this machine works on it: `facesweep resume` goes on"
    return ""


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


def runs_table(records: Sequence[RunRecord]) -> Table:
    """One line for each run."""
    headings = ("run", "started", "status", "took", "asked", "settled", "calls", "cost", "of")
    table = Table(*headings, box=None, pad_edge=False)
    for record in records:
        balances = [books.balance for books in record.books]
        costs = [books.cost for books in record.books if books.cost is not None]
        table.add_row(
            record.run_id,
            moment(record.started_at),
            record.status,
            duration(((record.ended_at or record.updated_at) - record.started_at).total_seconds() / 3600),
            f"{sum(each.asked for each in balances):,}",
            f"{sum(sum(each.outcomes.values()) for each in balances):,}",
            f"{sum(books.calls for books in record.books):,}",
            f"{sum(costs):,.2f}" if costs else "-",
            f"retry of {record.retry_of}" if record.retry_of else record.audit,
        )
    return table


def show_compaction(console: Console, compaction: Compaction, *, is_done: bool) -> None:
    """Files, rows and bytes before and after, and what was left alone."""
    table = Table("", "files", "rows", "bytes", "", "files", "rows", "bytes", box=None, pad_edge=False)
    for provider, before in compaction.before.items():
        after = compaction.after[provider]
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
