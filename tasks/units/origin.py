"""Real or simulated: whether a service or an emulator answered. Never both in one home.

A verdict's row does not say who answered, its run's record does. In a home of both kinds, plans would take a
simulated verdict for final, contents would lend it on, and no analyst could tell it from a real one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from domain.errors import UsageError
from domain.verdicts import Outcome, Provider
from tasks.providers.endpoints import Endpoint
from tasks.providers.exchange import is_emulated
from tasks.records.home import Home
from tasks.records.run_record import RunRecord
from tasks.settings import Aliyun, Spec, Tencent
from tasks.units.opening import open_session


def are_simulated(records: Iterable[RunRecord]) -> bool | None:
    """Whether the verdicts of these runs are an emulator's; None where no provider has answered yet."""
    answered = False
    for record in records:
        if record.simulated:
            return True
        answered = answered or any(
            books.balance.outcomes.get(outcome)
            for books in record.books
            for outcome in (Outcome.SCORED, Outcome.REFUSED)
        )
    return False if answered else None


async def refuse_to_mix(home: Home, spec: Spec, records: Iterable[RunRecord]) -> None:
    """Nothing where the spec may be asked in this home, as far as that can be told without a call.

    Only a home of simulated verdicts needs a look: its plan would be wrong already. A home of real ones
    notices an emulator by its first reply, which costs nothing and is thrown away.

    Raises:
        UsageError: the home's verdicts are an emulator's, and what answers at an endpoint is none.
    """
    if not are_simulated(records):
        return
    async with open_session() as session:
        for table in spec.asked.values():
            for url in _endpoints(table):
                if await is_emulated(session, Endpoint.parse(url)) is False:
                    raise UsageError(
                        f"the verdicts in {home.root} are an emulator's, and {url} is none: choose another "
                        "audit.home, so that real and simulated verdicts are never mixed"
                    )


class Origin:
    """Who answers the questions of a home: told by its runs, else by the first reply.

    `mark` makes it durable that the run is simulated, before its first answer is.
    """

    def __init__(self, home: Home, is_simulated: bool | None, mark: Callable[[], Awaitable[object]]) -> None:
        self._home, self._is_simulated, self._mark = home, is_simulated, mark
        self._learning = asyncio.Lock()

    async def accept(self, provider: Provider, is_simulated: bool) -> None:
        """Return if an answer of this origin may be recorded.

        Raises:
            UsageError: the home's verdicts are of the other origin. The answer must not be recorded.
        """
        if self._is_simulated is None:
            async with self._learning:
                if self._is_simulated is None:
                    if is_simulated:
                        await self._mark()
                    self._is_simulated = is_simulated
        if self._is_simulated != is_simulated:
            who, kind = ("an emulator", "real") if is_simulated else ("the service itself", "simulated")
            raise UsageError(
                f"{who} answered for {provider}, and the verdicts in {self._home.root} are {kind}: nothing "
                "of it was recorded; give the run up with `facesweep abandon`, then mend the endpoint or "
                "choose another audit.home"
            )


def _endpoints(table: Tencent | Aliyun) -> tuple[str, ...]:
    return (table.endpoint,) if isinstance(table, Tencent) else table.endpoints
