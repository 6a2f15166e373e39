"""The monthly report: what the verdicts of a calendar month say, kept in the home and shown in Prefect."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact

from flows.reporting import report_month
from tasks.units.opening import open_audit


@flow(name="report", persist_result=False)
async def report(spec_path: str, month: str | None = None, time_zone: str = "UTC") -> str:
    """The report of one month of a spec's home, the last whole one where none is named; where it lies.

    Raises:
        UsageError: the spec, its home, the month or the zone is wrong.
    """
    audit = open_audit(Path(spec_path))
    found, text, place = await asyncio.to_thread(
        report_month, audit.home, month, time_zone, datetime.now(UTC)
    )
    name = audit.spec.audit.name
    key = re.sub(r"[^a-z0-9]+", "-", f"report-{name}".lower()).strip("-")
    await acreate_markdown_artifact(text, key=key, description=f"{name} {found.report_id}")
    return place
