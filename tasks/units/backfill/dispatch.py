"""The flow runs of a backfill's shards: submitting, watching, calling back."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterTags,
    WorkerFilter,
    WorkerFilterStatus,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed, Scheduled

from domain.errors import ServerAway, UsageError
from tasks.units.backfill.ledger import Assignment, ShardKey, Terms, idempotency_key, key_of
from tasks.units.backfill.sights import Flight

RUNS_IN_A_REPLY = 200
"""The most flow runs Prefect's server lists in one reply."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FlightSeen:
    """The flow run of an attempt as Prefect shows it."""

    flight: Flight
    flow_run_id: UUID


class Dispatcher:
    """One run's shards on one deployment. Made by `open_dispatcher`; belongs to one event loop."""

    def __init__(
        self, client: PrefectClient, deployment: DeploymentResponse, run_id: str, audit: str
    ) -> None:
        self._client, self._deployment = client, deployment
        self._run_id, self._audit = run_id, audit

    @property
    def pool(self) -> str:
        """The work pool whose workers take the shards."""
        return self._deployment.work_pool_name or ""

    async def look(self, assignments: Collection[Assignment]) -> dict[ShardKey, FlightSeen]:
        """The flow runs of these attempts, as far as Prefect knows them; one request for every 200.

        Raises:
            ServerAway: no reply that could be used.
        """
        keys = {idempotency_key(self._run_id, each): key_of(each.shard) for each in assignments}
        names, found = list(keys), {}
        for start in range(0, len(names), RUNS_IN_A_REPLY):
            asked = FlowRunFilterIdempotencyKey(any_=names[start : start + RUNS_IN_A_REPLY])
            runs = await _answered(
                self._client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=asked))
            )
            for run in runs:
                found[keys[run.idempotency_key or ""]] = _seen(run)
        return found

    async def submit(self, assignment: Assignment, home: Mapping[str, Any]) -> None:
        """Let a worker of the pool take the shard up; nothing happens where this attempt is known.

        Args:    home: where the run lives, in the words of the flow's parameters.
        Raises:  ServerAway: as `look`.
        """
        shard = assignment.shard
        starts_at = datetime.now(UTC) + timedelta(seconds=assignment.delay_s)
        again = f" attempt {assignment.attempt}" if assignment.attempt > 1 else ""
        await _answered(
            self._client.create_flow_run_from_deployment(
                self._deployment.id,
                parameters={
                    **home,
                    "run_id": self._run_id,
                    "provider": str(shard.provider),
                    "number": shard.number,
                    "attempt": assignment.attempt,
                    "calls": assignment.allowance.calls,
                    "money": assignment.allowance.money,
                },
                state=Scheduled(scheduled_time=starts_at),
                name=f"{self._audit} {self._run_id} {shard.provider} {shard.number}{again}",
                tags=[f"audit:{self._audit}", _tag(self._run_id)],
                idempotency_key=idempotency_key(self._run_id, assignment),
            )
        )

    async def declare_crashed(self, seen: FlightSeen) -> None:
        """Tell Prefect that the worker of a flow run is dead.

        Raises:
            ServerAway: as `look`.
        """
        await self._set(seen, Crashed(message="Nobody holds the shard's claim any more: its worker died."))

    async def recall(self, seen: FlightSeen) -> None:
        """A flow run that waits for a worker is not to start any more.

        Raises:
            ServerAway: as `look`.
        """
        await self._set(seen, Cancelled(message="The backfill was stopped before a worker took this shard."))

    async def has_workers(self) -> bool:
        """Whether a worker of the pool is online.

        Raises:
            ServerAway: as `look`.
        """
        online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
        try:
            workers = await _answered(
                self._client.read_workers_for_work_pool(self.pool, worker_filter=online, limit=1)
            )
        except ObjectNotFound:
            return False
        return bool(workers)

    async def is_cancelled(self, flow_run_id: UUID) -> bool:
        """Whether somebody cancelled that flow run.

        Raises:
            ServerAway: as `look`.
        """
        try:
            run = await _answered(self._client.read_flow_run(flow_run_id))
        except ObjectNotFound:
            return False
        return run.state_type in (StateType.CANCELLING, StateType.CANCELLED)

    async def _set(self, seen: FlightSeen, state: Any) -> None:
        with contextlib.suppress(ObjectNotFound):
            await _answered(self._client.set_flow_run_state(seen.flow_run_id, state, force=True))


