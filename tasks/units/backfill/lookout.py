"""How a backfill's shards stand now: from Prefect, from the claims, from their records in the home."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping

from domain.errors import ServerAway
from domain.runs import Shard
from tasks.records import shard_record
from tasks.records.home import Home
from tasks.records.shard_record import ShardRecord
from tasks.units.backfill.claims import shard_claim
from tasks.units.backfill.dispatch import Dispatcher, FlightSeen
from tasks.units.backfill.ledger import Assignment, ShardKey, key_of
from tasks.units.backfill.sights import Fate, Flight, Sight
from tasks.units.limits import LimitServer


class Lookout:
    """Looks at the shards of one run; remembers what does not change, and since when a claim is vacant."""

    def __init__(self, home: Home, run_id: str, dispatcher: Dispatcher, limits: LimitServer) -> None:
        self.records: dict[ShardKey, ShardRecord] = {}
        self.seen: dict[ShardKey, FlightSeen] = {}
        self._home, self._run_id = home, run_id
        self._dispatcher, self._limits = dispatcher, limits
        self._over: set[ShardKey] = set()  # done, and Prefect knows it: looked at no more
        self._vacant_since: dict[ShardKey, float] = {}
        self._claims: set[str] = set()  # that somebody holds

    async def begin(self) -> None:
        """Read what every shard said so far.

        Raises:
            UsageError: a record is damaged; names the file.
        """
        await asyncio.to_thread(self._home.refresh, f"runs/{self._run_id}")
        shards = await asyncio.to_thread(shard_record.list_shards, self._home, self._run_id)
        self.records = {(each.provider, each.number): each for each in shards}

    async def look(
        self, shards: Iterable[Shard], promised: Mapping[ShardKey, Assignment], *, at_records: bool
    ) -> list[Sight]:
        """Every shard as it stands now. `at_records`: also of those that are at work by Prefect's word.

        Raises:
            ServerAway: Prefect's server gives no reply.  UsageError: the home cannot be read.
        """
        self.seen = await self._dispatcher.look([promised[key] for key in promised.keys() - self._over])
        self._claims = {name for name, each in (await self._limits.list()).items() if each.taken}
        flights = {key: each.flight for key, each in self.seen.items()}
        ended = [key for key in promised.keys() - self._over if flights.get(key, Flight.OVER) is Flight.OVER]
        working = [key for key, flight in flights.items() if flight is Flight.RUNNING]
        await self._read(ended + (working if at_records else []))
        return [self._sight(shard, promised) for shard in shards]

    async def let_go(self, sights: Iterable[Sight]) -> None:
        """Shards that are done need no claim any more.

        Raises:
            ServerAway: as `look`.
        """
        for sight in sights:
            if sight.fate is Fate.DONE and (key := key_of(sight.shard)) not in self._over:
                await self._limits.delete(self.claim_of(sight.shard))
                self._over.add(key)

    async def let_all_go(self, shards: Iterable[Shard]) -> None:
        """No shard needs its claim any more; what a server out of reach keeps of them does no harm."""
        with contextlib.suppress(ServerAway):
            known = await self._limits.list()
            for claim in {self.claim_of(shard) for shard in shards} & known.keys():
                await self._limits.delete(claim)

    def claim_of(self, shard: Shard) -> str:
        """The limit whose slot says who works on the shard."""
        return shard_claim(self._run_id, shard.provider, shard.number)

    def _sight(self, shard: Shard, promised: Mapping[ShardKey, Assignment]) -> Sight:
        key, now = key_of(shard), time.monotonic()
        seen = self.seen.get(key)
        flight = Flight.OVER if key in self._over else Flight.UNKNOWN if seen is None else seen.flight
        is_claimed = self.claim_of(shard) in self._claims
        since = now
        if flight is Flight.RUNNING and not is_claimed:
            since = self._vacant_since.setdefault(key, now)
        else:
            self._vacant_since.pop(key, None)
        return Sight(shard, promised.get(key), self.records.get(key), flight, is_claimed, now - since)

    async def _read(self, keys: Iterable[ShardKey]) -> None:
        """The records of these shards as they stand in the home now."""
        keys, load = list(keys), shard_record.load
        found = await asyncio.gather(
            *(asyncio.to_thread(load, self._home, self._run_id, *key) for key in keys)
        )
        self.records |= {key: each for key, each in zip(keys, found, strict=True) if each is not None}
