"""What the Prefect UI shows of a run: progress while it works, a summary when it ends."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact

from domain.runs import Progress, ProviderProgress
from domain.verdicts import Provider, Risk
from flows import budgets
from flows.sampling import estimate_lines
from tasks.units.books import Summary, summary_of
from tasks.units.opening import Home

PROGRESS_EVERY_S = 5.0
"""An update costs the server about 11 ms: often enough to watch, too seldom to be felt."""


@asynccontextmanager
async def showing_progress(progress: Callable[[], Progress]) -> AsyncIterator[None]:
    """A progress artifact for each provider, kept up to date while the block runs."""
    artifacts: dict[Provider, UUID] = {}

    async def update() -> None:
        for each in progress().providers:  # the second one may join later
            if each.provider in artifacts:
                await aupdate_progress_artifact(artifacts[each.provider], _percent(each), _line(each))
            else:
                artifacts[each.provider] = await acreate_progress_artifact(
                    _percent(each), key=f"progress-{each.provider}", description=_line(each)
                )

    async def keep_up() -> None:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            await update()

    await update()
    keeping_up = asyncio.create_task(keep_up())
    try:
        yield
    finally:
        keeping_up.cancel()
        await asyncio.gather(keeping_up, return_exceptions=True)
    await update()


async def publish_summary(home: Home, run_id: str) -> None:
    """A markdown artifact with the books and what was found; no object is named in it."""
    summary = await asyncio.to_thread(summary_of, home, run_id)
    key = re.sub(r"[^a-z0-9]+", "-", f"summary-{summary.record.audit}".lower()).strip("-")
    await acreate_markdown_artifact(
        summary_markdown(summary), key=key, description=f"{summary.record.audit} {run_id}"
    )


def summary_markdown(summary: Summary) -> str:
    """The books and findings of a run as markdown tables."""
    record = summary.record
    lines = [f"# {record.audit} · {record.run_id}", "", f"{record.status}"]
    if record.simulated:
        lines += ["", "**Simulated**: an emulator answered. Nothing here is a real verdict."]
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


def _percent(each: ProviderProgress) -> float:
    return 100.0 * each.settled / each.asked if each.asked else 100.0


def _line(each: ProviderProgress) -> str:
    """Progress in one line: what is settled, the rate against the cap, what was turned away, time left."""
    return (
        f"{each.provider}: {each.settled:,} of {each.asked:,} settled, {each.rate_per_s:.2f}/s of "
        f"{each.cap_per_s}/s, {each.throttled:,} throttled, {each.eta_s / 3600:.1f} h left"
    )
