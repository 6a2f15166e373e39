"""Who is told how a run gets on, and who may stop it.

A terminal, a Prefect artifact or nobody: what runs inside a block of these finds them by context, so that
neither a flow nor its parameters know who is there.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from domain.runs import Progress

Watcher = Callable[[Progress], None]

_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())
_stop_request: ContextVar[asyncio.Event | None] = ContextVar("stop_request", default=None)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Whatever runs inside the block, flows included, tells `watcher` how it gets on."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def tell(progress: Progress) -> None:
    """Tell everybody who watches; called about twice a second while a run works."""
    for watcher in _watchers.get():
        watcher(progress)


@contextmanager
def stoppable(request: asyncio.Event) -> Iterator[None]:
    """A run inside the block stops once `request` is set: no further call, calls on the way waited for."""
    token = _stop_request.set(request)
    try:
        yield
    finally:
        _stop_request.reset(token)


def is_stoppable() -> bool:
    """Whether somebody may stop what runs here."""
    return _stop_request.get() is not None


async def stop_requested() -> None:
    """Return when the run is to stop; wait for ever where nobody may stop it."""
    await (_stop_request.get() or asyncio.Event()).wait()
