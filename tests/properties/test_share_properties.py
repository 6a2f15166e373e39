"""Sharing a cap, simulated: members come, ask, fall silent and die; each looks every other second."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.pacing.shares import (
    DEAD_S,
    TICK_S,
    TURN_S,
    Crowd,
    Member,
    Need,
    Priority,
    Standing,
    Use,
    parcels,
    to_give,
)

LEASE_S = 75.0  # after its death a member's slots and words stay for so long
SOON_S = 30.0  # when the last has looked, given, and somebody else has taken


@dataclass
class Worker:
    """A member and what a server knows of it."""

    priority: Priority
    wanted_per_s: float
    phase_s: float
    share: int = 0
    said: Need = Need.NOTHING
    died_at: float | None = None
    member: Member = field(init=False)
    changed_at: float = 0.0

    def __post_init__(self) -> None:
        self.member = Member(self.priority)

    @property
    def use(self) -> Use:
        return Use(self.wanted_per_s > self.share, min(self.share, self.wanted_per_s))

    def counts(self, now: float) -> bool:
        return self.died_at is None or now < self.died_at + LEASE_S


class World:
    """A server with one limit, and its members."""

    def __init__(self, cap: int, seed: int = 0) -> None:
        self.cap, self.now = cap, 0.0
        self.workers: list[Worker] = []
        self.random = random.Random(seed)
        self.longest_idle_s = 0.0  # slots free while somebody living and not ignored could use them
        self._idle_s = 0.0

    def join(self, priority: Priority, wanted_per_s: float = 1e6) -> Worker:
        worker = Worker(priority, wanted_per_s, self.random.uniform(0, TICK_S))
        self.workers.append(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        worker.died_at = self.now

    @property
    def taken(self) -> int:
        return sum(each.share for each in self.workers)

    @property
    def living(self) -> list[Worker]:
        return [each for each in self.workers if each.died_at is None]

    def standing(self) -> Standing:
        return Standing(self.cap, self.taken, self._crowd(Priority.AUDIT), self._crowd(Priority.BACKFILL))

    def _crowd(self, priority: Priority) -> Crowd:
        crowd = [each for each in self.workers if each.priority is priority and each.counts(self.now)]
        return Crowd(
            len(crowd),
            sum(each.said >= Need.MORE for each in crowd),
            sum(each.said is Need.A_FAIR_PART for each in crowd),
            sum(each.share for each in crowd),
        )

    def pass_s(self, seconds: float) -> None:
        """Let time pass; the server grants what is free and nothing else."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            for worker in self.workers:
                if not worker.counts(self.now):
                    worker.share, worker.said = 0, Need.NOTHING
            for worker in self.random.sample(self.living, len(self.living)):
                if (self.now - worker.phase_s) % TICK_S < 0.1:
                    self._look(worker)
            hungry = any(each.use.is_pressed for each in self.living)
            self._idle_s = self._idle_s + 0.1 if hungry and self.taken < self.cap else 0.0
            self.longest_idle_s = max(self.longest_idle_s, self._idle_s)

    def _look(self, worker: Worker) -> None:
        standing = self.standing()
        worker.said = worker.member.need(standing, worker.share, worker.use, self.now)
        move = worker.member.move(standing, worker.share, worker.use, self.now)
        if move > 0:
            move = min(move, self.cap - self.taken)
        assert worker.share + move >= 0
        if move:
            worker.changed_at = self.now
        worker.share += move
        assert standing.free < 0 or self.taken <= self.cap


@pytest.mark.parametrize("cap", [1, 5, 50, 200])
def test_whoever_is_alone_has_the_whole_cap(cap: int) -> None:
    world = World(cap)
    only = world.join(Priority.BACKFILL)
    world.pass_s(SOON_S)
    assert only.share == cap


def test_nobody_holds_what_it_has_no_use_for_while_others_wait() -> None:
    world = World(50)
    idle, busy = world.join(Priority.AUDIT), world.join(Priority.BACKFILL)
    world.pass_s(SOON_S)
    assert (idle.share, busy.share) == (50, 0)
    idle.wanted_per_s = 4.0
    world.pass_s(SOON_S)
    assert 4 <= idle.share <= 7
    assert busy.share == 50 - idle.share


def test_an_audit_takes_the_cap_ahead_of_backfills_and_leaves_it_to_them_afterwards() -> None:
    world = World(50)
    backfills = [world.join(Priority.BACKFILL) for _ in range(3)]
    world.pass_s(SOON_S)
    assert sum(each.share for each in backfills) == 50
    audit = world.join(Priority.AUDIT)
    world.pass_s(5 * TICK_S)
    assert audit.share == 50
    audit.wanted_per_s = 0.0
    world.pass_s(SOON_S)
    assert audit.share == 0
    assert sum(each.share for each in backfills) == 50


def test_equals_have_equal_parts_however_they_came() -> None:
    world = World(50)
    workers = [world.join(Priority.BACKFILL)]
    for _ in range(4):
        world.pass_s(SOON_S)
        workers.append(world.join(Priority.BACKFILL))
    world.pass_s(SOON_S)
    assert [each.share for each in workers] == [10] * 5


