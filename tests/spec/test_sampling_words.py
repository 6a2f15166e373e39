"""What people read about samples: estimates that are there, not there yet, or complete."""

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from domain.verdicts import Outcome, Provider
from flows.sampling import STRATA_SHOWN, estimate_lines, show_estimates, show_known, show_needed, show_strata
from tasks.reports.estimate import StratumCounts, estimate_risk
from tasks.units.outlook import Expectation, Known, Needed
from tests.spec.test_outlook import draft_of, stratum

TENCENT = Provider.TENCENT


def shown(show: Callable[..., None], *arguments: Any) -> list[str]:
    """Lines as they are printed where there is no terminal, columns moved together."""
    text = io.StringIO()
    show(Console(file=text, width=140), *arguments)
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def counts(selected: int, covered: int, name: str | None = None, **others: Any) -> StratumCounts:
    lost = sum(others.get("not_assessable", {}).values())
    return StratumCounts(name, selected, covered, covered - lost, covered // 10, covered // 5, **others)


def test_an_estimate_is_a_share_with_two_intervals_and_what_it_rests_on() -> None:
    lost = {Outcome.UNFIT: 3, Outcome.REFUSED: 17}
    lines = shown(show_estimates, [estimate_risk(TENCENT, [counts(10_000, 500, not_assessable=lost)])])
    assert lines[0] == "share at risk, by rated share 95 % at any time 95 % at one look"
    assert lines[1].startswith("tencent high 10.42 % ")
    assert lines[2].startswith("mid or high 20.83 % ")
    assert lines[3:] == [
        "tencent: from the first 500 of 10,000 objects in visiting order: 480 assessed,"
        " 20 not assessable (17 refused, 3 unfit)"
    ]


def test_a_complete_run_says_so_in_the_place_of_an_interval() -> None:
    lines = shown(show_estimates, [estimate_risk(TENCENT, [counts(200, 200)])])
    assert lines[1:] == [
        "tencent high 10.00 % complete complete",
        "mid or high 20.00 % complete complete",
        "tencent: complete, all 200 objects are covered: 200 assessed",
    ]


def test_before_the_first_answer_there_is_no_estimate() -> None:
    (line,) = shown(show_estimates, [estimate_risk(TENCENT, [counts(200, 0)])])
    assert line == "tencent: no estimate yet: nothing of the order is covered"


def test_strata_without_an_answer_are_waited_for() -> None:
    strata = [counts(200, 10, "a"), counts(20, 0, "b"), counts(9, 0, "c")]
    (line,) = shown(show_estimates, [estimate_risk(TENCENT, strata)])
    assert line == "tencent: no estimate yet: nothing of 2 of 3 strata is covered"


def test_where_nothing_could_be_assessed_the_line_says_what_there_was() -> None:
    strata = [counts(20, 4, not_assessable={Outcome.REFUSED: 4})]
    (line,) = shown(show_estimates, [estimate_risk(TENCENT, strata)])
    assert line.endswith("visiting order: 0 assessed, 4 not assessable (4 refused)")


def test_sentences_name_the_interval_that_may_be_watched() -> None:
    lines = estimate_lines([estimate_risk(TENCENT, [counts(1000, 100)])])
    assert lines[0].startswith("tencent: 10.00 % rated high, ")
    assert lines[0].endswith(" at any time")
    assert lines[1].startswith("tencent: 20.00 % rated mid or high, ")
    complete = estimate_lines([estimate_risk(TENCENT, [counts(100, 100)])])
    assert complete[0] == "tencent: 10.00 % rated high"


def test_many_strata_are_shown_largest_first_and_the_rest_counted() -> None:
    draft = draft_of(*(stratum(10 + number, 5, name=f"s{number:02}") for number in range(STRATA_SHOWN + 3)))
    lines = shown(show_strata, draft)
    assert lines[0] == "stratum selected sampled weight"
    assert lines[1] == "s22 32 5 6.4"
    assert len(lines) == STRATA_SHOWN + 2
    assert lines[-1] == "and 3 smaller strata"
    assert shown(show_strata, draft_of(stratum(10))) == []


def test_a_stratums_name_is_one_harmless_line() -> None:
    lines = shown(show_strata, draft_of(stratum(10, 5, name="a\n\x1b[31m[bold]")))
    assert lines[1] == r"a\n\x1b[31m[bold] 10 5 2"


def test_a_precision_only_all_objects_give_needs_no_sample() -> None:
    needed = [Needed(TENCENT, 100, 100, 100, 100, 0.005, None)]
    lines = shown(show_needed, needed, 0.0001, Expectation(0.01, 0.95))
    assert lines[2] == "tencent 100 of 100 100 at most 18 s no price given no sample: all of them 100"


def test_what_is_not_known_is_not_given_as_a_number() -> None:
    known = [
        Known(TENCENT, 5, False, 5, 100, 0.0003, 0.5, None, None),
    ]
    lines = shown(show_known, known, "by 2026-11-21 09:00 UTC", Expectation(0.01, 0.95))
    assert lines[0] == "by 2026-11-21 09:00 UTC, at 95 % confidence and if 1.00 % are at risk:"
    assert lines[2] == "tencent 5 5 of 100 not every stratum not every stratum 1 s 0.50"
