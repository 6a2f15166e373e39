"""Candidates: from a listing and the earlier verdicts to the questions worth asking.

selection   which objects an audit wants       plan      listing → shards and skipped objects
globs       patterns over whole keys           again     a run's failed questions → shards
kinds       image or video, by suffix          slices    listing and verdicts side by side
sample      which of them a plan considers     strata    parts that are sampled each for itself
vocabulary  the domain's words in SQL          skipped   what is not asked about, and why
workspace   DuckDB within a memory limit       sharding  visiting order, copies, shard files
totals      a plan's books                     shards    reading a shard back
population  how far into it a plan will see    estimate  hours, end and cost of a plan
strategy    which provider, for which object   following the second stage of a plan
coverage    how much of a plan a budget allows
"""

from tasks.candidates.again import plan_again
from tasks.candidates.coverage import Coverage, coverage
from tasks.candidates.estimate import Estimate, estimate
from tasks.candidates.following import plan_following
from tasks.candidates.plan import plan
from tasks.candidates.selection import Selection, SkipReason
from tasks.candidates.shards import read_shard, shard_path
from tasks.candidates.skipped import skipped_path
from tasks.candidates.strata import Allocation, Strata, allocate
from tasks.candidates.totals import PlanTotals, ProviderTotals, StratumTotals

__all__ = [
    "Allocation",
    "Coverage",
    "Estimate",
    "PlanTotals",
    "ProviderTotals",
    "Selection",
    "SkipReason",
    "Strata",
    "StratumTotals",
    "allocate",
    "coverage",
    "estimate",
    "plan",
    "plan_again",
    "plan_following",
    "read_shard",
    "shard_path",
    "skipped_path",
]
