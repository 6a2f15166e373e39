"""Candidates: from a listing and the earlier verdicts to the questions worth asking.

selection   which objects an audit wants       plan      listing → shards and skipped objects
globs       patterns over whole keys           again     a run's failed questions → shards
kinds       image or video, by suffix          slices    listing and verdicts side by side
vocabulary  the domain's words in SQL          skipped   what is not asked about, and why
workspace   DuckDB within a memory limit       sharding  visiting order, copies, shard files
totals      a plan's books                     shards    reading a shard back
estimate    hours, end and cost of a plan      coverage  how much of a plan a budget allows
"""

from tasks.candidates.again import plan_again
from tasks.candidates.coverage import Coverage, coverage
from tasks.candidates.estimate import Estimate, estimate
from tasks.candidates.plan import plan
from tasks.candidates.selection import Selection, SkipReason
from tasks.candidates.shards import read_shard, shard_path
from tasks.candidates.totals import PlanTotals, ProviderTotals

__all__ = [
    "Coverage",
    "Estimate",
    "PlanTotals",
    "ProviderTotals",
    "Selection",
    "SkipReason",
    "coverage",
    "estimate",
    "plan",
    "plan_again",
    "read_shard",
    "shard_path",
]
