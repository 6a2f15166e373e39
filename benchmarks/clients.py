"""The callers that `benchmarks.calls` compares, each run in a process of its own:

python -m benchmarks.clients bare|sdk|prefect URL CALLS
python -m benchmarks.clients naive URL CALLS CAP

Each asks about `CALLS` different pictures of 150 KB, 64 at a time, after a warm-up that is not counted,
and prints the CPU seconds (user and system) that this process spent meanwhile. The pictures are in memory.
"""

# ruff: noqa: PLC0415 - each caller imports its own needs only

import asyncio
import contextlib
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.pictures import base_picture, picture

AT_ONCE = 64
WARM_UP = 2 * AT_ONCE
MARK = "CPU seconds: "

Ask = Callable[[int], Awaitable[None]]


def main() -> None:
    kind, url, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "naive":
        naive(url, calls, int(sys.argv[4]))
    else:
        {"bare": bare, "sdk": sdk, "prefect": prefect}[kind](url, calls)


def bare(url: str, calls: int) -> None:
    """Our own call path: compose and ask over one session."""

    async def go() -> None:
        from tasks.units.opening import open_session

        async with open_session() as session:
            await counted(own_ask(session, url), calls)

    asyncio.run(go())


def sdk(url: str, calls: int) -> None:
    """The official SDK at its best: a client for each thread, connections kept alive.

    It is handed text that pybase64 made, which is faster than the standard library's.
    """
    import threading

    import pybase64
    from tencentcloud.common.credential import Credential
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile
    from tencentcloud.faceid.v20180301 import faceid_client, models

    own = threading.local()
    base = base_picture()
    keys = os.environ["TENCENTCLOUD_SECRET_ID"], os.environ["TENCENTCLOUD_SECRET_KEY"]

    def ask(number: int) -> None:
        if not hasattr(own, "client"):
            scheme, _, host = url.partition("://")
            profile = ClientProfile(httpProfile=HttpProfile(scheme, host, keepAlive=True))
            own.client = faceid_client.FaceidClient(Credential(*keys), "", profile)
        request = models.DetectAIFakeFacesRequest()
        request.FaceInput = pybase64.b64encode_as_string(picture(number, base))
        request.FaceInputType = 1
        assert own.client.DetectAIFakeFaces(request).AttackRiskLevel

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask, range(WARM_UP)))
        began = cpu_s()
        list(pool.map(ask, range(WARM_UP, WARM_UP + calls)))
        print(f"{MARK}{cpu_s() - began}", flush=True)


def prefect(url: str, calls: int) -> None:
    """One Prefect task run for each object, each with one call of our own client."""
    from tasks.units.opening import quiet_prefect

    quiet_prefect()
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    from tasks.units.opening import open_session

    @flow(name="one-task-for-each-object", persist_result=False)
    async def sweep() -> None:
        async with open_session() as session:
            ask = own_ask(session, url)

            @task(name="ask", cache_policy=NO_CACHE, persist_result=False)
            async def ask_one(number: int) -> None:
                await ask(number)

            await counted(ask_one, calls)

    asyncio.run(sweep())


def naive(url: str, calls: int, cap: int) -> None:
    """Our client behind AsyncLimiter(cap, 1), for `benchmarks.lanes`; calls turned away are let be."""
    from aiolimiter import AsyncLimiter

    from domain.errors import Throttled
    from tasks.units.opening import open_session

    async def go() -> None:
        limiter = AsyncLimiter(cap, 1)
        async with open_session() as session, asyncio.TaskGroup() as group:
            ask = own_ask(session, url)

            async def ask_one(number: int) -> None:
                with contextlib.suppress(Throttled):
                    await ask(number)

            for number in range(calls):
                await limiter.acquire()
                group.create_task(ask_one(number))

    asyncio.run(go())


def own_ask(session: object, url: str) -> Ask:
    """Our own client's way to ask about one picture."""
    import hashlib

    import aiohttp

    from domain.media import PreparedMedia
    from domain.objects import MediaKind
    from tasks.providers.credentials import tencent_keys
    from tasks.providers.tencent.client import TencentDetector

    assert isinstance(session, aiohttp.ClientSession)
    detector = TencentDetector(session, tencent_keys(), url)
    base = base_picture()
    digest = hashlib.sha256(base).hexdigest()

    async def ask(number: int) -> None:
        media = PreparedMedia(picture(number, base), MediaKind.IMAGE, digest, digest, "untouched")
        await detector.ask(detector.compose(media))

    return ask


async def counted(ask: Ask, calls: int) -> None:
    """Warm up, ask, print what the asking cost."""
    await each(ask, range(WARM_UP))
    began = cpu_s()
    await each(ask, range(WARM_UP, WARM_UP + calls))
    print(f"{MARK}{cpu_s() - began}", flush=True)


async def each(ask: Ask, numbers: range) -> None:
    """Ask about every number, `AT_ONCE` at a time."""
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            await ask(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
