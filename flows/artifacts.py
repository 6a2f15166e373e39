"""What the Prefect UI shows of a run: its name, progress while it works, its books when it ends.

Whoever has a `Progress` or a `Summary` can show it: an audit, the whole of a backfill, one shard of it.
Nothing here ends a run: a server that is away, or restarted, is told again a moment later.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from uuid import UUID

from prefect.artifacts import (
    acreate_link_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from domain.errors import HomeBusy, UsageError
from domain.runs import Progress, ProviderProgress, ShardCounts
from domain.verdicts import Outcome, Provider, Risk
from flows import budgets
from flows.sampling import estimate_lines
from flows.wording import duration
from tasks.units.books import RunRecord, Summary, reports_of, summary_of
from tasks.units.events import Changes, say
from tasks.units.opening import Home

PROGRESS_EVERY_S = 5.0
"""An update costs the server about 11 ms: often enough to watch, too seldom to be felt."""


async def name_flow_run(audit: str, run_id: str, *what: str) -> None:
    """Name the flow run that this happens in, once it is known which run it works on, and at what of it."""
    name = " · ".join((audit, run_id, *what))
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with _only_shown("name"):
        async with get_client() as client:
            await client.set_flow_run_name(context.flow_run.id, name)
        context.flow_run.name = name


@asynccontextmanager
async def showing_progress(progress: Callable[[], Progress]) -> AsyncIterator[None]:
    """While the block runs: a progress artifact for each provider, kept up to date; changes go to the log."""
    artifacts: dict[Provider, UUID] = {}
    changes = Changes()

    async def update(*, is_over: bool = False) -> None:
        now = progress()
        changes.note(now)
        for each in now.providers:  # the second one may join later
            with _only_shown("progress"):
                known = artifacts.pop(
                    each.provider, None
                )  # made anew if this fails: somebody may have deleted it
                artifacts[each.provider] = await _show_progress(now, each, known, is_over=is_over)

    async def keep_up() -> None:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            await update()

    await update()
    keeping_up = asyncio.create_task(keep_up())
    try:
        yield
    except Exception:
        await _ended(keeping_up)
        await update(is_over=True)
        raise
    finally:
        await _ended(keeping_up)
    await update(is_over=True)


@asynccontextmanager
async def showing_end(home: Home, run_id: str) -> AsyncIterator[None]:
    """Whichever way the run in the block ends: its books and findings, and a last line in the log.

    Not where it could not be opened or is somebody else's, and not where nobody waits for its end.
    """
    try:
        yield
    except (UsageError, HomeBusy):
        raise
    except Exception:
        await publish_summary(home, run_id)
        raise
    await publish_summary(home, run_id)


async def publish_summary(home: Home, run_id: str) -> None:
    """Artifacts: the books, what was found, a link to the report if there is one. No object is named."""
    with _only_shown("summary"):
        summary = await asyncio.to_thread(summary_of, home, run_id)
        record = summary.record
        reports = await asyncio.to_thread(reports_of, home, record)
        say_ended(record)
        named = f"{record.audit} {run_id}: {record.status}"
        await acreate_table_artifact(
            balance_table(summary), key=artifact_key(record.audit, "balance"), description=named
        )
        await acreate_markdown_artifact(
            summary_markdown(summary, reports), key=artifact_key(record.audit, "summary"), description=named
        )
        for report in reports:
            await acreate_link_artifact(
                report, key=artifact_key(record.audit, "report"), link_text=report, description=named
            )


def say_ended(record: RunRecord) -> None:
    """The run's last line in the log."""
    balances = [books.balance for books in record.books]
    say(
        "run_ended",
        audit=record.audit,
        run=record.run_id,
        status=record.status,
        settled=sum(sum(each.outcomes.values()) for each in balances),
        failed=sum(each.outcomes.get(Outcome.FAILED, 0) for each in balances),
        left=sum(each.pending + each.over_budget for each in balances),
        calls=sum(books.calls for books in record.books),
        throttled=sum(books.throttled for books in record.books),
        reason=record.stop_reason,
    )


