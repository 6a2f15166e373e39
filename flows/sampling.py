"""What people see of samples: strata, what a sample will tell, and what it has told."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.verdicts import Outcome
from flows.wording import duration, percent, points, shown
from tasks.units.draft import Draft
from tasks.units.estimates import Interval, RiskEstimate, Share
from tasks.units.outlook import Expectation, Known, Needed

STRATA_SHOWN = 20
"""Strata a terminal shows; `plan.json` and `status --json` have them all."""

_WATCHED = (
    "if watched: for whoever looks at the share while it grows and stops when it is known well enough;"
    " otherwise look once, at the end"
)


def show_strata(console: Console, draft: Draft) -> None:
    """How a plan's sample is drawn from the strata; nothing where there are none."""
    for totals in draft.totals.providers.values():
        strata = [each for each in totals.strata if each.stratum is not None]
        if strata:
            table = Table("stratum", "selected", "sampled", "weight", box=None, pad_edge=False)
            for each in sorted(strata, key=lambda each: -each.selected)[:STRATA_SHOWN]:
                weight = "-" if each.weight is None else f"{each.weight:,.4g}"
                name = Text(shown(each.stratum or ""), overflow="fold")
                table.add_row(name, f"{each.selected:,}", f"{each.sampled:,}", weight)
            console.print(table)
            if len(strata) > STRATA_SHOWN:
                console.print(f"and {len(strata) - STRATA_SHOWN:,} smaller strata", highlight=False)
            return  # the sample is the same for all providers


def show_needed(console: Console, needed: Sequence[Needed], half_width: float, expected: Expectation) -> None:
    """How many objects a precision takes, and what to write into the spec for it."""
    _say(console, f"to know the share at risk to {points(half_width)}, {_assuming(expected)}:")
    table = Table(
        "provider",
        "objects",
        "calls",
        "time at the cap",
        "cost",
        "write",
        "if watched",
        box=None,
        pad_edge=False,
    )
    for each in needed:
        is_all = each.sample == each.selected
        table.add_row(
            each.provider,
            f"{each.sample:,} of {each.selected:,}",
            f"{each.calls:,} at most",
            duration(each.hours),
            _cost(each.cost),
            "no sample: all of them" if is_all else f'sample = {each.sample} (or "{each.share}")',
            f"{each.watched_sample:,}",
        )
    console.print(table)
    _say(console, _WATCHED)


def show_known(console: Console, known: Sequence[Known], when: str, expected: Expectation) -> None:
    """What a plan's answers will tell at some point."""
    _say(console, f"{when}, {_assuming(expected)}:")
    table = Table(
        "provider",
        "calls",
        "objects covered",
        "known to",
        "if watched",
        "takes",
        "cost",
        box=None,
        pad_edge=False,
    )
    for each in known:
        table.add_row(
            each.provider,
            f"{each.calls:,}" + (" (all)" if each.is_all else ""),
            f"{each.covered:,} of {each.selected:,}",
            _reach(each.at_one_look),
            _reach(each.at_any_time),
            duration(each.hours),
            _cost(each.cost),
        )
    console.print(table)
    _say(console, _WATCHED)


def show_estimates(console: Console, estimates: Sequence[RiskEstimate]) -> None:
    """The share at risk of all objects selected, what it rests on and what is not counted in it."""
    known = [each for each in estimates if each.high is not None]
    if known:
        confidence = f"{100 * known[0].confidence:.4g} %"
        table = Table(
            "share at risk, by",
            "rated",
            "share",
            f"{confidence} at any time",
            f"{confidence} at one look",
            box=None,
            pad_edge=False,
        )
        for each in known:
            _add_share(table, each.provider, "high", each.high)
            _add_share(table, "", "mid or high", each.mid_or_high)
        console.print(table)
    for each in estimates:
        _say(console, _basis(each))


def estimate_lines(estimates: Sequence[RiskEstimate]) -> list[str]:
    """The same as plain sentences."""
    lines = []
    for each in estimates:
        for rated, share in (("high", each.high), ("mid or high", each.mid_or_high)):
            if share is not None:
                at_any_time = (
                    "" if share.at_any_time is None else f", {_interval(share.at_any_time)} at any time"
                )
                lines.append(f"{each.provider}: {percent(share.share)} rated {rated}{at_any_time}")
        lines.append(_basis(each))
    return lines


def _basis(estimate: RiskEstimate) -> str:
    """What an estimate rests on, and what is not counted in it."""
    if missing := estimate.uncovered_strata:
        what = f"{missing:,} of {len(estimate.strata):,} strata" if len(estimate.strata) > 1 else "the order"
        return f"{estimate.provider}: no estimate yet: nothing of {what} is covered"
    covered = (
        f"complete, all {estimate.selected:,} objects are covered"
        if estimate.is_complete
        else f"from the first {estimate.covered:,} of {estimate.selected:,} objects in visiting order"
    )
    strata = f", weighted by {len(estimate.strata):,} strata" if len(estimate.strata) > 1 else ""
    return f"{estimate.provider}: {covered}{strata}: {estimate.assessed:,} assessed{_others(estimate)}"


def _others(estimate: RiskEstimate) -> str:
    counts = estimate.not_assessable
    if not counts:
        return ""
    each = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in Outcome if outcome in counts)
    return f", {sum(counts.values()):,} not assessable ({each})"


def _add_share(table: Table, provider: str, rated: str, share: Share | None) -> None:
    if share is not None:
        table.add_row(
            provider, rated, percent(share.share), _interval(share.at_any_time), _interval(share.at_one_look)
        )


def _interval(interval: Interval | None) -> str:
    return "complete" if interval is None else f"{100 * interval.low:.2f} to {percent(interval.high)}"


def _reach(interval: Interval | None) -> str:
    if interval is None:
        return "not every stratum"
    return points(interval.half_width) if interval.half_width else "exactly"


def _cost(cost: float | None) -> str:
    return "no price given" if cost is None else f"{cost:,.2f}"


def _assuming(expected: Expectation) -> str:
    return f"at {100 * expected.confidence:.4g} % confidence and if {percent(expected.share)} are at risk"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
