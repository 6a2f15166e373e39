"""Hashing beside the trips: it takes what the machine has left, and nobody with an answer waits for it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from domain.signals import Signals
from tasks.media.workers import MediaWorkers
from tasks.shard import looking
from tasks.shard.looking import MOST_HASHING, Looking
from tests.contract.emulated_media import image, video

pytestmark = pytest.mark.anyio


@pytest.fixture
async def workers() -> AsyncIterator[MediaWorkers]:
    async with MediaWorkers(processes=1) as workers:
        yield workers


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits: what is true without patience is true with it."""
    monkeypatch.setattr(looking, "HASH_PATIENCE_S", 0)


async def test_a_picture_that_is_hashed_by_the_time_its_row_is_made_has_a_hash(workers: MediaWorkers) -> None:
    look = Looking(perceptual_hash=True)
    begun = await look.hashing(image(), workers, is_behind=False)
    assert begun is not None
    await begun.task

    assert len(begun.taken(Signals()).perceptual_hash or "") == 64


async def test_whoever_has_an_answer_takes_what_there_is_and_what_has_not_begun_never_will(
    workers: MediaWorkers,
) -> None:
    look = Looking(perceptual_hash=True, turns=asyncio.Semaphore(0))
    begun = await look.hashing(image(), workers, is_behind=False)
    assert begun is not None

    assert begun.taken(Signals(camera="x")) == Signals(camera="x")
    look.turns.release()
    assert await begun.task is None


@pytest.mark.parametrize(
    ("content", "wanted", "is_behind"),
    [(image(), False, False), (image(), True, True), (video(), True, False), (b"text", True, False)],
    ids=["not wanted", "the lane is behind", "a video", "no media"],
)
async def test_nothing_is_hashed(
    content: bytes, wanted: bool, is_behind: bool, workers: MediaWorkers
) -> None:
    look = Looking(perceptual_hash=wanted)
    assert await look.hashing(content, workers, is_behind=is_behind) is None


async def test_no_more_pictures_wait_than_fit_into_memory(workers: MediaWorkers) -> None:
    look = Looking(perceptual_hash=True, turns=asyncio.Semaphore(0))
    begun = [await look.hashing(image(), workers, is_behind=False) for _ in range(MOST_HASHING + 3)]

    assert [each is not None for each in begun] == [True] * MOST_HASHING + [False] * 3
    await look.close()
    assert all(each is None or each.task.cancelled() for each in begun)


async def test_a_picture_that_cannot_be_decoded_has_no_hash_and_is_no_error(workers: MediaWorkers) -> None:
    look = Looking(perceptual_hash=True)
    begun = await look.hashing(image()[:700], workers, is_behind=False)
    assert begun is not None
    assert await begun.task is None
    assert begun.taken(Signals()) == Signals()
