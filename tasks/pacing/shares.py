"""Shares: how those who call with one account divide its cap, each deciding for itself.

Nobody is in charge. Every member of a lane sees the same few numbers (`Standing`), says what it lacks
(`Need`) and now and then takes slots that are free or gives some back (`Member.move`); one slot is one call
per second. That no slot is taken twice is the server's business, not this module's: a view may be old.

Audits come before backfills: a backfill gives everything to an audit that could use more, and takes what
audits leave. Among equals, whoever has more than an equal part gives to whoever has less; beyond that, free
slots go to whoever asks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

HANDOVER_S = 1.0
"""How long a slot rests between two members: a second of the provider's clock must not hold both's calls.

Whoever gives a slot back waits for the guard of its lane first, so that its last calls have arrived.
"""

TICK_S = 2.0
"""How often a member looks. An audit that starts has the whole cap after two looks and a hand-over."""

SETTLE_S = 10.0
"""Slots that were not needed for so long are given to whoever asks: a short lull keeps its share."""

TURN_S = 120.0
"""Where there are more members than slots, a slot is held for so long: a hand-over costs it 2 to 4 s."""

REST_S = 3 * TICK_S
"""After its turn a member lets others take the slot first."""

LYING_TICKS = 3
"""Looks after which slots that somebody should have taken are anybody's: it died and still counts."""

DEAD_S = 90.0
"""A dead member counts no longer than that: 60 s of lease, 15 s between the server's looks."""

SPARE = 1.25
"""What a member keeps of a share it does not use up: its use and a quarter more."""


class Priority(StrEnum):
    """Who comes first where not everybody can have what it needs: in this order."""

    AUDIT = "audit"
    BACKFILL = "backfill"


class Need(IntEnum):
    """What a member lacks: what it tells the others."""

    NOTHING = 0
    MORE = 1  # calls wait all the time: it could use more than it has
    A_FAIR_PART = 2  # the same, and it has less than an equal part


@dataclass(frozen=True, slots=True)
class Crowd:
    """All members of one priority. The dead count until their leases run out."""

    members: int = 0
    hungry: int = 0  # of them, those who could use more
    underserved: int = 0  # of them, those who have less than an equal part
    held: int = 0  # slots


@dataclass(frozen=True, slots=True)
class Standing:
    """A lane as its members see it."""

    cap: int
    taken: int
    audits: Crowd
    backfills: Crowd

    @property
    def free(self) -> int:
        """Slots nobody holds; below 0 after the cap was lowered."""
        return self.cap - self.taken

    def crowd(self, priority: Priority) -> Crowd:
        """The members of one priority."""
        return self.audits if priority is Priority.AUDIT else self.backfills

    def fair_part(self, priority: Priority) -> int:
        """An equal part of what a priority may have, rounded down: audits all, backfills the rest."""
        due = self.cap if priority is Priority.AUDIT else self.cap - self.audits.held
        return max(0, due) // max(1, self.crowd(priority).members)


@dataclass(frozen=True, slots=True)
class Use:
    """What a member made of its share lately."""

    is_pressed: bool  # calls waited for the pace nearly all the time
    rate_per_s: float

    @property
    def slots(self) -> int:
        """What it takes to go on like this."""
        return math.ceil(self.rate_per_s * SPARE) + 1 if self.rate_per_s else 0


