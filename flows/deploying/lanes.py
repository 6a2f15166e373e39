"""The limits of the specs' lanes: one for each account of a provider, whose slots are calls per second."""

from collections.abc import AsyncIterator, Sequence

from flows.deploying.changes import Change, Done
from tasks.units.lanes import lane_name
from tasks.units.limits import connect
from tasks.units.opening import Spec


async def put_lanes(specs: Sequence[Spec], *, dry_run: bool) -> AsyncIterator[Change]:
    """Each lane's limit is there: made with the least cap a spec gives it, and never changed here.

    The server's number rules from then on; `facesweep cap` changes it. What members of a lane count in beside
    it, they make themselves.

    Raises:
        ServerAway: the server gives no usable reply.
    """
    caps: dict[str, set[int]] = {}
    for spec in specs:
        for provider, table in spec.asked.items():
            caps.setdefault(lane_name(provider, table), set()).add(table.qps)
    async with connect() as server:
        there = await server.list()
        for name, wanted in caps.items():
            if name not in there:
                cap = min(wanted)
                if not dry_run:
                    await server.ensure(name, cap)
                others = "" if len(wanted) == 1 else f"; {_specs_say(wanted - {cap})}"
                yield Change("limit", name, Done.CREATED, f"{cap} calls per second{others}")
            elif wanted == {there[name].slots}:
                yield Change("limit", name, Done.UNCHANGED)
            else:
                says = _specs_say(wanted - {there[name].slots})
                detail = f"{there[name].slots} calls per second holds, {says}; `facesweep cap` changes it"
                yield Change("limit", name, Done.LEFT, detail)


def _specs_say(caps: set[int]) -> str:
    return f"a spec says {' and one '.join(str(cap) for cap in sorted(caps))}"
