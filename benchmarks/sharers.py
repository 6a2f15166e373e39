"""The workers that `benchmarks.shares` sets on one cap, each a process of its own:

python -m benchmarks.sharers shares|rate_limit LIMIT CAP PORT

Each sends a datagram for every call its pace lets go to a port of this machine, until it is killed or its
standard input ends. The Prefect server is the configured one.
"""

import asyncio
import contextlib
import logging
import socket
import sys

from prefect.concurrency.asyncio import rate_limit

from tasks.pacing.lane import Lane
from tasks.pacing.shares import Priority
from tasks.units.limits import connect
from tasks.units.sharing import LaneLimits, shared

CALLERS = 20
"""Of one process: enough that somebody always waits for the pace."""


async def main() -> None:
    kind, name, cap, port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        end = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        calling = asyncio.create_task(by_shares(name, cap, out) if kind == "shares" else by_limit(name, out))
        await asyncio.wait([end, calling], return_when=asyncio.FIRST_COMPLETED)
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling


async def by_shares(name: str, cap: int, out: socket.socket) -> None:
    """A lane with a share of the cap."""
    lane = Lane(cap)

    async def call() -> None:
        while True:
            async with lane.gate:
                await lane.admit()
                out.send(b".")

    async with (
        connect() as limits,
        shared(limits, LaneLimits(name), lane, Priority.BACKFILL),
        asyncio.TaskGroup() as callers,
    ):
        for _ in range(CALLERS):
            callers.create_task(call())


async def by_limit(name: str, out: socket.socket) -> None:
    """Prefect's own way: one slot of a decaying limit for each call."""

    async def call() -> None:
        while True:
            await rate_limit(name)
            out.send(b".")

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(call())


if __name__ == "__main__":
    asyncio.run(main())
