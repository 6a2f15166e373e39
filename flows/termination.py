"""SIGTERM to a flow run's process: who ends a worker, or cancels a flow run, sends it."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.units.watching import is_stoppable, stoppable


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM stops the run inside the block: calls on the way are waited for, answers are published.

    Prefect would cut it off in the middle. Where somebody at a terminal may stop the run already, they may.
    """
    if is_stoppable():
        yield
        return
    request = asyncio.Event()
    loop = asyncio.get_running_loop()
    with stoppable(request), contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError, RuntimeError):  # not on the main thread: nobody signals it
            before = signal.getsignal(signal.SIGTERM)
            loop.add_signal_handler(signal.SIGTERM, request.set)
            stack.callback(signal.signal, signal.SIGTERM, before)
            stack.callback(loop.remove_signal_handler, signal.SIGTERM)
        yield
