"""What all shards of one provider in a run have in common."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from domain.errors import BudgetSpent
from domain.verdicts import Provider, Verdict
from tasks.buckets.bucket import Bucket
from tasks.media.limits import ProviderLimits
from tasks.media.workers import MediaWorkers
from tasks.pacing.lane import Lane
from tasks.pacing.places import Places
from tasks.pacing.retry import RetryPolicy
from tasks.providers.detector import Detector
from tasks.records.earlier import EarlierAnswers
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.shard.by_url import ByUrl
from tasks.shard.looking import Looking
from tasks.shard.memory import HeldBytes

READY_S = 1.0
"""Objects fetched and prepared ahead of the lane, in seconds of the share: a slow fetch leaves no gap."""

TRIPS_S = 10.0
"""Objects on the way at most, in seconds of the cap: a lane stays full while replies take up to 9 s."""

LEAST_READY = 4


async def _accept(provider: Provider, is_simulated: bool) -> None:
    """Whoever answered, it may be kept."""


@dataclass(slots=True)
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
    accept: Callable[[Provider, bool], Awaitable[None]] = _accept  # raises if what an emulator said, or not,
    # must not be kept in this home
    by_url: ByUrl | None = None  # how objects go by url; None: none does
    looking: Looking = field(default_factory=Looking)  # what is read of an object's own bytes
    earlier: EarlierAnswers | None = None  # what other runs of the home were told; None: nobody is asked
    feeding: asyncio.Lock = field(default_factory=asyncio.Lock)  # one shard is fed at a time
    ready: Places = field(init=False)  # places for those whose first call has not left
    in_flight: int = 0  # calls that left and have no reply yet
    under_way: dict[str, asyncio.Event] = field(default_factory=dict)  # by question, set when its trip ends

    @property
    def provider(self) -> Provider:
        return self.detector.provider

    def close(self, end: Exception) -> None:
        """Let no further call be announced; calls on the way go on.

        What is announced has its place in a budget of calls and money, and still leaves; after any other end,
        and after a budget's `until`, nothing does.
        """
        self.lane.close(
            end, announced_may_leave=isinstance(end, BudgetSpent) and end.limit in ("calls", "money")
        )

    def __post_init__(self) -> None:
        self.ready = Places(self._places)
        self.lane.follow(lambda: self.ready.resize(self._places))

    @property
    def _places(self) -> int:
        return LEAST_READY + math.ceil(READY_S * self.lane.share_per_s)

    @property
    def trips(self) -> int:
        """How many objects are on the way at a time, at most."""
        return LEAST_READY + math.ceil(TRIPS_S * self.lane.cap_per_s)
