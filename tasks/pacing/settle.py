"""Settle: one question, asked at the lane's pace until it is settled."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.errors import ProviderError, Refused, Throttled, Unavailable
from domain.verdicts import Answer
from tasks.pacing.lane import Lane
from tasks.pacing.retry import RetryPolicy, Tries, wait_before_next


@dataclass(frozen=True, slots=True)
class Settled:
    """How the asking ended: with an answer, or with the error that ended it."""

    answer: Answer | None
    error: ProviderError | None
    tries: Tries
    order_no: str  # of the last call
    asked_at: datetime  # when the last call left
    latency_ms: float  # of the last call

    @property
    def is_refused(self) -> bool:
        """Whether the provider said that no verdict is possible."""
        return isinstance(self.error, Refused)


async def settle(
    lane: Lane,
    policy: RetryPolicy,
    announce: Callable[[int], Awaitable[str]],
    ask: Callable[[str], Awaitable[Answer]],
    tries: Tries,
) -> Settled:
    """Ask until the provider answers, refuses, or the policy's bounds are reached.

    `announce(call_number)` makes the coming call durable before it leaves and returns its order
    number; `ask(order_no)` is one call. A retry pays the pace like any other call. `tries` is counted up
    as calls end, so that it tells what a question has cost even when this raises.

    Raises:
        Denied: the account is refused; the question stays pending.
        What the lane was closed with, or `announce` raises: no further call may leave; the question stays
            pending.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        async with lane.gate:
            lane.check_open()
            order_no = await announce(tries.announced + 1)
            tries.announced += 1
            await lane.admit()
        tries.left += 1
        asked_at, left = datetime.now(UTC), loop.time()
        try:
            answer = await ask(order_no)
        except (Throttled, Unavailable, Refused) as failure:
            error: ProviderError = failure
        else:
            tries.attempts += 1
            return Settled(answer, None, tries, order_no, asked_at, (loop.time() - left) * 1000)
        latency_ms = (loop.time() - left) * 1000
        if isinstance(error, Throttled):
            tries.throttled += 1
            lane.throttle(error.retry_after_s)
        else:
            tries.attempts += 1
            tries.in_doubt += isinstance(error, Unavailable) and error.in_doubt
        wait_s = wait_before_next(
            policy,
            tries,
            error,
            loop.time() - began,
            random.random(),  # noqa: S311 — spreads waits, guards nothing
        )
        if wait_s is None:
            return Settled(None, error, tries, order_no, asked_at, latency_ms)
        await lane.rest(wait_s)
