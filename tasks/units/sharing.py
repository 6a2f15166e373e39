"""Sharing a lane: one process's slots of an account's cap, taken, renewed, given back.

What to take and to give is decided in `tasks/pacing/shares.py`; here the server is asked, and the lane told.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from domain.errors import ServerAway, UsageError
from tasks.pacing.lane import Lane
from tasks.pacing.shares import (
    HANDOVER_S,
    TICK_S,
    Crowd,
    Member,
    Need,
    Priority,
    Standing,
    Use,
    parcels,
    to_give,
)
from tasks.pacing.steady import steady_time
from tasks.units.estate import Estate
from tasks.units.leases import Lease
from tasks.units.limits import Limit, Limits

SAMPLE_S = 0.1
"""How often the lane is looked at: whether calls wait, whether a share has rested long enough."""

PRESSED = 0.9
"""A lane in which calls waited at so many of the looks could use more than it has."""

TOLD_AFTER = 3
"""Turns in a row that fail before anybody is told: a database that was busy for a moment is no news."""

LEAVE_WITHIN_S = 10.0
"""Patience with a turn under way: what it takes when it is cut off comes back only after `TTL_S`."""

MANY = 1_000_000
"""Slots of the limits that only count: more than there will ever be."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """The names of a lane's limits: the cap itself, and what its members tell each other."""

    cap: str

    def held(self, priority: Priority) -> str:
        """Slots of the cap that members of this priority hold."""
        return f"{self.cap}-{priority}-slots"

    def members(self, priority: Priority) -> str:
        """Members of this priority."""
        return f"{self.cap}-{priority}-members"

    def hungry(self, priority: Priority) -> str:
        """Those of them who could use more."""
        return f"{self.cap}-{priority}-hungry"

    def underserved(self, priority: Priority) -> str:
        """Those of them who have less than an equal part."""
        return f"{self.cap}-{priority}-underserved"

    @property
    def counting(self) -> list[str]:
        """All but the cap."""
        return [
            name
            for priority in Priority
            for name in (
                self.held(priority),
                self.members(priority),
                self.hungry(priority),
                self.underserved(priority),
            )
        ]

    def standing(self, limits: Mapping[str, Limit]) -> Standing:
        """The lane as the server shows it."""

        def crowd(priority: Priority) -> Crowd:
            return Crowd(
                members=limits[self.members(priority)].taken,
                hungry=limits[self.hungry(priority)].taken,
                underserved=limits[self.underserved(priority)].taken,
                held=limits[self.held(priority)].taken,
            )

        cap = limits[self.cap]
        return Standing(cap.slots, cap.taken, crowd(Priority.AUDIT), crowd(Priority.BACKFILL))


@dataclass(slots=True)
class _Parcel:
    """Slots leased together."""

    lease: Lease
    usable_at: float  # by `steady_time`


