"""Keeping a home in good order."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse
import asyncio
import threading

from domain.errors import Stopped
from flows.consoles import ERR, OUT
from flows.options import Verbs, add_home, home_of


def register(verbs: Verbs) -> None:
    """Make this command known."""
    compact_ = verbs.add(
        "compact",
        compact,
        "merge the many small parts of finished runs into few large ones",
        "facesweep compact audits/kyc-nightly --dry-run",
    )
    add_home(compact_)
    compact_.add_argument("--dry-run", action="store_true", help="say what would be merged; touch nothing")


async def compact(options: argparse.Namespace) -> int:
    """Merge the verdicts of runs that are over; whoever reads them reads on."""
    from flows.progress import ProgressDisplay
    from flows.terminal import show_compaction
    from tasks.units.compacting import compact_home, look_at_compaction
    from tasks.units.watching import watching

    home = home_of(options)
    if options.dry_run:
        show_compaction(OUT, look_at_compaction(home), is_done=False)
        return 0
    interrupted = threading.Event()

    def go_on() -> None:
        if interrupted.is_set():
            raise Stopped("interrupted: nothing is lost, `facesweep compact` does the rest")

    with ProgressDisplay(ERR) as display, watching(display.update):
        work = asyncio.create_task(asyncio.to_thread(compact_home, home, go_on))
        try:
            done = await asyncio.shield(work)
        except asyncio.CancelledError:
            # A swap under way is finished first: that takes moments, or an upload's time.
            interrupted.set()
            done = await work
    show_compaction(OUT, done, is_done=True)
    return 0
