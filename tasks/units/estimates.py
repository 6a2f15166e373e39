"""What the answers so far say about all objects an audit selects, read from any machine."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tasks.candidates import PlanTotals, shard_path, skipped_path
from tasks.records import run_record
from tasks.records.home import Home
from tasks.records.parts_in_force import held_parts
from tasks.records.queries import read_answers
from tasks.records.run_record import RunRecord
from tasks.reports.coverage import ANSWER, PlannedPart, PlannedStratum, count_covered
from tasks.reports.estimate import RiskEstimate, Share, estimate_risk
from tasks.reports.intervals import Interval
from tasks.units.stages import PLAN_FILE

__all__ = ["Interval", "RiskEstimate", "Share", "estimates_of", "estimates_to_json"]


def estimates_of(home: Home, record: RunRecord) -> tuple[RiskEstimate, ...]:
    """The estimate of each provider that the run asks; none where no plan tells of its population.

    It is one for all objects that the run's plan selected, from whatever the home holds of them: answers of
    this run, published or not, and of earlier ones. A retry's is that of the audit whose questions it asks
    again.

    Raises:
        UsageError: a plan, a journal or a part cannot be read; names the file.
    """
    unpublished = pa.Table.from_batches(_unpublished(home, record), ANSWER)
    audit = record
    while audit.retry_of is not None:
        if not home.path(f"runs/{audit.retry_of}.json").is_file():
            return ()
        audit = run_record.load(home, audit.retry_of)
    plan = f"plans/run={audit.run_id}"
    home.refresh(plan)
    if not home.path(f"{plan}/{PLAN_FILE}").is_file():
        return ()
    totals = PlanTotals.from_json(home.read_json(f"{plan}/{PLAN_FILE}"))
    # After the journal, so that what is published meanwhile is not missed.
    with held_parts(home) as verdicts:
        return tuple(
            estimate_risk(
                provider,
                count_covered(
                    PlannedPart(
                        provider,
                        [PlannedStratum(own.stratum, own.selected, own.first_left) for own in each.strata],
                        [shard_path(home.path(plan), shard) for shard in each.shards],
                        [skipped_path(home.path(plan))],
                    ),
                    verdicts,
                    unpublished,
                ),
            )
            for provider, each in totals.providers.items()
            if each.strata
        )


def estimates_to_json(estimates: tuple[RiskEstimate, ...]) -> list[dict[str, Any]]:
    """The estimates as `status --json` gives them; shares from 0 to 1."""
    return [
        {
            "provider": each.provider,
            "confidence": each.confidence,
            "selected": each.selected,
            "covered": each.covered,
            "assessed": each.assessed,
            "not_assessable": each.not_assessable,
            "complete": each.is_complete,
            "high": _share_to_json(each.high),
            "mid_or_high": _share_to_json(each.mid_or_high),
            "strata": [
                {
                    "stratum": own.stratum,
                    "selected": own.selected,
                    "covered": own.covered,
                    "assessed": own.assessed,
                    "high": own.high,
                    "mid_or_high": own.mid_or_high,
                    "weight": own.selected / own.covered if own.covered else None,
                }
                for own in each.strata
                if own.stratum is not None
            ],
        }
        for each in estimates
    ]


def _share_to_json(share: Share | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {
        "count": share.marked,
        "share": share.share,
        "at_any_time": _interval_to_json(share.at_any_time),
        "at_one_look": _interval_to_json(share.at_one_look),
    }


def _interval_to_json(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _unpublished(home: Home, record: RunRecord) -> Iterator[pa.RecordBatch]:
    journal = home.journal_path(record.run_id)
    if record.status.is_over or not journal.exists():
        return
    for rows in read_answers(journal):
        yield pa.RecordBatch.from_pydict(
            {name: [getattr(row, name) for row in rows] for name in ANSWER.names}, ANSWER
        )
