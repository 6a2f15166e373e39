"""What each command does. What it needs is imported when it is called: Prefect alone takes over a second."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from domain.errors import Denied, StoreDenied, UsageError
from domain.verdicts import Outcome

if TYPE_CHECKING:
    from flows.attendance import Sweep
    from tasks.units.opening import Home

PLAIN_WIDTH = 140
"""Columns where output goes to a file or a log: wide enough that tables need no folding."""

OUT = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
ERR = Console(stderr=True, width=None if sys.stderr.isatty() else PLAIN_WIDTH)


async def demo(options: argparse.Namespace) -> int:
    """Audit the sample with emulated providers, then say where it lies and what to try next."""
    from flows.demo import clear, emulated_spec

    folder: Path = options.home.resolve()
    clear(folder)
    ERR.print("Auditing data/sample with both providers emulated on this machine: no account, no network.")
    with emulated_spec(folder) as spec:
        status = await _run_audit(spec, is_approved=True)
    home = _short(folder / "home")
    OUT.print(
        f"\nEverything lies in {home}: verdicts/ as Parquet, runs/ with the books. Next:", soft_wrap=True
    )
    command = _command_as_typed()
    OUT.print(f"  {command} status {home}", highlight=False, soft_wrap=True)
    query = "SELECT provider, outcome, risk, count(*) FROM verdicts GROUP BY ALL ORDER BY ALL"
    OUT.print(f'  {command} verdicts {home} --sql "{query}"', highlight=False, soft_wrap=True)
    return status


async def plan(options: argparse.Namespace) -> int:
    """List and plan; ask nobody."""
    from flows.terminal import ProgressDisplay, show_plan
    from tasks.units.draft import draft_audit
    from tasks.units.opening import open_audit
    from tasks.units.watching import watching

    found = open_audit(options.spec)
    with ProgressDisplay(ERR) as display, watching(display.update):
        async with draft_audit(found.home, found.spec, limit=options.limit, only_to_look=True) as draft:
            display.pause()
            show_plan(OUT, draft)
    return 0


async def audit(options: argparse.Namespace) -> int:
    """Plan, show the plan, run it."""
    return await _run_audit(options.spec, run_id=options.run_id, limit=options.limit, is_approved=options.yes)


async def resume(options: argparse.Namespace) -> int:
    """Go on with an unfinished run."""
    _quiet_prefect()
    from flows import audit as flows

    async def go_on() -> str:
        return await flows.resume(
            options.home, options.run_id, options.home_endpoint_url, options.home_region
        )

    return await _attended(go_on, _home(options), is_approved=True)


async def retry(options: argparse.Namespace) -> int:
    """Ask again what ended in the given outcomes."""
    _quiet_prefect()
    from flows import audit as flows

    async def ask_again() -> str | None:
        return await flows.retry(
            options.home,
            [str(each) for each in options.outcome],
            options.run_id,
            options.home_endpoint_url,
            options.home_region,
        )

    return await _attended(ask_again, _home(options), is_approved=options.yes)


async def abandon(options: argparse.Namespace) -> int:
    """Give up an unfinished run."""
    from tasks.units.lifetime import abandon_run

    record = await abandon_run(_home(options), options.run_id)
    OUT.print(f"run {record.run_id} is given up; what it settled is published", highlight=False)
    return 0


async def status(options: argparse.Namespace) -> int:
    """The books of each run."""
    from flows.terminal import show_runs
    from tasks.units.books import run_documents, runs_of, summary_of

    home = _home(options)
    runs = runs_of(home)
    if options.json:
        json.dump(run_documents(runs), sys.stdout, indent=2, default=str, ensure_ascii=False)
        sys.stdout.write("\n")
    elif not runs:
        raise UsageError(f"{options.home} holds no runs: is it an audit's home?")
    else:
        show_runs(OUT, [summary_of(home, record.run_id) for record in runs])
    return 0


async def report(options: argparse.Namespace) -> int:
    """What a run found."""
    from flows.terminal import show_summary
    from tasks.units.books import summary_of

    show_summary(OUT, summary_of(_home(options), options.run_id))
    return 0


async def verdicts(options: argparse.Namespace) -> int:
    """Query the verdicts with SQL."""
    from flows.query_output import write_rows
    from tasks.units.books import select_verdicts

    rows = select_verdicts(_home(options), options.sql, options.run_id)
    write_rows(OUT, rows, options.format, options.output)
    return 0


async def doctor(options: argparse.Namespace) -> int:
    """Check everything an audit needs, without a billed call."""
    from flows.terminal import show_check
    from tasks.units.doctor import examine
    from tasks.units.opening import read_spec

    is_well = True
    async for check in examine(read_spec(options.spec)):
        show_check(OUT, check)
        is_well = is_well and check.is_well
    return 0 if is_well else 1


async def _run_audit(
    spec: Path, *, run_id: str | None = None, limit: int | None = None, is_approved: bool
) -> int:
    _quiet_prefect()
    from flows import audit as flows
    from tasks.units.opening import open_audit

    async def sweep() -> str | None:
        return await flows.audit(str(spec), run_id, limit)

    return await _attended(sweep, open_audit(spec).home, is_approved=is_approved)


async def _attended(sweep: "Sweep", home: "Home", *, is_approved: bool) -> int:
    """Run a flow with somebody watching, then show what it found; 1 if questions failed, else 0."""
    from flows.attendance import attend
    from flows.terminal import show_summary
    from tasks.units.books import summary_of

    if not is_approved and not sys.stdin.isatty():
        raise UsageError(
            "nobody is at a terminal to confirm the plan: look at it with `plan`, then give --yes"
        )
    try:
        run_id = await attend(sweep, ERR, is_approved=is_approved)
    except (Denied, StoreDenied):
        show_summary(OUT, summary_of(home))
        raise
    if run_id is None:
        return 0
    summary = summary_of(home, run_id)
    show_summary(OUT, summary)
    failed = sum(books.balance.outcomes.get(Outcome.FAILED, 0) for books in summary.record.books)
    return 1 if failed else 0


def _quiet_prefect() -> None:
    """Before Prefect is imported: it reads its settings then."""
    from tasks.units.opening import quiet_prefect

    quiet_prefect()


def _home(options: argparse.Namespace) -> "Home":
    from tasks.units.opening import open_home

    return open_home(options.home, options.home_endpoint_url, options.home_region)


def _command_as_typed() -> str:
    """This command, such as `.venv/bin/facesweep`, as one would type it again."""
    script = Path(sys.argv[0])
    return _short(script.absolute()) if script.stem == "facesweep" else "facesweep"


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
