"""Deployments: which flow, with what, where and when."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema

from domain.errors import UsageError
from flows.deploying.changes import Change, Done
from flows.deploying.wanted import Deployment, Wanted

TAG = "facesweep"
"""On all deployments of ours, and so on their runs: automations listen to runs that have it."""


def flow_of(deployment: Deployment) -> "Flow[..., Any]":
    """The flow a deployment runs.

    Raises:
        UsageError: its entrypoint names no flow.
    """
    try:
        found = getattr(importlib.import_module(deployment.module), deployment.function)
    except (ImportError, AttributeError):
        found = None
    if not isinstance(found, Flow):
        raise UsageError(f"deployment {deployment.name}: there is no flow {deployment.entrypoint}")
    return found


async def put_deployments(client: PrefectClient, wanted: Wanted, *, dry_run: bool) -> AsyncIterator[Change]:
    """Deployments are there as wanted; a schedule that a person paused stays paused.

    Others with our tag are named and left alone: they belong to other specs, or nobody wants them any more.

    Raises:
        UsageError: an entrypoint names no flow.
    """
    ours = set()
    for deployment in wanted.deployments:
        flow = flow_of(deployment)
        name = f"{flow.name}/{deployment.name}"
        ours.add(name)
        fields = _fields(deployment, wanted.pull)
        schema = _schema(flow)
        try:
            there = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            differing, change = "", Done.CREATED
            is_active = [each.active for each in deployment.schedules]
        else:
            now = _fields_there(there) | {"parameters' schema": there.parameter_openapi_schema}
            differing = ", ".join(
                each
                for each, value in (fields | {"parameters' schema": schema}).items()
                if now[each] != value
            )
            change = Done.UPDATED if differing else Done.UNCHANGED
            is_active = _still_active(deployment, there)
        if change is not Done.UNCHANGED and not dry_run:
            await _put(client, flow, deployment, fields, schema, is_active)
        yield Change("deployment", name, change, differing)
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    for there in await client.read_deployments(deployment_filter=tagged):
        name = f"{(await client.read_flow(there.flow_id)).name}/{there.name}"
        if name not in ours:
            yield Change(
                "deployment",
                name,
                Done.LEFT,
                f"not of these specs; `prefect deployment delete {name}` ends it",
            )


async def _put(
    client: PrefectClient,
    flow: "Flow[..., Any]",
    deployment: Deployment,
    fields: dict[str, Any],
    schema: dict[str, Any],
    is_active: list[bool],
) -> None:
    limit = deployment.concurrency_limit
    options = None
    if limit is not None:
        options = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(limit.collision_strategy))
    await client.create_deployment(  # replaces one of that name
        flow_id=await client.create_flow(flow),
        name=deployment.name,
        description=deployment.description,
        entrypoint=deployment.entrypoint,
        parameters=deployment.parameters,
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        tags=list(deployment.tags),
        work_pool_name=deployment.work_pool.name,
        work_queue_name=deployment.work_pool.work_queue_name,
        job_variables=deployment.work_pool.job_variables,
        pull_steps=fields["pull steps"],
        concurrency_limit=None if limit is None else limit.limit,
        concurrency_options=options,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=each.cron, timezone=each.timezone), active=active
            )
            for each, active in zip(deployment.schedules, is_active, strict=True)
        ],
    )


def _schema(flow: "Flow[..., Any]") -> dict[str, Any]:
    """Of the flow's parameters, as `prefect deploy` writes it: what is empty is left out."""
    schema = parameter_schema(flow).model_dump_for_openapi()
    return {name: value for name, value in schema.items() if value}


def _fields(deployment: Deployment, pull: list[dict[str, Any]]) -> dict[str, Any]:
    """What is compared, by the names people see."""
    limit = deployment.concurrency_limit
    return {
        "description": deployment.description,
        "entrypoint": deployment.entrypoint,
        "parameters": deployment.parameters,
        "tags": sorted(deployment.tags),
        "work pool": deployment.work_pool.name,
        "queue": deployment.work_pool.work_queue_name,
        "job variables": deployment.work_pool.job_variables,
        "concurrency limit": limit and (limit.limit, limit.collision_strategy),
        "schedules": sorted((each.cron, each.timezone) for each in deployment.schedules),
        "pull steps": pull,
    }


def _fields_there(there: DeploymentResponse) -> dict[str, Any]:
    limit, options = there.global_concurrency_limit, there.concurrency_options
    return {
        "description": there.description,
        "entrypoint": there.entrypoint,
        "parameters": there.parameters,
        "tags": sorted(there.tags),
        "work pool": there.work_pool_name,
        "queue": there.work_queue_name,
        "job variables": there.job_variables,
        "concurrency limit": limit and (limit.limit, options and options.collision_strategy.value),
        "schedules": sorted(
            (each.schedule.cron, each.schedule.timezone or "")
            for each in there.schedules
            if isinstance(each.schedule, CronSchedule)
        ),
        "pull steps": there.pull_steps,
    }


def _still_active(deployment: Deployment, there: DeploymentResponse) -> list[bool]:
    """Whether each wanted schedule shall be active: as on the server where it is there already."""
    now = {
        (each.schedule.cron, each.schedule.timezone): each.active
        for each in there.schedules
        if isinstance(each.schedule, CronSchedule)
    }
    return [now.get((each.cron, each.timezone), each.active) for each in deployment.schedules]
