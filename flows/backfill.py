"""The backfill: one run whose shards many workers work on."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from domain.budgets import Budget
from domain.errors import FacesweepError, Stopped
from domain.verdicts import Provider
from flows.artifacts import showing_progress
from tasks.units.backfill.claims import shard_claim
from tasks.units.leases import held
from tasks.units.opening import open_home
from tasks.units.shard_work import ShardAttempt, is_done, open_shard
from tasks.units.watching import stoppable

CLAIM_WITHIN_S = 90.0
"""How long to wait for the claim of a worker that was killed: its lease lapses after 74 s at most."""


@flow(name="shard", persist_result=False, retries=0)
async def shard(
    home_url: str,
    run_id: str,
    provider: str,
    number: int,
    attempt: int = 1,
    home_endpoint_url: str | None = None,
    home_region: str | None = None,
    calls: int | None = None,
    money: float | None = None,
) -> State[None]:
    """One attempt at one shard of a backfill, by whichever worker takes it up.

    `calls` and `money` bound what the shard may spend over all its attempts. Completed: the shard is done.
    Failed: it is not, with the reason in one sentence. Cancelled: it was asked to stop. The shard's record in
    the home says the same; Prefect tries nothing again, the backfill's coordinator does.
    """
    home = open_home(home_url, home_endpoint_url, home_region)
    given = ShardAttempt(run_id, Provider(provider), number, attempt, Budget(calls, money))
    try:
        async with held(shard_claim(run_id, given.provider, number), wait_s=CLAIM_WITHIN_S) as claim:
            if await asyncio.to_thread(is_done, home, given):
                return Completed(message=f"{given.name} was done already")
            with _stopped_by_sigterm():
                async with open_shard(home, given, claim) as work, showing_progress(work.progress):
                    record = await work.detect()
    except Stopped as stop:
        return Cancelled(message=str(stop))
    except FacesweepError as error:
        return Failed(message=str(error))
    return Completed(message=f"{given.name}: {record.books.balance.asked:,} questions settled")


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """A worker that ends, or cancels this flow run, sends SIGTERM: calls on the way are waited for."""
    request = asyncio.Event()
    loop = asyncio.get_running_loop()
    with stoppable(request), contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError, RuntimeError):  # not on the main thread: nobody signals it
            before = signal.getsignal(signal.SIGTERM)
            loop.add_signal_handler(signal.SIGTERM, request.set)
            stack.callback(signal.signal, signal.SIGTERM, before)
            stack.callback(loop.remove_signal_handler, signal.SIGTERM)
        yield
