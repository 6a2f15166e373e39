"""Work pools and their queues."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from domain.errors import UsageError
from flows.deploying.changes import Change, Done
from flows.deploying.wanted import Pool, Queue


async def put_pools(client: PrefectClient, pools: Iterable[Pool], *, dry_run: bool) -> AsyncIterator[Change]:
    """Pools and queues are there as wanted. What a person set beside it (a pause) stays.

    Raises:
        UsageError: a pool of the name is there, of another type.
    """
    for pool in pools:
        found = await _put_pool(client, pool, dry_run=dry_run)
        yield found
        for queue in pool.queues:
            is_new = found.done is Done.CREATED and dry_run  # then nobody can be asked about its queues
            yield await _put_queue(client, pool, queue, dry_run=dry_run, is_new=is_new)


async def _put_pool(client: PrefectClient, pool: Pool, *, dry_run: bool) -> Change:
    wanted = {"description": pool.description, "concurrency_limit": pool.concurrency_limit}
    try:
        there = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        if not dry_run:
            await client.create_work_pool(
                WorkPoolCreate(
                    name=pool.name,
                    type=pool.type,
                    base_job_template=ProcessWorker.get_default_base_job_template(),
                    description=pool.description,
                    concurrency_limit=pool.concurrency_limit,
                )
            )
        return Change("work pool", pool.name, Done.CREATED)
    if there.type != pool.type:
        raise UsageError(
            f"the work pool {pool.name} is there, of type {there.type} and not {pool.type}: delete it, or "
            "give ours another name in deployments/prefect.yaml"
        )
    differing = _differing(there, wanted)
    if differing and not dry_run:
        await client.update_work_pool(pool.name, WorkPoolUpdate.model_validate(wanted))
    return Change("work pool", pool.name, Done.UPDATED if differing else Done.UNCHANGED, differing)


async def _put_queue(
    client: PrefectClient, pool: Pool, queue: Queue, *, dry_run: bool, is_new: bool
) -> Change:
    name = f"{pool.name}/{queue.name}"
    wanted = {
        "description": queue.description,
        "concurrency_limit": queue.concurrency_limit,
        "priority": queue.priority,
    }
    if is_new:
        return Change("queue", name, Done.CREATED)
    try:
        there = await client.read_work_queue_by_name(queue.name, pool.name)
    except ObjectNotFound:
        if not dry_run:
            await client.create_work_queue(
                queue.name,
                description=queue.description,
                concurrency_limit=queue.concurrency_limit,
                priority=queue.priority,
                work_pool_name=pool.name,
            )
        return Change("queue", name, Done.CREATED)
    differing = _differing(there, wanted)
    if differing and not dry_run:
        await client.update_work_queue(there.id, **wanted)
    return Change("queue", name, Done.UPDATED if differing else Done.UNCHANGED, differing)


def _differing(there: object, wanted: Mapping[str, Any]) -> str:
    """Names of what is not as wanted."""
    return ", ".join(
        name for name, value in wanted.items() if (getattr(there, name) or None) != (value or None)
    )
