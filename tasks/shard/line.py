"""What all shards of one provider in a run have in common."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from domain.verdicts import Provider, Verdict
from tasks.buckets.bucket import Bucket
from tasks.media.limits import ProviderLimits
from tasks.media.workers import MediaWorkers
from tasks.pacing.lane import Lane
from tasks.pacing.retry import RetryPolicy
from tasks.providers.detector import Detector
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.shard.memory import HeldBytes

TRIPS_PER_CALL_PER_S = 4
"""Trips under way for each call per second of the cap: a lane stays full up to 4 s from fetch to reply."""

LEAST_TRIPS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One provider's stages, opened and connected. Belongs to one event loop."""

    run_id: str
    audit: str
    bucket: Bucket
    limits: ProviderLimits
    workers: MediaWorkers
    detector: Detector
    lane: Lane
    policy: RetryPolicy
    journal: Journal
    home: Home
    price_per_call: float | None
    code_version: str
    recorded: Callable[[Verdict], None]  # told of every row once it is durable, for those who watch
    held: HeldBytes
    feeding: asyncio.Lock = field(default_factory=asyncio.Lock)  # one shard is fed at a time
    under_way: dict[str, asyncio.Event] = field(default_factory=dict)  # by question, set when its trip ends

    @property
    def provider(self) -> Provider:
        return self.detector.provider

    @property
    def trips(self) -> int:
        """How many objects are on the way at a time."""
        return max(LEAST_TRIPS, self.lane.cap_per_s * TRIPS_PER_CALL_PER_S)
