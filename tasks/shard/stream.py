"""A shard's trips, side by side."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from domain.questions import Question
from tasks.shard.feed import Feed
from tasks.shard.line import Line
from tasks.shard.memory import Slot
from tasks.shard.trip import travel


async def stream(line: Line, batches: Iterator[list[Question]]) -> None:
    """Take every open question of a shard to its final row.

    Shards are fed one after the other, but the next one is fed while the last trips of this one are
    under way, so that the lane never waits for a straggler.

    Whatever ends a trip without a row ends the line: no further call leaves, but calls on the way are paid
    for, so they are waited for and their answers kept.

    Raises:
        Denied, StoreDenied, Stopped, BudgetSpent, or what nobody foresaw: the shard is not finished; `resume`
        goes on with what is pending.
    """
    # Of a video several calls may have been answered, and lost before its row was written
    most = line.policy.in_doubt_attempts + line.limits.video_segments - 1
    feed = Feed(batches, line.journal, replace(line.policy, in_doubt_attempts=most))
    ends: list[Exception] = []
    workers = line.trips

    async def work() -> None:
        nonlocal workers
        while True:
            if workers < line.trips and not fed.is_set():  # the cap was raised meanwhile
                workers += 1
                trips.create_task(work())
            await line.ready.acquire()
            slot = Slot(line.ready)
            taken = None if ends else await feed.next()
            if taken is None:
                slot.release()
                break
            question, lost_calls = taken
            try:
                await travel(line, question, slot, lost_calls=lost_calls)
            except Exception as end:
                ends.append(end)
                line.close(end)
        fed.set()

    fed = asyncio.Event()
    async with asyncio.TaskGroup() as trips, line.feeding:
        for _ in range(workers):
            trips.create_task(work())
        await fed.wait()
    if ends:
        raise ends[0]
