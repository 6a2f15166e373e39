"""What people see of plans, runs and checks."""

from collections.abc import Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from domain.runs import RunStatus
from domain.verdicts import Risk
from flows import budgets
from flows.backfills import show_backfill
from flows.sampling import show_estimates, show_strata
from flows.wording import duration, moment, shown
from tasks.units.books import RunRecord, Summary
from tasks.units.compacting import Compaction, Totals
from tasks.units.doctor import Check
from tasks.units.draft import Draft
from tasks.units.stages import second_of, strategy_of

RISK_STYLES = {Risk.HIGH: "bold red", Risk.MID: "yellow", Risk.LOW: "green"}


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
    if summary.backfill is not None:
        show_backfill(console, summary.backfill)
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
    if summary.backfill is not None:
        heard_of = moment(summary.record.updated_at)
        is_left = summary.record.status is RunStatus.RUNNING and not summary.backfill.is_coordinated
        return f", but its coordinator was last heard of at {heard_of}: `resume` goes on" if is_left else ""
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
