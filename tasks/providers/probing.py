"""What a call without media shows about a provider, told to a person."""

from collections.abc import Awaitable, Callable

from domain.errors import Denied
from domain.verdicts import Answer, Provider
from tasks.providers.detector import Probe
from tasks.providers.endpoints import Endpoint
from tasks.providers.exchange import Reply
from tasks.providers.failures import Failure
from tasks.providers.standing import Stamp, Standing


async def probe(
    provider: Provider,
    endpoint: Endpoint,
    standing: Standing,
    send: Callable[[Stamp], Awaitable[Reply | Failure]],
    read: Callable[[Reply | Failure], Answer | Failure],
    shows: Callable[[Answer | Failure], tuple[bool | None, bool]],
    clock: Callable[[], float],
) -> Probe:
    """Send one signed call without media and say what it showed; never raises ProviderError.

    `shows` tells from the outcome whether the key was accepted (None: cannot be told) and whether
    all is as it should be.

    It teaches `standing` nothing: a provider's refusal of an empty request is what we hope for.
    """
    where = endpoint.url
    try:
        stamp = await standing.stamp()
    except Denied as denied:
        return Probe(provider, where, None, None, None, ready=False, sentence=denied.message)
    before_s = clock()
    reply = await send(stamp)
    middle_s = (before_s + clock()) / 2
    if isinstance(reply, Failure):
        sentence = f"{endpoint.host} cannot be reached: {reply.message}"
        return Probe(provider, where, False, None, None, ready=False, sentence=sentence)
    # A Date is cut to whole seconds: half of one makes up for it on average.
    skew_s = None if reply.date_s is None else middle_s - (reply.date_s + 0.5)
    outcome = read(reply)
    key_accepted, ready = shows(outcome)
    if isinstance(outcome, Failure) and not ready:
        error = standing.explain(outcome, stamp, where)
        return Probe(provider, where, True, key_accepted, skew_s, ready=False, sentence=str(error))
    sentence = (
        f"{endpoint.host} accepts the key; whether the service is activated and paid for shows with"
        " the first real call only"
    )
    return Probe(provider, where, True, key_accepted, skew_s, ready=ready, sentence=sentence)
