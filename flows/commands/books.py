"""What a home holds: books, findings, verdicts."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse
import json
import sys
from datetime import UTC, datetime

from domain.errors import UsageError
from flows.consoles import OUT
from flows.options import Verbs, add_home, add_output, add_run_id, home_of


def register(verbs: Verbs) -> None:
    """Make these commands known."""
    status_ = verbs.add("status", status, "the books of each run", "facesweep status audits/kyc-nightly")
    add_home(status_)
    status_.add_argument("--json", action="store_true", help="run records as JSON")

    runs_ = verbs.add("runs", runs, "one line for each run", "facesweep runs audits/kyc-nightly")
    add_home(runs_)

    skipped_ = verbs.add(
        "skipped",
        skipped,
        "every object a run did not ask about, with the reason",
        "facesweep skipped audits/kyc-nightly --reason too_large --output too-large.csv",
    )
    add_home(skipped_)
    add_run_id(skipped_)
    skipped_.add_argument("--reason", help="of this reason only (default: all)")
    add_output(skipped_)

    report_ = verbs.add("report", report, "what a run found", "facesweep report audits/kyc-nightly")
    add_home(report_)
    add_run_id(report_)
    report_.add_argument(
        "--month", metavar="YYYY-MM", help="of what all runs settled in a month, kept in the home's reports/"
    )
    report_.add_argument(
        "--time-zone", default="UTC", metavar="ZONE", help="in which the month begins (default: UTC)"
    )

    verdicts_ = verbs.add(
        "verdicts",
        verdicts,
        "query the verdicts with SQL (DuckDB; view `verdicts`)",
        "facesweep verdicts audits/kyc-nightly --sql \"SELECT url, tags FROM verdicts WHERE risk = 'high'\"",
    )
    add_home(verdicts_)
    verdicts_.add_argument("--sql", required=True, help="one SELECT")
    add_run_id(verdicts_, "of this run only (default: all)")
    add_output(verdicts_)


async def status(options: argparse.Namespace) -> int:
    """The books of each run."""
    from flows.terminal import show_runs
    from tasks.units.books import run_documents, runs_of, summarised

    home = home_of(options)
    runs = runs_of(home)
    if options.json:
        json.dump(run_documents(home, runs), sys.stdout, indent=2, default=str, ensure_ascii=False)
        sys.stdout.write("\n")
    elif not runs:
        raise UsageError(f"{options.home} holds no runs: is it an audit's home?")
    else:
        newest = runs[-1].run_id
        show_runs(OUT, [summarised(home, each, with_estimates=each.run_id == newest) for each in runs])
    return 0


async def runs(options: argparse.Namespace) -> int:
    """One line for each run, oldest first."""
    from flows.terminal import runs_table
    from tasks.units.books import runs_of

    found = runs_of(home_of(options))
    if not found:
        raise UsageError(f"{options.home} holds no runs: is it an audit's home?")
    OUT.print(runs_table(found))
    return 0


async def skipped(options: argparse.Namespace) -> int:
    """Every object that a run did not ask about."""
    from flows.query_output import write_rows
    from tasks.units.books import run_of, skipped_of

    home = home_of(options)
    rows = skipped_of(home, run_of(home, options.run_id), options.reason)
    write_rows(OUT, rows, options.format, options.output)
    return 0


async def report(options: argparse.Namespace) -> int:
    """What a run found, or what all runs settled in a month."""
    from flows.reporting import report_month
    from flows.terminal import show_summary
    from tasks.units.books import summary_of

    if options.month is not None:
        if options.run_id is not None:
            raise UsageError("--month counts what all runs settled: leave out --run-id, or --month")
        home = home_of(options)
        _, text, place = report_month(home, options.month, options.time_zone, datetime.now(UTC))
        OUT.print(text, highlight=False, markup=False, soft_wrap=True)
        OUT.print(f"kept as {place}", highlight=False, markup=False, soft_wrap=True)
        return 0

    show_summary(OUT, summary_of(home_of(options), options.run_id))
    return 0


async def verdicts(options: argparse.Namespace) -> int:
    """Query the verdicts with SQL."""
    from flows.query_output import write_rows
    from tasks.units.books import select_verdicts

    with select_verdicts(home_of(options), options.sql, options.run_id) as rows:
        write_rows(OUT, rows, options.format, options.output)
    return 0
