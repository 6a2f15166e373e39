"""All of it, in the order in which one thing needs the other."""

from collections.abc import AsyncIterator, Sequence

from prefect.client.orchestration import PrefectClient

from flows.deploying.automations import put_automations
from flows.deploying.changes import Change
from flows.deploying.deployments import flow_of, put_deployments
from flows.deploying.lanes import put_lanes
from flows.deploying.notices import telling
from flows.deploying.pools import put_pools
from flows.deploying.wanted import Wanted
from tasks.units.opening import Spec


async def put_everything(
    client: PrefectClient, wanted: Wanted, specs: Sequence[Spec], whom: str | None, *, dry_run: bool
) -> AsyncIterator[Change]:
    """Pools, queues, limits, deployments and automations are on the server as wanted; what was done.

    `whom` is told of failed and stuck runs; None: whomever was told before. Whatever fails half-way is done
    by the next call, which leaves alone what is there.

    Raises:
        UsageError: an entrypoint, a pool's type or `whom` is wrong.
    """
    for deployment in wanted.deployments:
        flow_of(deployment)  # before anything is changed
    tell = None
    if whom is not None:
        tell, changes = await telling(client, whom, dry_run=dry_run)
        for change in changes:
            yield change
    async for change in put_pools(client, wanted.pools, dry_run=dry_run):
        yield change
    async for change in put_lanes(specs, dry_run=dry_run):
        yield change
    async for change in put_deployments(client, wanted, dry_run=dry_run):
        yield change
    async for change in put_automations(client, tell, dry_run=dry_run):
        yield change
