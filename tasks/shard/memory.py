"""How much the trips under way may hold in memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tasks.pacing.places import Places


class Slot:
    """One place among those who make ready; given back once, however often that is said."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def release(self) -> None:
        """Give the place back; nothing the second time."""
        if self._places is not None:
            self._places.release()
            self._places = None


HELD_BYTES = 256 * 1024**2
"""Of the objects on the way at a time: some 1,500 photos of 150 KB, or 25 videos at the providers' bound."""


class HeldBytes:
    """Admits trips while the objects they hold fit into a fixed amount, first come, first served."""

    def __init__(self, size_bytes: int = HELD_BYTES) -> None:
        self._free = self._size = size_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[None]:
        """Hold `size_bytes` inside the block; what is larger than everything holds everything."""
        share = min(size_bytes, self._size)
        if self._waiting or share > self._free:
            await self._wait(share)
        else:
            self._free -= share
        try:
            yield
        finally:
            self._release(share)

    async def _wait(self, share: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted and cancelled in the same turn of the loop
                self._release(share)
            else:
                self._waiting.remove((share, turn))
                self._admit()  # those behind may fit where this one did not
            raise

    def _release(self, share: int) -> None:
        self._free += share
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            share, turn = self._waiting.popleft()
            self._free -= share
            turn.set_result(None)
