"""The report of a month: which moments are in it, what is counted, what it says."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.errors import UsageError
from domain.verdicts import Outcome, Provider, Risk
from flows.reporting import month_of, report_markdown, report_month
from tasks.records.home import Home
from tasks.reports.span import NOTHING, count_span
from tasks.settings import Spec, read_spec, with_sample
from tasks.units.reporting import Report, keep_report
from tests.spec.test_reports import part, verdict

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "month"),
    [
        (datetime(2026, 11, 1, 0, 0, tzinfo=UTC), "2026-10"),
        (datetime(2026, 11, 30, 23, 59, tzinfo=UTC), "2026-10"),
        (datetime(2027, 1, 15, tzinfo=UTC), "2026-12"),
    ],
)
def test_the_last_whole_month_is_meant_where_none_is_named(now: datetime, month: str) -> None:
    assert month_of(None, "UTC", now)[0] == month


def test_a_month_begins_where_its_zone_says() -> None:
    """At half past four in the afternoon of the 31st, UTC, it is November in Shanghai."""
    now = datetime(2026, 10, 31, 16, 30, tzinfo=UTC)
    name, since, until = month_of(None, "Asia/Shanghai", now)
    assert name == "2026-10"
    assert (since, until) == (OCTOBER - timedelta(hours=8), NOVEMBER - timedelta(hours=8))


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "october", "0999-01", "2026-10-01"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(UsageError, match=rf"'{month}' is no month: give year and month, such as 2026-10"):
        month_of(month, "UTC", NOVEMBER)


@pytest.mark.parametrize("zone", ["Shanghai", "", "../etc/passwd"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(UsageError, match="is no time zone"):
        month_of("2026-10", zone, NOVEMBER)


def test_the_first_moment_of_a_span_is_in_it_and_the_last_one_is_not(tmp_path: Path) -> None:
    found = count_span(
        [
            part(
                tmp_path,
                verdict(1, settled_at=OCTOBER - timedelta(microseconds=1), run_id="before"),
                verdict(2, settled_at=OCTOBER, run_id="first"),
                verdict(3, settled_at=NOVEMBER - timedelta(microseconds=1), run_id="last"),
                verdict(4, settled_at=NOVEMBER, run_id="after"),
            )
        ],
        OCTOBER,
        NOVEMBER,
    )
    assert found.run_ids == ("first", "last")


def test_outcomes_risks_reasons_calls_and_cost_are_counted_by_provider(tmp_path: Path) -> None:
    rows = [
        verdict(1, risk="high", settled_at=OCTOBER, attempts=2, cost=0.1),
        verdict(2, Outcome.REUSED, risk="low", settled_at=OCTOBER, attempts=0, cost=0.0),
        verdict(3, Outcome.REFUSED, reason="no_face", settled_at=OCTOBER, attempts=1, cost=0.1),
        verdict(4, provider="aliyun", risk="mid", settled_at=OCTOBER, attempts=1, cost=None),
    ]
    found = count_span([part(tmp_path, *rows)], OCTOBER, NOVEMBER)
    assert found.outcomes == {
        Provider.ALIYUN: {Outcome.SCORED: 1},
        Provider.TENCENT: {Outcome.SCORED: 1, Outcome.REUSED: 1, Outcome.REFUSED: 1},
    }
    assert found.risks[Provider.TENCENT] == {Risk.HIGH: 1, Risk.MID: 0, Risk.LOW: 1}
    assert found.reasons == ((Provider.TENCENT, Outcome.REFUSED, "no_face", 1),)
    assert found.calls == {Provider.ALIYUN: 1, Provider.TENCENT: 3}
    assert found.costs == {Provider.ALIYUN: None, Provider.TENCENT: pytest.approx(0.2)}


def test_a_home_without_answers_has_a_report_that_says_so(tmp_path: Path) -> None:
    home = Home.local(tmp_path / "home")
    _, text, place = report_month(home, "2026-10", "UTC", NOVEMBER)
    assert "Nothing was settled." in text
    assert Path(place).read_text() == text
    assert Path(place) == tmp_path / "home" / "reports" / "2026-10" / "report.md"


def test_a_report_that_is_made_again_stands_in_the_place_of_the_first(tmp_path: Path) -> None:
    home = Home.local(tmp_path / "home")
    keep_report(home, "2026-10", "one\n")
    assert keep_report(home, "2026-10", "two\n").read_text() == "two\n"


def test_a_month_that_is_not_over_says_so() -> None:
    report = Report("2026-10", OCTOBER, NOVEMBER, NOTHING, (), None, ())
    assert "(the span is not over)" in report_markdown(report, NOVEMBER - timedelta(days=1))
    assert "(the span is not over)" not in report_markdown(report, NOVEMBER)


# --- the sample of a weekly audit ---


def test_another_sample_than_the_specs_is_taken_where_one_is_given(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    assert with_sample(spec, "1%").source.sample_share == 0.01
    assert with_sample(spec, 500).source.sample_size == 500
    assert with_sample(spec, "1%").audit == spec.audit


@pytest.mark.parametrize("sample", ["0%", "101%", 0, "some"])
def test_what_is_no_sample_is_refused(tmp_path: Path, sample: int | str) -> None:
    with pytest.raises(UsageError, match=r"the sample given: source.sample"):
        with_sample(a_spec(tmp_path), sample)


def a_spec(folder: Path) -> Spec:
    path = folder / "kyc.toml"
    path.write_text(
        '[audit]\nname = "kyc"\n[source]\nurl = "faces"\nsample = "5%"\n[providers.tencent]\nqps = 1\n'
    )
    return read_spec(path)