def test_more_members_than_slots_take_turns() -> None:
    world = World(5)
    workers = [world.join(Priority.BACKFILL) for _ in range(8)]
    had = set()
    for _ in range(60):
        world.pass_s(TURN_S / 10)
        had |= {number for number, each in enumerate(workers) if each.share}
    assert had == set(range(8))
    assert world.longest_idle_s < SOON_S


def test_a_share_is_left_alone_once_all_is_settled() -> None:
    world = World(50)
    for priority, wanted in [(Priority.AUDIT, 10), (Priority.AUDIT, 3), *[(Priority.BACKFILL, 1e6)] * 3]:
        world.join(priority, wanted)
    world.pass_s(2 * SOON_S)
    settled_at = world.now
    world.pass_s(600)
    assert all(each.changed_at <= settled_at for each in world.workers)
    assert world.taken == 50


def test_a_dead_members_share_is_used_by_others_once_its_lease_is_over() -> None:
    world = World(50)
    dead, other = world.join(Priority.BACKFILL), world.join(Priority.BACKFILL)
    world.pass_s(SOON_S)
    world.kill(dead)
    world.pass_s(LEASE_S - 1)
    assert other.share == 25
    world.pass_s(1 + 2 * TICK_S)
    assert other.share == 50


def test_a_dead_audit_that_asked_for_more_holds_nobody_up() -> None:
    world = World(50)
    backfill = world.join(Priority.BACKFILL)
    world.pass_s(SOON_S)
    audit = world.join(Priority.AUDIT)
    while audit.said is Need.NOTHING:
        world.pass_s(0.1)
    world.kill(audit)
    world.pass_s(SOON_S)
    assert backfill.share == 50


def test_a_cap_that_is_lowered_is_kept_to_by_all_together_backfills_first() -> None:
    world = World(50)
    audit = world.join(Priority.AUDIT, 20.0)
    backfills = [world.join(Priority.BACKFILL) for _ in range(2)]
    world.pass_s(3 * SOON_S)
    before = audit.share
    world.cap = 30
    world.pass_s(2 * TICK_S)
    assert world.taken <= 30
    assert audit.share == before
    world.cap = 5
    world.pass_s(2 * TICK_S)
    assert world.taken <= 5
    assert sum(each.share for each in backfills) == 0


def test_a_cap_that_is_raised_is_used() -> None:
    world = World(5)
    for _ in range(3):
        world.join(Priority.BACKFILL)
    world.pass_s(SOON_S)
    world.cap = 50
    world.pass_s(SOON_S)
    assert world.taken == 50


@given(
    cap=st.integers(1, 60),
    seed=st.integers(0, 1_000),
    story=st.lists(
        st.tuples(
            st.sampled_from(["join", "kill", "busy", "calm", "leave", "cap"]),
            st.sampled_from(Priority),
            st.integers(0, 60),
            st.floats(1, 60),
        ),
        max_size=25,
    ),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_cap_is_shared_and_used(
    cap: int, seed: int, story: list[tuple[str, Priority, int, float]]
) -> None:
    """Never more slots than the cap; in the end audits have what they need, and nothing useful lies idle."""
    world = World(cap, seed)
    for what, priority, number, seconds in story:
        living = world.living
        one = living[number % len(living)] if living else world.join(priority)
        match what:
            case "join":
                world.join(priority, float(number))
            case "kill":
                world.kill(one)
            case "busy":
                one.wanted_per_s = 1e6
            case "calm":
                one.wanted_per_s = number / 10
            case "leave":
                one.share, one.said = 0, Need.NOTHING
                world.workers.remove(one)
            case "cap":
                world.cap = max(1, number)
        world.pass_s(seconds)
    world.pass_s(LEASE_S + DEAD_S + SOON_S)
    world.longest_idle_s = 0.0
    world.pass_s(2 * SOON_S)
    assert world.taken <= world.cap
    assert world.longest_idle_s <= SOON_S
    hungry = [each for each in world.living if each.use.is_pressed]
    if hungry and world.cap >= len(world.living):
        assert world.taken == world.cap
    if any(each.priority is Priority.AUDIT for each in hungry):
        assert sum(each.share for each in world.living if each.priority is Priority.BACKFILL) == 0
    for each in hungry:
        if each.priority is Priority.AUDIT:
            assert each.share >= world.standing().fair_part(Priority.AUDIT)


@given(st.integers(0, 500), st.data())
def test_of_a_share_any_part_can_be_given_back_exactly(slots: int, data: st.DataObject) -> None:
    held = parcels(slots)
    assert sum(held) == slots
    part = data.draw(st.integers(0, slots))
    assert sum(held[place] for place in to_give(held, part)) == part


@given(st.lists(st.integers(1, 50)), st.data())
def test_of_any_leases_enough_is_given_back(held: list[int], data: st.DataObject) -> None:
    part = data.draw(st.integers(0, sum(held)))
    places = to_give(held, part)
    assert len(set(places)) == len(places)
    assert sum(held[place] for place in places) >= part
