"""The report of a span of time: what was settled in it, and what the samples of it say of the rest."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tasks.records.home import Home
from tasks.records.parts_in_force import read_parts
from tasks.reports.span import SpanCounts, count_span
from tasks.units.books import RunRecord, runs_of
from tasks.units.estimates import RiskEstimate, estimates_of

REPORT_FILE = "report.md"


@dataclass(frozen=True, slots=True)
class Report:
    """A home's answers of a span of time."""

    report_id: str
    since: datetime
    until: datetime
    counts: SpanCounts
    runs: tuple[RunRecord, ...]  # that settled something in the span, oldest first
    sampled: RunRecord | None  # the newest of them that asked a sample
    estimates: tuple[RiskEstimate, ...]  # from that sample, with all that is answered of it by now


def report_of(home: Home, report_id: str, since: datetime, until: datetime) -> Report:
    """What the home's published verdicts of the span say; `since` is in it, `until` is not.

    Raises:
        UsageError: a record, a plan or a part cannot be read; names the file.
    """
    counts = read_parts(home, lambda files: count_span(files, since, until))
    runs = tuple(record for record in runs_of(home) if record.run_id in counts.run_ids)
    sampled = next((record for record in reversed(runs) if _is_sample(record)), None)
    estimates = estimates_of(home, sampled) if sampled is not None else ()
    return Report(report_id, since, until, counts, runs, sampled, estimates)


def keep_report(home: Home, report_id: str, markdown: str) -> Path:
    """The text appears whole at `reports/<id>/report.md`, in the place of an earlier one.

    Raises:
        HomeUnwritable: names the path and why.
    """
    with home.staging() as folder:
        staged = folder / REPORT_FILE
        staged.write_text(markdown, encoding="utf-8", errors="backslashreplace")
        return home.adopt(staged, f"reports/{report_id}/{REPORT_FILE}")


def _is_sample(record: RunRecord) -> bool:
    return record.spec.get("source", {}).get("sample") is not None
