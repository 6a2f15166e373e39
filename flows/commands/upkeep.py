"""Keeping a home in good order, and an account's cap up to date."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse
import asyncio
import threading
from pathlib import Path

from domain.errors import Stopped
from domain.verdicts import Provider
from flows.consoles import ERR, OUT
from flows.options import Verbs, add_home, count, home_of


def register(verbs: Verbs) -> None:
    """Make these commands known."""
    compact_ = verbs.add(
        "compact",
        compact,
        "merge the many small parts of finished runs into few large ones",
        "facesweep compact audits/kyc-nightly --dry-run",
    )
    add_home(compact_)
    compact_.add_argument("--dry-run", action="store_true", help="say what would be merged; touch nothing")

    cap_ = verbs.add(
        "cap",
        cap,
        "give an account another cap; runs that go on follow within seconds",
        "facesweep cap kyc.toml --provider tencent 10",
    )
    add_home(cap_, "SPEC|HOME", "; or its spec file")
    cap_.add_argument(
        "--provider", type=Provider, choices=list(Provider), required=True, help="whose account"
    )
    cap_.add_argument("qps", type=count, metavar="QPS", help="calls the provider accepts in a second")


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


async def cap(options: argparse.Namespace) -> int:
    """Change the cap that holds for everybody who calls with the account."""
    from tasks.units.opening import open_audit, quiet_prefect

    quiet_prefect()
    from tasks.units.caps import change_cap

    if Path(options.home).suffix == ".toml":
        found = open_audit(Path(options.home))
        home, spec = found.home, found.spec
    else:
        home, spec = home_of(options), None
    OUT.print(await change_cap(home, spec, options.provider, options.qps), highlight=False, soft_wrap=True)
    return 0