class Sharing:
    """This process's part in a lane. `keep` runs beside whoever uses the lane."""

    def __init__(
        self,
        limits: Limits,
        names: LaneLimits,
        lane: Lane,
        priority: Priority,
        estate: Estate | None = None,
    ) -> None:
        """The lane's cap is made the limit's, where there is none yet; else the limit's is the lane's.

        `estate` names our leases for whoever goes on with this work after a kill -9.
        """
        self._limits, self._names, self._lane, self._priority = limits, names, lane, priority
        self._spec_cap = lane.cap_per_s
        self._member = Member(priority)
        self._parcels: list[_Parcel] = []
        self._word: Lease | None = None
        self._said: Need | None = None
        self._samples: list[bool] = []
        self._has_compared = False
        self._leaving = asyncio.Event()
        self._estate = estate

    async def keep(self) -> None:
        """Until `leave`: renew, look, take and give; a server that is away is asked again and again.

        The lane stops by itself when the leases could have run out, and goes on when there are new ones.
        """
        failed = 0
        if self._estate is not None:
            await self._estate.settle(self._limits)
        while not self._leaving.is_set():
            try:
                await self._look()
            except (ServerAway, UsageError) as trouble:
                failed += 1
                if failed == TOLD_AFTER:
                    log.warning("%s: %s", self._names.cap, trouble)
                if failed >= TOLD_AFTER:
                    self._lane.trouble = f"{trouble}: {self._names.cap} is not shared out; asking again"
            else:
                failed, self._lane.trouble = 0, None
            await self._rest(TICK_S * random.uniform(0.9, 1.1))  # noqa: S311 - spreads looks, guards nothing

    async def leave(self, keeping: asyncio.Task[None]) -> None:
        """End `keeping` after its turn, stop calling, then give everything back."""
        self._leaving.set()
        await asyncio.wait([keeping], timeout=LEAVE_WITHIN_S)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        parting, self._parcels = [each.lease for each in self._parcels], []
        self._apply()
        if parting:
            await asyncio.sleep(self._lane.guard_s)
        words = [] if self._word is None else [self._word]
        await asyncio.gather(*(each.give_back() for each in [*parting, *words]))
        if self._estate is not None:
            self._estate.note(())

    def _note(self) -> None:
        if self._estate is not None:
            words = [] if self._word is None else [self._word]
            self._estate.note(each.id for each in [*(parcel.lease for parcel in self._parcels), *words])

    async def _look(self) -> None:
        """One turn."""
        trouble = await self._renew()
        if trouble is not None:
            raise trouble
        limits = await self._known_limits()
        cap = limits[self._names.cap]
        for name in (self._names.cap, *self._names.counting):
            limits[name].check()
        self._compare(cap.slots)
        if cap.slots >= 1 and cap.slots != self._lane.cap_per_s:
            self._lane.set_cap(cap.slots)
        now, standing, use = steady_time(), self._names.standing(limits), self._use()
        share = sum(each.lease.slots for each in self._parcels)
        need = self._member.need(standing, share, use, now)
        move = self._member.move(standing, share, use, now)
        if move < 0:
            await self._give(-move)
        await self._say(need)
        if move > 0:
            await self._take(move)

    async def _renew(self) -> ServerAway | None:
        """Renew what is due; the trouble there was."""
        self._drop_lost()
        now = steady_time()
        leases = [each.lease for each in self._parcels] + ([] if self._word is None else [self._word])
        due = [each for each in leases if now >= each.renew_at]
        ends = await asyncio.gather(*(each.renew() for each in due), return_exceptions=True)
        self._drop_lost()
        if forgotten := [each for each in due if not each.is_held]:
            await asyncio.sleep(self._lane.guard_s)
            await asyncio.gather(*(each.give_back() for each in forgotten))
        self._apply()
        for end in ends:
            if isinstance(end, ServerAway):
                return end
            if isinstance(end, BaseException):
                raise end
        return None

    def _drop_lost(self) -> None:
        self._parcels = [each for each in self._parcels if each.lease.is_held]
        if self._word is not None and not self._word.is_held:
            self._word = self._said = None
        self._apply()

    async def _known_limits(self) -> Mapping[str, Limit]:
        """All limits of the lane, made where they are missing."""
        limits = await self._limits.list()
        wanted = {self._names.cap: self._spec_cap} | dict.fromkeys(self._names.counting, MANY)
        missing = wanted.keys() - limits.keys()
        return dict(limits) | {name: await self._limits.ensure(name, wanted[name]) for name in missing}

    def _compare(self, cap: int) -> None:
        if self._has_compared:
            return
        self._has_compared = True
        if cap != self._spec_cap:
            log.warning(
                "%s: Prefect's limit says %d calls per second, the spec %d: the limit holds; "
                "`facesweep cap` changes it",
                self._names.cap,
                cap,
                self._spec_cap,
            )

    async def _give(self, slots: int) -> None:
        """Stop using slots, wait until the last calls have arrived, give them back."""
        places = set(to_give([each.lease.slots for each in self._parcels], slots))
        parting = [each.lease for place, each in enumerate(self._parcels) if place in places]
        self._parcels = [each for place, each in enumerate(self._parcels) if place not in places]
        self._apply()
        await asyncio.sleep(self._lane.guard_s)
        await asyncio.gather(*(each.give_back() for each in parting))

    async def _take(self, slots: int) -> None:
        """Take slots, as many as are still free; they are used after the hand-over."""
        for size in parcels(slots):
            lease = await Lease.acquired(
                self._limits, [self._names.cap, self._names.held(self._priority)], size
            )
            if lease is None:
                return
            self._parcels.append(_Parcel(lease, steady_time() + HANDOVER_S))
            self._note()

    async def _say(self, need: Need) -> None:
        """Tell the others what we lack."""
        if need is self._said:
            return
        names = [self._names.members(self._priority)]
        if need >= Need.MORE:
            names.append(self._names.hungry(self._priority))
        if need is Need.A_FAIR_PART:
            names.append(self._names.underserved(self._priority))
        before, self._word, self._said = self._word, None, None
        if before is not None:
            await before.give_back()
        self._word = await Lease.acquired(self._limits, names, 1)
        if self._word is not None:
            self._said = need
        self._note()

    def _use(self) -> Use:
        """What was made of the share since the last look."""
        samples, self._samples = self._samples or [self._is_waiting], []
        return Use(sum(samples) >= PRESSED * len(samples), self._lane.recent_rate_per_s)

    @property
    def _is_waiting(self) -> bool:
        return self._lane.waiting > 0 and not self._lane.is_held_back

    def _apply(self) -> None:
        """Tell the lane what is ours to use at this moment."""
        now = steady_time()
        usable = [each for each in self._parcels if each.usable_at <= now and each.lease.is_held]
        self._lane.set_share(
            sum(each.lease.slots for each in usable),
            min((each.lease.deadline for each in usable), default=now),
        )

    async def _rest(self, rest_s: float) -> None:
        """Until the next look, which comes at once when the first call waits and nothing is ours."""
        until = steady_time() + rest_s
        while (now := steady_time()) < until and not self._leaving.is_set():
            await asyncio.sleep(min(SAMPLE_S, until - now))
            self._apply()
            self._samples.append(self._is_waiting)
            if not self._parcels and self._said is Need.NOTHING and self._is_waiting:
                self._samples = [True]
                return


@contextlib.asynccontextmanager
async def shared(
    limits: Limits, names: LaneLimits, lane: Lane, priority: Priority, estate: Estate | None = None
) -> AsyncIterator[None]:
    """Inside the block `lane` has this process's share of the cap; it has none before and afterwards."""
    lane.set_share(0)
    sharing = Sharing(limits, names, lane, priority, estate)
    keeping = asyncio.create_task(sharing.keep())
    try:
        yield
    finally:
        await asyncio.shield(sharing.leave(keeping))
