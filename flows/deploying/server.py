"""The Prefect server that is configured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from domain.errors import FacesweepError, UsageError


@asynccontextmanager
async def configured_server() -> AsyncIterator[PrefectClient]:
    """A client of the configured server, which answers.

    Raises:
        UsageError: none is configured, or it cannot be reached.  FacesweepError: it refuses a request.
    """
    url = get_current_settings().api.url
    if url is None:
        raise UsageError(
            "no Prefect server is configured: set PREFECT_API_URL, such as http://127.0.0.1:4200/api"
        )
    async with get_client() as client:
        if (trouble := await client.api_healthcheck()) is not None:
            raise UsageError(
                f"the Prefect server at {url} does not answer ({type(trouble).__name__}): start it with "
                "`prefect server start`, or mend PREFECT_API_URL"
            )
        try:
            yield client
        except PrefectHTTPStatusError as error:
            request, reply = error.request, error.response
            raise FacesweepError(
                f"the Prefect server refused {request.method} {request.url.path} with {reply.status_code}: "
                f"{reply.text[:300]}"
            ) from None
        except httpx.TransportError as error:
            raise FacesweepError(
                f"the Prefect server at {url} was lost on the way ({type(error).__name__}): "
                "`facesweep deploy` does the rest when it is back"
            ) from None