class Member:
    """One process in a lane: what it needs and what it does, step by step; `now` in seconds."""

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self._settled_since: float | None = None  # since when it has had more than it needs
        self._had_since: float | None = None
        self._rests_until = -math.inf
        self._lying = 0
        self._dead, self._dead_until = 0, -math.inf

    def need(self, standing: Standing, share: int, use: Use, now: float) -> Need:
        """What to tell the others."""
        if not use.is_pressed or now < self._rests_until:
            return Need.NOTHING
        return Need.A_FAIR_PART if share < standing.fair_part(self.priority) else Need.MORE

    def move(self, standing: Standing, share: int, use: Use, now: float) -> int:
        """Slots to take (above 0) or to give back (below 0) now."""
        need = self.need(standing, share, use, now)
        self._remember(standing, share, use, now)
        gift = self._gift(standing, share, use, need, now)
        if gift:
            self._lying = 0
            return -gift
        return self._catch(standing, share, need, now)

    def _gift(self, standing: Standing, share: int, use: Use, need: Need, now: float) -> int:  # noqa: PLR0911 - one for each reason to give
        """Slots to give back."""
        if not share:
            return 0
        if excess := self._excess(standing, share):
            return excess
        if (
            self._ahead(standing, need, now)
            and self.priority is Priority.BACKFILL
            and self._audits(standing, now)
        ):
            return share
        crowd, fair = standing.crowd(self.priority), standing.fair_part(self.priority)
        if need is not Need.A_FAIR_PART and share > fair and self._underserved(standing, need, now):
            return share - fair
        others_ask = standing.audits.hungry + standing.backfills.hungry > (need is not Need.NOTHING)
        if not others_ask:
            return 0
        if self._settled_since is not None and now - self._settled_since >= SETTLE_S:
            return max(0, share - use.slots)
        if (
            not fair
            and crowd.hungry > (need is not Need.NOTHING)
            and self._had_since is not None
            and now - self._had_since >= TURN_S
        ):
            self._rests_until = now + REST_S
            return share
        return 0

    def _catch(self, standing: Standing, share: int, need: Need, now: float) -> int:
        """Slots to take."""
        if standing.free <= 0 or need is Need.NOTHING:
            self._lying = 0
            return 0
        if self._ahead(standing, need, now):
            self._lying += 1
            if self._lying <= LYING_TICKS:
                return 0
            self._dead = self._counted_ahead(standing, need)
            self._dead_until = now + DEAD_S
        self._lying = 0
        if need is Need.A_FAIR_PART:
            return min(standing.free, standing.fair_part(self.priority) - share)
        return math.ceil(standing.free / max(1, standing.crowd(self.priority).hungry))

    def _excess(self, standing: Standing, share: int) -> int:
        """This member's part of what is held above the cap: backfills first."""
        over = -standing.free
        if over <= 0:
            return 0
        if self.priority is Priority.AUDIT:
            over -= standing.backfills.held
        held = max(share, standing.crowd(self.priority).held)
        return min(share, max(0, math.ceil(over * share / held)))

    def _ahead(self, standing: Standing, need: Need, now: float) -> bool:
        """Whether somebody living comes first: an audit, or one that has less than its part."""
        return self._audits(standing, now) or self._underserved(standing, need, now)

    def _audits(self, standing: Standing, now: float) -> bool:
        return self.priority is Priority.BACKFILL and standing.audits.hungry > self._ignored(now)

    def _underserved(self, standing: Standing, need: Need, now: float) -> bool:
        if need is Need.A_FAIR_PART:
            return False
        return standing.crowd(self.priority).underserved > self._ignored(now)

    def _counted_ahead(self, standing: Standing, need: Need) -> int:
        audits = standing.audits.hungry if self.priority is Priority.BACKFILL else 0
        own = standing.crowd(self.priority).underserved if need is not Need.A_FAIR_PART else 0
        return max(audits, own)

    def _ignored(self, now: float) -> int:
        return self._dead if now < self._dead_until else 0

    def _remember(self, standing: Standing, share: int, use: Use, now: float) -> None:
        self._dead = min(self._dead, max(standing.audits.hungry, standing.crowd(self.priority).underserved))
        if use.is_pressed or share <= use.slots:
            self._settled_since = None
        elif self._settled_since is None:
            self._settled_since = now
        if not share:
            self._had_since = None
        elif self._had_since is None:
            self._had_since = now


def parcels(slots: int) -> list[int]:
    """Split slots into leases so that any smaller number of them can be given back: 40 = 20+10+5+3+1+1."""
    found: list[int] = []
    while slots > 0:
        found.append(math.ceil(slots / 2))
        slots -= found[-1]
    return found


def to_give(held: Sequence[int], slots: int) -> list[int]:
    """Which of the leases held to give back for `slots`: at least so many, as few more as can be.

    Returns their places in `held`.
    """
    chosen: list[int] = []
    left = slots
    for place in sorted(range(len(held)), key=lambda each: -held[each]):
        if held[place] <= left:
            chosen.append(place)
            left -= held[place]
    if left > 0:
        rest = [place for place in range(len(held)) if place not in chosen]
        chosen += [min(rest, key=lambda each: held[each])] if rest else []
    return chosen
