"""What happens by itself when a run fails, is dead, lasts too long or finds no worker."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events import AutomationCore, EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import (
    ActionTypes,
    CallWebhook,
    ChangeFlowRunState,
    DoNothing,
    SendNotification,
)
from prefect.events.schemas.automations import Automation

from flows.deploying.changes import Change, Done
from flows.deploying.deployments import TAG

NO_HEARTBEAT = timedelta(seconds=90)
"""Runs beat every 30 s (`deployments/prefect.yaml`): three beats missed are a death and no hiccup."""

TOO_LONG = timedelta(hours=20)
"""An audit that lasts longer eats the next night. Somebody is told; nothing is stopped."""

TOO_LONG_FOR_A_SHARD = timedelta(hours=6)
"""A shard is half an hour of calls at the cap; many times that where its share of it is small."""

_PEOPLE_WAIT_FOR = ("audit", "resume", "backfill", "report")
"""Flows whose end somebody waits for. A shard's is its coordinator's to know."""

_ENDS = {
    f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling")
}
_BEAT = "prefect.flow-run.heartbeat"


async def put_automations(
    client: PrefectClient, tell: list[ActionTypes] | None, *, dry_run: bool
) -> AsyncIterator[Change]:
    """The automations are there as wanted and `tell` somebody; None: whomever they told before.

    One that a person switched off stays off.
    """
    for wanted in automations():
        found = await client.read_automations_by_name(wanted.name)
        there = found[0] if found else None
        told = tell if tell is not None else _tellers(there)
        # An automation must act: one that has nobody to tell leaves a line in the server's log.
        wanted.actions = [*wanted.actions, *told] or [DoNothing()]
        if there is None:
            if not dry_run:
                await client.create_automation(wanted)
            yield Change("automation", wanted.name, Done.CREATED)
            continue
        wanted.enabled = there.enabled
        differing = _differing(there, wanted)
        if differing and not dry_run:
            await client.update_automation(there.id, wanted)
        yield Change("automation", wanted.name, Done.UPDATED if differing else Done.UNCHANGED, differing)


def automations() -> list[AutomationCore]:
    """All of ours, with what they do beside telling somebody."""
    return [
        _automation(
            "a run failed",
            "An audit, a backfill or a report failed or crashed.",
            _trigger(Posture.Reactive, {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}),
        ),
        _automation(
            "a run is dead",
            f"A run that is Running has not been heard of for {NO_HEARTBEAT.seconds} s: its machine or its "
            "worker is gone. It is marked Crashed, so that its place is free; what it settled is safe.",
            _trigger(Posture.Proactive, {_BEAT, *_ENDS}, after={_BEAT}, within=NO_HEARTBEAT, flows=("*",)),
            ChangeFlowRunState(
                name=None,
                force=False,
                state=StateType.CRASHED,
                message=f"no heartbeat for {NO_HEARTBEAT.seconds} s: its machine or its worker is gone",
            ),
        ),
        _automation(
            "an audit lasts too long",
            f"An audit has been running for {TOO_LONG.total_seconds() / 3600:.0f} h.",
            _trigger(
                Posture.Proactive,
                _ENDS,
                after={"prefect.flow-run.Running"},
                within=TOO_LONG,
                flows=("audit", "resume"),
            ),
        ),
        _automation(
            "a shard lasts too long",
            f"A shard has been running for {TOO_LONG_FOR_A_SHARD.total_seconds() / 3600:.0f} h.",
            _trigger(
                Posture.Proactive,
                _ENDS,
                after={"prefect.flow-run.Running"},
                within=TOO_LONG_FOR_A_SHARD,
                flows=("shard",),
            ),
        ),
        _automation(
            "no worker takes a run",
            "An audit, a backfill or a report should have begun: is a worker of its pool alive?",
            _trigger(Posture.Reactive, {"prefect.flow-run.Late"}),
        ),
    ]


def _automation(what: str, description: str, trigger: EventTrigger, *actions: ActionTypes) -> AutomationCore:
    return AutomationCore(
        name=f"facesweep: {what}", description=description, trigger=trigger, actions=[*actions], tags=[TAG]
    )


def _trigger(
    posture: Any,
    expect: set[str],
    *,
    after: set[str] | None = None,
    within: timedelta = timedelta(0),
    flows: tuple[str, ...] = _PEOPLE_WAIT_FOR,
) -> EventTrigger:
    """Of runs of our deployments, each by itself."""
    return EventTrigger(
        posture=posture,
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=[
            ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
            ),
            ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": [*flows]}),
        ],
        for_each={"prefect.resource.id"},
        after=after or set(),
        expect=expect,
        within=within,
        threshold=1,
    )


def _tellers(there: Automation | None) -> list[ActionTypes]:
    return (
        [each for each in there.actions if isinstance(each, CallWebhook | SendNotification)] if there else []
    )


def _differing(there: Automation, wanted: AutomationCore) -> str:
    """Names of what is not as wanted."""
    names = ("description", "enabled", "tags", "trigger", "actions")
    return ", ".join(
        name for name in names if there.model_dump(include={name}) != wanted.model_dump(include={name})
    )
