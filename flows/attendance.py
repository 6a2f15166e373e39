"""A flow with somebody at the terminal: progress, a say on the plan, Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from domain.errors import Stopped
from domain.runs import Progress
from flows.prefect_server import some_server
from flows.progress import ProgressDisplay
from flows.terminal import show_plan
from tasks.units.draft import Draft, approving
from tasks.units.watching import stoppable, watching

Sweep = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Manners:
    """What somebody who presses Ctrl-C is told."""

    stopping: str
    stopped: str | None = None  # None: what the flow itself says


ENDS_HERE = Manners(
    "stopping: waiting for the calls on the way (once more: stop at once)",
    "interrupted: what has an answer is safe; `facesweep resume` goes on",
)
"""Whoever asks the questions is this process."""

GOES_ON_ELSEWHERE = Manners("leaving: shards at work go on without this process")
"""Other processes ask them: this one only looks on."""


async def attend(
    sweep: Sweep, console: Console, *, is_approved: bool, manners: Manners = ENDS_HERE
) -> str | None:
    """Run a flow to its end, drawing its progress; what the flow returns.

    Unless `is_approved`, whoever sits at the terminal is asked before a plan becomes a run. The first Ctrl-C
    (or SIGTERM) lets the calls on the way come home; the second one does not wait for them.

    Raises:
        Stopped: somebody stopped it.  What the flow raises.
    """
    with ProgressDisplay(console) as display:
        flow = _FlowThread(sweep)

        async def approve(draft: Draft) -> bool:
            display.pause()
            show_plan(console, draft)
            if not is_approved and sys.stdin.isatty() and not await _confirmed(console):
                return False
            display.go_on()
            return True

        display.update(Progress("starting Prefect"))
        with watching(display.update), approving(approve), _signals_heard(flow, display, console, manners):
            try:
                async with some_server():
                    run_id = await asyncio.to_thread(flow.run)
            except asyncio.CancelledError:
                raise Stopped(_stopped_sentence(display, manners.stopped or manners.stopping)) from None
            except Stopped as stop:
                raise Stopped(_stopped_sentence(display, manners.stopped or str(stop))) from None
            if run_id is None:  # somebody said no, or there was nothing to ask again
                console.print("Nothing was asked.")
            return run_id


class _FlowThread:
    """A flow on a thread and an event loop of its own.

    On the main thread Prefect would take SIGTERM over and cut the calls on the way.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_running(self) -> bool:
        return self._loop is not None and self._loop.is_running()

    def run(self) -> str | None:
        """What the flow returns; blocks until it ends."""
        return asyncio.run(self._story())

    def stop(self) -> None:
        """Let no further call leave."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._request.set)

    def cancel(self) -> None:
        """End at once."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _story(self) -> str | None:
        self._request, self._task = asyncio.Event(), asyncio.ensure_future(self._sweep_stoppable())
        self._loop = asyncio.get_running_loop()
        return await self._task

    async def _sweep_stoppable(self) -> str | None:
        with stoppable(self._request):
            return await self._sweep()


@contextmanager
def _signals_heard(
    flow: _FlowThread, display: ProgressDisplay, console: Console, manners: Manners
) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        if heard == 1 and flow.is_running and display.is_asking:
            console.print(manners.stopping)
            flow.stop()
        elif flow.is_running:
            flow.cancel()
        elif main is not None:
            main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _confirmed(console: Console) -> bool:
    """Ask on the terminal; waits on the event loop, so that Ctrl-C is heard."""
    console.print("Ask the providers now? [y/N] ", end="", markup=False)
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()
    loop.add_reader(sys.stdin, answered.set)
    try:
        await answered.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _stopped_sentence(display: ProgressDisplay, sentence: str) -> str:
    return sentence if display.is_asking else "interrupted before anything was asked"
