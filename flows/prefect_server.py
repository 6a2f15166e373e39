"""A Prefect server for one command, where none is configured.

Prefect would start one by itself, but in our process group, where Ctrl-C ends it before the run's last words,
and as an orphan after a kill -9.
"""

import asyncio
import re
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import aiohttp
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    get_current_settings,
    temporary_settings,
)

from domain.errors import FacesweepError, UsageError
from flows.children import ended, start_python
from tasks.units.lanes import alone
from tasks.units.opening import environment_with

PATIENCE_S = 120.0
"""A first start in an empty Prefect home takes 10 to 14 s, several times that on a busy machine."""

ASK_EVERY_S = 0.1


@asynccontextmanager
async def some_server() -> AsyncIterator[None]:
    """Inside the block flows find a server: the configured one, or one of our own that ends with the block.

    What our own prints reaches nobody's terminal: while it shuts down it may log what it was cut off from.

    Raises:
        FacesweepError: our own does not start; quotes the last thing it said.
        UsageError: the configured one cannot be reached.
    """
    if (configured := get_current_settings().api.url) is not None:
        try:
            yield
        except RuntimeError as error:  # Prefect has no class of its own for it
            if not str(error).startswith("Failed to reach API"):
                raise
            raise UsageError(
                f"the Prefect server at {_PASSWORD.sub('//…@', configured)} cannot be reached: start it, or "
                "unset PREFECT_API_URL"
            ) from None
        return
    with tempfile.TemporaryFile() as printed:
        async with _own_server(printed) as url:
            settings = {PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: False}
            with temporary_settings(settings), alone():
                yield  # nobody reads the log of a server that ends with the command


@asynccontextmanager
async def _own_server(printed: IO[bytes]) -> AsyncIterator[str]:
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
        stdout=printed,
        stderr=printed,
    )
    try:
        url = f"http://127.0.0.1:{port}/api"
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await _is_well(url):
                    if process.poll() is not None:
                        status = f"exit status {process.returncode}{_said(printed)}"
                        raise FacesweepError(f"Prefect's server did not start ({status})")
                    await asyncio.sleep(ASK_EVERY_S)
        except TimeoutError:
            raise FacesweepError(
                f"Prefect's server did not start within {PATIENCE_S:.0f} s{_said(printed)}"
            ) from None
        yield url
    finally:
        await asyncio.to_thread(ended, process)


_PASSWORD = re.compile(r"//[^/\s@]*@")
"""Of the url of a database, which its driver may repeat in an error."""


def _said(printed: IO[bytes]) -> str:
    """The last line that says something; nothing where there is none."""
    printed.seek(0)
    lines = [line.strip() for line in printed.read().decode(errors="replace").splitlines()]
    spoken = [line for line in lines if re.search(r"\w", line)]
    return f": {_PASSWORD.sub('//…@', spoken[-1])}" if spoken else ""


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
