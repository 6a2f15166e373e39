"""Reports of a span of time: which span, and as a text."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.errors import UsageError
from domain.verdicts import Outcome, Risk
from flows.sampling import estimate_lines
from tasks.units.opening import Home
from tasks.units.reporting import Report, keep_report, report_of

REASONS_SHOWN = 20


def month_of(text: str | None, time_zone: str, now: datetime) -> tuple[str, datetime, datetime]:
    """A month such as `2026-10`, else the last whole one: its name, its first moment, the next one's.

    Raises:
        UsageError: there is no such month, or no such zone.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise UsageError(f"{time_zone!r} is no time zone: give a name such as Asia/Shanghai or UTC") from None
    if text is None:
        here = now.astimezone(zone)
        months = here.year * 12 + here.month - 2
    elif found := re.fullmatch(r"([1-9]\d{3})-(0[1-9]|1[0-2])", text):
        months = int(found[1]) * 12 + int(found[2]) - 1
    else:
        raise UsageError(f"{text!r} is no month: give year and month, such as 2026-10")
    first, following = (
        datetime(year, month + 1, 1, tzinfo=zone)
        for year, month in (divmod(months, 12), divmod(months + 1, 12))
    )
    return f"{first:%Y-%m}", first, following


def report_month(home: Home, month: str | None, time_zone: str, now: datetime) -> tuple[Report, str, str]:
    """The report of a month, kept in the home: what it says, as a text, and where that lies.

    Raises:
        UsageError: there is no such month or zone; something of the home cannot be read, or not written.
    """
    name, since, until = month_of(month, time_zone, now)
    report = report_of(home, name, since, until)
    text = report_markdown(report, now)
    return report, text, str(keep_report(home, name, text))


def report_markdown(report: Report, now: datetime) -> str:
    """The report as markdown; no object is named in it."""
    counts = report.counts
    audits = sorted({record.audit for record in report.runs})
    lines = [
        f"# {', '.join(audits) or 'No audit'} · {report.report_id}",
        "",
        f"Questions settled from {_day(report.since)} up to {_day(report.until)}, as of "
        f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC{' (the span is not over)' if now < report.until else ''}.",
    ]
    if any(record.simulated for record in report.runs):
        lines += ["", "**Simulated**: an emulator answered. Nothing here is a real verdict."]
    if not counts.outcomes:
        return "\n".join([*lines, "", "Nothing was settled."]) + "\n"
    lines += ["", "## Risk", "", "| provider | high | mid | low |", "|---|---:|---:|---:|"]
    lines += [
        f"| {provider} | {risks[Risk.HIGH]:,} | {risks[Risk.MID]:,} | {risks[Risk.LOW]:,} |"
        for provider, risks in counts.risks.items()
    ]
    if report.sampled is not None:
        lines += ["", f"## Share at risk, from the sample of run {report.sampled.run_id}", ""]
        lines += [f"- {line}" for line in estimate_lines(report.estimates)]
    columns = [outcome for outcome in Outcome if any(outcome in each for each in counts.outcomes.values())]
    lines += [
        "",
        "## Outcomes",
        "",
        f"| provider | {' | '.join(columns)} | calls | cost |",
        f"|---|{'---:|' * (len(columns) + 2)}",
    ]
    for provider, outcomes in counts.outcomes.items():
        cost = counts.costs[provider]
        cells = [f"{outcomes.get(each, 0):,}" for each in columns]
        cells += [f"{counts.calls[provider]:,}", "no price given" if cost is None else f"{cost:,.2f}"]
        lines.append(f"| {provider} | {' | '.join(cells)} |")
    if counts.reasons:
        lines += [
            "",
            "## Without a verdict",
            "",
            "| provider | outcome | reason | questions |",
            "|---|---|---|---:|",
        ]
        lines += [
            f"| {provider} | {outcome} | {reason} | {count:,} |"
            for provider, outcome, reason, count in counts.reasons[:REASONS_SHOWN]
        ]
        if rest := counts.reasons[REASONS_SHOWN:]:
            lines.append(f"| | | {len(rest):,} other reasons | {sum(each[-1] for each in rest):,} |")
    lines += ["", "## Runs", ""]
    lines += [
        f"- {record.run_id}: {record.status}{f', {record.stop_reason}' if record.stop_reason else ''}"
        for record in report.runs
    ]
    return "\n".join(lines) + "\n"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d} ({at.tzinfo})"
