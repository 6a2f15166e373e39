"""A Prefect server for one command, where none is configured.

Prefect would start one by itself, but in our process group, where Ctrl-C ends it before the run's last words,
and as an orphan after a kill -9.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from domain.errors import FacesweepError
from flows.children import ended, start_python
from tasks.units.lanes import alone
from tasks.units.opening import environment_with

PATIENCE_S = 120.0
"""A first start in an empty Prefect home takes 10 to 14 s, several times that on a busy machine."""

ASK_EVERY_S = 0.1


@asynccontextmanager
async def some_server() -> AsyncIterator[None]:
    """Inside the block flows find a server: the configured one, or one of our own that ends with the block.

    Raises:
        FacesweepError: our own does not start.
    """
    if get_current_settings().api.url is not None:
        yield
        return
    port = _free_port()
    process = start_python(
        [
            *("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "critical", "--lifespan", "on"),
        ],
        env=environment_with(
            {
                **get_current_settings().to_environment_variables(exclude_unset=True),
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
            }
        ),
    )
    try:
        url = f"http://127.0.0.1:{port}/api"
        async with asyncio.timeout(PATIENCE_S):
            while not await _is_well(url):
                if process.poll() is not None:
                    raise FacesweepError(f"Prefect's server did not start (exit status {process.returncode})")
                await asyncio.sleep(ASK_EVERY_S)
        with temporary_settings({PREFECT_API_URL: url}), alone():
            yield
    except TimeoutError:
        raise FacesweepError(f"Prefect's server did not start within {PATIENCE_S:.0f} s") from None
    finally:
        await asyncio.to_thread(ended, process)


async def _is_well(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as reply:
            return reply.status == 200
    except aiohttp.ClientError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
