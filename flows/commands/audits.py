"""Runs: planning them, making them, going on with them, giving them up.

What a command needs is imported when it is called: Prefect alone takes over a second.
"""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import BudgetSpent, Denied, StoreDenied, Tripped, UsageError
from domain.runs import RunKind
from domain.verdicts import Outcome
from flows import quantities
from flows.consoles import ERR, OUT
from flows.options import (
    Verbs,
    add_home,
    add_metrics,
    add_run_id,
    add_spec,
    add_yes,
    count,
    home_of,
    run_id,
)

if TYPE_CHECKING:
    from flows.attendance import Manners, Sweep
    from tasks.units.draft import Draft
    from tasks.units.opening import Home

EXPECTED_SHARE = 0.01
"""Of objects at risk, where nobody says how many to expect: an assumption, which every answer repeats."""

CONFIDENCE = 0.95


def register(verbs: Verbs) -> None:
    """Make these commands known."""
    plan_ = verbs.add("plan", plan, "list and plan, asking nobody", "facesweep plan kyc.toml --limit 1000")
    add_spec(plan_)
    add_limit(plan_)
    add_reask(plan_)
    _add_outlook(plan_)

    audit_ = verbs.add(
        "audit", audit, "plan an audit, show the plan, run it", "facesweep audit kyc.toml --yes"
    )
    add_spec(audit_)
    add_limit(audit_)
    add_reask(audit_)
    audit_.add_argument(
        "--run-id", type=run_id, help="the run's id (default: the time and some random digits)"
    )
    add_yes(audit_)
    add_metrics(audit_)

    resume_ = verbs.add(
        "resume", resume, "go on with an unfinished run", "facesweep resume audits/kyc-nightly"
    )
    add_home(resume_)
    add_run_id(resume_, "which run (default: the newest unfinished one)")
    resume_.add_argument(
        "--calls", type=count, metavar="N", help="its budget from now on: calls of the whole run"
    )
    resume_.add_argument(
        "--money", type=quantities.money, metavar="X", help="its budget from now on: money of the whole run"
    )
    resume_.add_argument(
        "--until",
        type=quantities.moment,
        metavar="T",
        help="its budget from now on: 2026-12-01T06:00:00+08:00",
    )
    add_metrics(resume_)

    retry_ = verbs.add(
        "retry",
        retry,
        "ask again, in a new run, what ended in failed or unreadable",
        "facesweep retry audits/kyc-nightly --outcome failed,unreadable",
    )
    add_home(retry_)
    add_run_id(retry_)
    retry_.add_argument(
        "--outcome",
        type=_outcomes,
        default=[Outcome.FAILED, Outcome.UNREADABLE],
        metavar="OUTCOME,…",
        help="failed, unreadable or both (default: both)",
    )
    add_yes(retry_)
    add_metrics(retry_)

    abandon_ = verbs.add(
        "abandon",
        abandon,
        "give up an unfinished run, publishing what it settled",
        "facesweep abandon audits/kyc-nightly --run-id 20261120T180712Z-3f9a",
    )
    add_home(abandon_)
    abandon_.add_argument("--run-id", type=run_id, required=True, help="which run")


async def plan(options: argparse.Namespace) -> int:
    """List and plan; ask nobody."""
    from flows.progress import ProgressDisplay
    from flows.terminal import show_plan
    from tasks.units.draft import draft_audit
    from tasks.units.opening import open_audit
    from tasks.units.watching import watching

    outlooks = [options.precision, options.by, options.for_money]
    if (options.expect or options.confidence) and not any(outlooks):
        raise UsageError(
            "--expect and --confidence belong to --precision, --by or --for-money: give one of these"
        )
    found = open_audit(options.spec)
    with ProgressDisplay(ERR) as display, watching(display.update):
        async with draft_audit(
            found.home, found.spec, limit=options.limit, reask=options.reask, only_to_look=True
        ) as draft:
            display.pause()
            show_plan(OUT, draft)
            _show_outlook(draft, options)
    return 0


def _show_outlook(draft: "Draft", options: argparse.Namespace) -> None:
    """What a sample will tell, where that is asked."""
    from flows.sampling import show_known, show_needed
    from flows.wording import moment
    from tasks.units.outlook import Expectation, known_by, known_for, needed_for

    expected = Expectation(options.expect or EXPECTED_SHARE, options.confidence or CONFIDENCE)
    if options.precision:
        show_needed(OUT, needed_for(draft, options.precision, expected), options.precision, expected)
    if options.by:
        known = known_by(draft, options.by, datetime.now(UTC), expected)
        show_known(OUT, known, f"by {moment(options.by)}", expected)
    if options.for_money:
        known = known_for(draft, options.for_money, expected)
        show_known(OUT, known, f"for {options.for_money:,.2f}", expected)


async def audit(options: argparse.Namespace) -> int:
    """Plan, show the plan, run it."""
    return await run_audit(
        options.spec,
        run_id=options.run_id,
        limit=options.limit,
        reask=options.reask,
        is_approved=options.yes,
        metrics_port=options.metrics_port,
    )


async def resume(options: argparse.Namespace) -> int:
    """Go on with an unfinished run; a backfill is coordinated from here."""
    quiet()
    from flows import audit as flows
    from flows.attendance import ENDS_HERE, GOES_ON_ELSEWHERE
    from tasks.units.backfill.dispatch import require_server
    from tasks.units.books import run_of

    home = home_of(options)
    is_backfill = run_of(home, options.run_id, unfinished=True).kind is RunKind.BACKFILL
    if is_backfill:
        require_server()

    async def go_on() -> str:
        return await flows.resume(
            options.home,
            options.run_id,
            options.home_endpoint_url,
            options.home_region,
            options.calls,
            options.money,
            options.until,
        )

    manners = GOES_ON_ELSEWHERE if is_backfill else ENDS_HERE
    return await attended(go_on, home, is_approved=True, manners=manners, metrics_port=options.metrics_port)


