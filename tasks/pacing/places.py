"""Places: a semaphore whose size may change while people wait for it."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self


class Places:
    """Room for `size` at a time; first come, first served. Belongs to the event loop it is used in."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """How many wait for a place."""
        return sum(1 for each in self._queue if not each.done())

    async def acquire(self) -> None:
        """Take a place, once there is one."""
        if self.used < self.size and not self.queued:
            self.used += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was given and will not be used
                self.release()
            raise

    def release(self) -> None:
        """Give a place back."""
        self.used -= 1
        self._let_in()

    def resize(self, size: int) -> None:
        """From now on there are `size` places; who has one keeps it."""
        self.size = size
        self._let_in()

    def _let_in(self) -> None:
        while self._queue and self.used < self.size:
            turn = self._queue.popleft()
            if not turn.done():
                self.used += 1
                turn.set_result(None)

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.release()