def artifact_key(*parts: str) -> str:
    """A key Prefect accepts: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-") or "run"


def balance_table(summary: Summary) -> list[dict[str, str]]:
    """The books, one row for each provider; what is 0 everywhere and need not be seen has no column."""
    rows = []
    for books in summary.record.books:
        balance = books.balance
        counts = {
            "listed": balance.listed,
            "skipped": sum(balance.skipped.values()),
            "over budget": balance.over_budget,
            "asked": balance.asked,
            **{str(name): balance.outcomes.get(name, 0) for name in Outcome},
            "handed over": balance.handed_over,
            "pending": balance.pending,
            "calls": books.calls,
            "throttled": books.throttled,
        }
        rows.append((books, counts))
    always = ("listed", "asked", "pending", "calls", "throttled")
    return [
        {
            "provider": str(books.balance.provider),
            "balanced": "yes" if books.balance.is_balanced else "NO",
            **{
                name: f"{count:,}"
                for name, count in counts.items()
                if name in always or any(other[name] for _, other in rows)
            },
            "spent": "-" if books.cost is None else f"{books.cost:,.2f}",
        }
        for books, counts in rows
    ]


def summary_markdown(summary: Summary, reports: tuple[str, ...] = ()) -> str:
    """The books and findings of a run as markdown."""
    record = summary.record
    lines = [f"# {record.audit} · {record.run_id}", "", f"**{record.status}**"]
    if record.stop_reason:
        lines[-1] += f": {record.stop_reason}"
    if record.simulated:
        lines += ["", "**Simulated**: an emulator answered. Nothing here is a real verdict."]
    lines += [line for each in reports for line in ("", f"Report: `{each}`")]
    if summary.findings.risks:
        lines += ["", "## Found", "", "| provider | high | mid | low |", "|---|---:|---:|---:|"]
    for provider, risks in summary.findings.risks.items():
        lines.append(f"| {provider} | {risks[Risk.HIGH]:,} | {risks[Risk.MID]:,} | {risks[Risk.LOW]:,} |")
    if summary.estimates:
        lines += ["", "## Share at risk", "", *(f"- {line}" for line in estimate_lines(summary.estimates))]
    lines += ["", "## Books", "", *(f"- {line}" for line in summary.balance)]
    if summary.spending is not None:
        lines.append(f"- {budgets.left(summary.spending)}")
    if summary.findings.reasons:
        lines += [
            "",
            "## Without a verdict",
            "",
            "| provider | outcome | reason | questions |",
            "|---|---|---|---:|",
        ]
        lines += [
            f"| {each.provider} | {each.outcome} | {each.reason} | {each.count:,} |"
            for each in summary.findings.reasons
        ]
    return "\n".join(lines) + "\n"


def progress_line(
    each: ProviderProgress, now: datetime, shards: ShardCounts | None = None, *, is_over: bool = False
) -> str:
    """Settled, rate against the cap, time left, calls, turned away, not yet published: what matters first.

    Of a whole backfill, its `shards`. Of a run that `is_over`, what it did.
    """
    settled = f"{each.settled:,} of {each.asked:,} settled"
    calls_itself = each.share_per_s is not None
    by_whom = " by this process" if calls_itself else ""
    calls = f"{each.calls:,} calls and {each.throttled:,} throttled{by_whom}"
    if is_over:
        return " · ".join([settled, calls, *([str(shards)] if shards else [])])
    is_shared = calls_itself and each.share_per_s != each.cap_per_s
    share = f", {each.share_per_s}/s of it ours" if is_shared else ""
    parts = [
        settled,
        f"{each.rate_per_s:.2f}/s of {each.cap_per_s}/s{share}",
        f"{duration(each.eta_s / 3600)} left" if each.settled < each.asked else "nothing left to ask",
        *([str(shards)] if shards else []),
        calls,
        *([f"{each.in_flight:,} in flight"] if calls_itself else []),
    ]
    if each.unpublished:
        oldest = each.oldest_unpublished_at
        age = "" if oldest is None else f", the oldest for {duration((now - oldest).total_seconds() / 3600)}"
        parts.append(f"{each.unpublished:,} not published yet{age}")
    return " · ".join(parts)


async def _show_progress(
    progress: Progress, each: ProviderProgress, known: UUID | None, *, is_over: bool
) -> UUID:
    percent = 100.0 * each.settled / each.asked if each.asked else 100.0
    said = progress_line(each, datetime.now(UTC), progress.shards, is_over=is_over)
    if known is None:
        what = [] if progress.kind == "audit" else [progress.kind]
        key = artifact_key(progress.audit, *what, "progress", each.provider)
        return await acreate_progress_artifact(percent, key=key, description=said)
    await aupdate_progress_artifact(known, percent, said)
    return known


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _only_shown(what: str) -> Iterator[None]:
    """What is only shown ends no run: a server may be away, or somebody may have deleted what was shown."""
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):
            say("prefect_not_told", what=what, error=type(error).__name__)
