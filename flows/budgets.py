"""What people see of a budget: what it covers of a plan, what is left of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from domain.budgets import Spending, amount
from flows.wording import moment
from tasks.units.draft import Draft


def covered(draft: Draft) -> Iterator[str]:
    """One sentence for each bound of the budget: how much of the plan it covers."""
    budget = draft.spec.budget
    for each in draft.coverages:
        covers = (
            f"covers all {each.planned:,} calls"
            if each.calls >= each.planned
            else f"covers {each.calls:,} of {each.planned:,} calls"
        )
        match each.limit:
            case "calls":
                yield f"the budget of {budget.calls or 0:,} calls {covers}"
            case "money":
                yield f"the budget of {amount(budget.money or 0.0)} {covers}"
            case _ if budget.until is not None and budget.until <= datetime.now(UTC):
                yield f"the budget's time was over at {moment(budget.until)}: nothing would be asked"
            case _ if budget.until is not None:
                yield f"the budget's time, until {moment(budget.until)}, {covers} at the caps"


def left(spending: Spending, now: datetime | None = None) -> str:
    """What is left of a budget, bound by bound, in one line; `now`: while the run works."""
    budget, parts = spending.budget, []
    if budget.calls is not None:
        parts.append(f"{spending.calls_left:,} of {budget.calls:,} calls left")
    if budget.money is not None:
        parts.append(f"{amount(spending.money_left or 0.0)} of {amount(budget.money)} left")
    if budget.until is not None:
        time_left = ""
        if now is not None:
            time_left = f" ({timedelta(seconds=max(round((budget.until - now).total_seconds()), 0))} left)"
        parts.append(f"until {moment(budget.until)}{time_left}")
    return f"budget: {'; '.join(parts)}"