async def retry(options: argparse.Namespace) -> int:
    """Ask again what ended in the given outcomes."""
    quiet()
    from flows import audit as flows

    async def ask_again() -> str | None:
        return await flows.retry(
            options.home,
            [str(each) for each in options.outcome],
            options.run_id,
            options.home_endpoint_url,
            options.home_region,
        )

    return await attended(
        ask_again, home_of(options), is_approved=options.yes, metrics_port=options.metrics_port
    )


async def abandon(options: argparse.Namespace) -> int:
    """Give up an unfinished run; a backfill's shards are asked to stop, and waited for."""
    quiet()
    from tasks.units.backfill.stopping import give_up
    from tasks.units.books import run_of
    from tasks.units.lifetime import abandon_run

    home = home_of(options)
    is_backfill = run_of(home, options.run_id).kind is RunKind.BACKFILL
    record = await (give_up if is_backfill else abandon_run)(home, options.run_id)
    OUT.print(f"run {record.run_id} is given up; what it settled is published", highlight=False)
    return 0


async def run_audit(
    spec: Path,
    *,
    run_id: str | None = None,
    limit: int | None = None,
    reask: str | None = None,
    is_approved: bool,
    metrics_port: str | None = None,
) -> int:
    quiet()
    from flows import audit as flows
    from tasks.units.opening import open_audit

    async def sweep() -> str | None:
        return await flows.audit(str(spec), run_id, limit, reask)

    return await attended(sweep, open_audit(spec).home, is_approved=is_approved, metrics_port=metrics_port)


async def attended(
    sweep: "Sweep",
    home: "Home",
    *,
    is_approved: bool,
    manners: "Manners | None" = None,
    metrics_port: str | None = None,
) -> int:
    """Run a flow with somebody watching, then show what it found; 1 if questions failed, else 0."""
    from flows.attendance import ENDS_HERE, attend
    from flows.terminal import show_summary
    from tasks.units.books import summary_of

    if not is_approved and not sys.stdin.isatty():
        raise UsageError(
            "nobody is at a terminal to confirm the plan: look at it with `plan`, then give --yes"
        )
    try:
        with _metrics_at(metrics_port):
            run_id = await attend(sweep, ERR, is_approved=is_approved, manners=manners or ENDS_HERE)
    except (BudgetSpent, Denied, StoreDenied, Tripped):
        show_summary(OUT, summary_of(home))
        raise
    if run_id is None:
        return 0
    summary = summary_of(home, run_id)
    show_summary(OUT, summary)
    failed = sum(books.balance.outcomes.get(Outcome.FAILED, 0) for books in summary.record.books)
    return 1 if failed else 0


@contextmanager
def _metrics_at(port: str | None) -> Iterator[None]:
    """Serve figures while the block runs, and say where; nothing where no port is given."""
    if port is None:
        yield
        return
    from tasks.units.metrics import read_metrics_address, serving_metrics

    with serving_metrics(read_metrics_address(port, "--metrics-port")) as url:
        ERR.print(f"metrics: {url}", highlight=False, markup=False, soft_wrap=True)
        yield


def quiet() -> None:
    """Before Prefect is imported: it reads its settings then."""
    from tasks.units.opening import quiet_prefect

    quiet_prefect()


def add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=count, metavar="N", help="ask about N objects at most, chosen at random"
    )


def _add_outlook(parser: argparse.ArgumentParser) -> None:
    """How sure a sample makes one: asked beforehand."""
    asked = parser.add_argument_group("what a sample will tell")
    asked.add_argument(
        "--precision",
        type=quantities.points,
        metavar="POINTS",
        help="how many calls tell the share at risk that exactly, e.g. 0.1pp",
    )
    asked.add_argument(
        "--by", type=quantities.moment, metavar="TIME", help="what will be known at 09:00, or at an ISO time"
    )
    asked.add_argument(
        "--for-money", type=quantities.money, metavar="AMOUNT", help="what will be known for that much"
    )
    asked.add_argument(
        "--expect",
        type=quantities.share,
        metavar="SHARE",
        help=f"share of objects expected to be at risk (default: {100 * EXPECTED_SHARE:.4g}%%)",
    )
    asked.add_argument(
        "--confidence",
        type=quantities.confidence,
        metavar="SHARE",
        help=f"how sure to be (default: {100 * CONFIDENCE:.4g}%%)",
    )


def add_reask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reask",
        type=_reason,
        metavar="REASON",
        help="ask again what has a final verdict already, and pay again; why, for the run's record",
    )


def _reason(text: str) -> str:
    """A reason somebody can read later, as an option's type."""
    if not text.strip():
        raise argparse.ArgumentTypeError("asking again is paid again: say why, for the run's record")
    return " ".join(text.split())


def _outcomes(text: str) -> list[Outcome]:
    open_outcomes = [each for each in Outcome if not each.is_final]
    named = [each.strip() for each in text.split(",")]
    if not set(named) <= set(open_outcomes):
        raise argparse.ArgumentTypeError(f"{text!r}: only {' and '.join(open_outcomes)} can be asked again")
    return [Outcome(each) for each in named]