def require_server() -> None:
    """A backfill needs a Prefect server that its workers use too.

    Raises:
        UsageError: none is configured.
    """
    if get_current_settings().api.url is None:
        raise UsageError(
            "a backfill needs the Prefect server that its workers use: set PREFECT_API_URL to it (start one "
            "with `prefect server start`); without one `facesweep audit` does the same on this machine"
        )


@asynccontextmanager
async def open_dispatcher(terms: Terms, run_id: str, audit: str) -> AsyncIterator[Dispatcher]:
    """Whoever submits a run's shards to the deployment that the terms name.

    Raises:
        UsageError: no server is configured, or there is no such deployment, or it has no work pool.
        ServerAway: the server gives no reply.
    """
    require_server()
    async with get_client() as client:
        yield Dispatcher(client, await _deployment(client, terms), run_id, audit)


async def check_deployment(terms: Terms) -> None:
    """There is somebody to give shards to.

    Raises:
        UsageError, ServerAway: as `open_dispatcher`.
    """
    async with open_dispatcher(terms, "", ""):
        pass


async def check_beginning(run_id: str | None) -> None:
    """No other home's backfill of that id is known to the server: claims and flow runs go by it.

    Raises:
        UsageError: there is one.  ServerAway: the server gives no reply.
    """
    if run_id is None:  # the time and some random digits
        return
    async with get_client() as client:
        known = FlowRunFilter(tags=FlowRunFilterTags(all_=[_tag(run_id)]))
        if await _answered(client.read_flow_runs(flow_run_filter=known, limit=1)):
            raise UsageError(
                f"Prefect's server knows a backfill {run_id} of another home already: choose another --run-id"
            )


def _tag(run_id: str) -> str:
    """What every flow run of a backfill's shards carries."""
    return f"run:{run_id}"


async def _deployment(client: PrefectClient, terms: Terms) -> DeploymentResponse:
    flow, _, name = terms.deployment.partition("/")
    found = await _answered(
        client.read_deployments(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            deployment_filter=None
            if terms.pool is not None
            else DeploymentFilter(name=DeploymentFilterName(any_=[name])),
        )
    )
    pooled = [each for each in found if terms.pool in (None, each.work_pool_name)]
    chosen = [each for each in pooled if each.name == name] or pooled
    if not chosen:
        where = f" on the work pool {terms.pool}" if terms.pool is not None else ""
        raise UsageError(
            f"Prefect's server has no deployment {terms.deployment}{where}: `facesweep deploy` makes it, and "
            "a worker of its pool works on the shards (deployments/README.md)"
        )
    if chosen[0].work_pool_name is None:
        raise UsageError(
            f"the deployment {terms.deployment} has no work pool, so no worker takes its runs: "
            "`facesweep deploy` makes it anew"
        )
    return chosen[0]


def _seen(run: FlowRun) -> FlightSeen:
    match run.state_type:
        case StateType.SCHEDULED | None:
            flight = Flight.WAITING
        case StateType.PENDING | StateType.RUNNING | StateType.CANCELLING | StateType.PAUSED:
            flight = Flight.RUNNING
        case _:
            flight = Flight.OVER
    return FlightSeen(flight, run.id)


async def _answered(request: Awaitable[T]) -> T:
    """What the server replies; a flow run or limit that is not there is an answer too."""
    try:
        return await request
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise ServerAway(f"Prefect's server answered with status {status}", status) from None
    except (httpx.HTTPError, TimeoutError, OSError) as error:
        raise ServerAway(f"Prefect's server cannot be reached ({type(error).__name__})") from None
