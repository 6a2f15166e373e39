"""What a run may spend and has spent: the budget in force, who set it when, and what is left of it."""

import math
import os
import pwd
import socket
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from domain.budgets import Budget, BudgetChange, Spending, amount
from domain.errors import BudgetSpent, UsageError
from domain.verdicts import Provider
from tasks.pacing.deadline import Deadline
from tasks.records.allowance import Spent
from tasks.records.journal import Journal
from tasks.records.run_record import ProviderBooks, RunRecord
from tasks.settings import Spec, unpriced_keys

UNSAVED_S = 20.0
"""A record is written every 15 s while a run works: calls of so long may be missing from a dead machine's."""


def with_budget(record: RunRecord, budget: Budget) -> RunRecord:
    """The record with this budget in force from now on, and who set it; as it was where nothing changes."""
    if budget == (record.budget or Budget()):
        return record
    change = BudgetChange(datetime.now(UTC), who(), budget)
    return replace(record, budget=budget, budget_history=(*record.budget_history, change))


def changed_budget(record: RunRecord, spec: Spec, given: Budget) -> Budget:
    """The budget in force with the bounds that `resume` was given; None among them leaves one as it is.

    Raises:
        UsageError: a bound is no bound, or money cannot be counted without a price.
    """
    if given.money is not None:
        if not math.isfinite(given.money):
            raise UsageError(f"--money {given.money}: not an amount of money")
        if unpriced := unpriced_keys(spec):
            raise UsageError(
                f"--money: the run's spec has no {unpriced[0]}: money cannot be counted without it"
            )
    if given.until is not None and given.until.tzinfo is None:
        raise UsageError(f"--until {given.until}: needs a time zone, such as 2026-12-01T06:00:00+08:00")
    now = record.budget or Budget()
    return Budget(
        now.calls if given.calls is None else given.calls,
        now.money if given.money is None else given.money,
        now.until if given.until is None else given.until,
    )


def check_given(given: Budget, spending: Spending, now: datetime) -> None:
    """Whoever raises a budget means to go on.

    Raises:
        UsageError: a bound given is reached already; names the option.
    """
    if given.calls is not None and given.calls <= spending.calls:
        raise UsageError(
            f"--calls {given.calls:,}: the run has made {spending.calls:,} calls already; "
            "--calls counts the whole run, so give more than that"
        )
    if given.money is not None and given.money <= (spending.money or 0.0):
        raise UsageError(
            f"--money {amount(given.money)}: the run has spent {amount(spending.money or 0.0)} already; "
            "--money counts the whole run, so give more than that"
        )
    if given.until is not None and given.until <= now:
        raise UsageError(f"--until {given.until}: that moment has passed")


def check_newest(record: RunRecord, runs: Iterable[RunRecord]) -> None:
    """A run that is out of budget may go on only while no later one has taken its questions over.

    Raises:
        UsageError: names the newest run.
    """
    newest = max(runs, key=lambda each: (each.started_at, each.run_id), default=record)
    if newest.run_id != record.run_id:
        raise UsageError(
            f"run {record.run_id} ran out of its budget and run {newest.run_id} has begun since: to go on "
            "with both could pay twice; `facesweep audit` asks what is left"
        )


def nothing_left(journal: Journal, deadline: Deadline, pending: Iterable[Provider]) -> BudgetSpent | None:
    """Why no further call may leave for one of the providers with questions pending; None while one may."""
    for provider in pending:
        end = deadline.passed() or journal.shortage(provider)
        if isinstance(end, BudgetSpent):
            return end
    return None


def how_to_go_on(end: BudgetSpent, record: RunRecord) -> BudgetSpent:
    """The same end, with what is left to do and the command that goes on."""
    left = sum(books.balance.over_budget for books in record.books)
    budget = record.budget or Budget()
    match end.limit:
        case "calls":
            option = f"--calls N` goes on, with N over {budget.calls or 0:,}"
        case "money":
            option = f"--money X` goes on, with X over {amount(budget.money or 0.0)}"
        case _:
            option = "--until T` goes on, with T a moment to come"
    return BudgetSpent(end.limit, f"{end}; {left:,} questions are left: `facesweep resume HOME {option}")


def spending_of(record: RunRecord) -> Spending | None:
    """What is spent of a run's budget by its record; None where nothing bounds the run."""
    if record.budget is None:
        return None
    tables = record.spec["providers"]
    prices = {
        books.balance.provider: tables.get(books.balance.provider, {}).get("price_per_call")
        for books in record.books
    }
    charges = [
        books.charged * price
        for books in record.books
        if (price := prices[books.balance.provider]) is not None
    ]
    return Spending(
        record.budget, sum(books.calls for books in record.books), sum(charges) if charges else None
    )


def spent_before(books: Iterable[ProviderBooks]) -> dict[Provider, Spent]:
    """What is spent by the books of a record: more than a journal knows that is not the first one."""
    return {each.balance.provider: Spent(each.calls, each.charged) for each in books}


def unsaved_calls(books: Iterable[ProviderBooks], *, was_at_work: bool) -> dict[Provider, int]:
    """Calls a record may lack, at most: those since it was last saved, where its machine died at work."""
    if not was_at_work:
        return {}
    return {each.balance.provider: math.ceil((each.cap_per_s or 0) * UNSAVED_S) for each in books}


def who() -> str:
    """Whoever runs this process, as `user@host`."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as nobody it knows
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
