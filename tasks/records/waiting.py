"""Who waits for something to happen to a question, or to the budget. Of one event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import FacesweepError


class Waiting:
    """Coroutines that wait at a key until it is woken.

    Enter `at` first and look second: what happens in between is not missed.
    """

    def __init__(self) -> None:
        self._waiters: dict[bytes, set[asyncio.Future[None]]] = {}

    @contextmanager
    def at(self, key: bytes) -> Iterator[asyncio.Future[None]]:
        """A future that is done at the key's first wake inside the block."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(key, set())
        waiters.add(waiter)
        try:
            yield waiter
        finally:
            waiters.discard(waiter)
            waiter.cancel()
            if not waiters and self._waiters.get(key) is waiters:
                del self._waiters[key]

    def wake(self, key: bytes) -> None:
        """Whoever waits at the key goes on."""
        for waiter in self._waiters.get(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self, error: FacesweepError) -> None:
        """Whoever waits gets the error."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
