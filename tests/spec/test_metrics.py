"""Figures for Prometheus: one name each, described, and what those who watch are told."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from domain.budgets import Budget, Spending
from domain.errors import UsageError
from domain.runs import Progress, ProviderProgress
from domain.verdicts import Outcome, Provider
from tasks.settings import MetricsAddress, read_metrics_address
from tasks.units import metrics
from tasks.units.events import EVENTS, WARNINGS
from tasks.units.metrics import METRICS, Figures, metrics_served, serving_metrics
from tasks.units.watching import tell

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)

PROGRESS = Progress(
    "asking",
    listed=1000,
    providers=(
        ProviderProgress(
            provider=Provider.TENCENT,
            asked=900,
            outcomes={Outcome.SCORED: 90, Outcome.FAILED: 2},
            cap_per_s=5,
            rate_per_s=4.9,
            throttled=3,
            cost=9.0,
            calls=97,
            in_flight=2,
            share_per_s=3,
            unpublished=40,
            oldest_unpublished_at=NOW - timedelta(seconds=75),
        ),
    ),
    spending=Spending(Budget(1000, 50.0, NOW + timedelta(hours=1)), 97, 9.5),
    audit="kyc",
    run_id="r1",
    kind="shard",
)


def documented(heading: str) -> list[list[str]]:
    """The cells of the table whose first heading this is."""
    lines = DOCUMENT.split(f"| {heading} |", 1)[1].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def figures_of(progress: Progress) -> dict[str, float]:
    """Each series that would be scraped, as `name{provider,outcome}`."""
    figures = Figures(now=NOW.timestamp)
    figures.note(progress)
    registry = CollectorRegistry()
    registry.register(figures)
    found = {}
    for family in registry.collect():
        for sample in family.samples:
            told = [sample.labels[name] for name in ("provider", "outcome") if name in sample.labels]
            found[f"{sample.name}{{{','.join(told)}}}"] = sample.value
    return found


def test_the_document_describes_every_figure_and_no_other() -> None:
    described = [[name.strip("`"), kind, labels, says] for name, kind, labels, says in documented("name")]
    assert described == [[each.name, each.kind, ", ".join(each.labels), each.says] for each in METRICS]


def test_the_document_describes_every_event_of_the_log_and_no_other() -> None:
    described = [(event.strip("`"), level, means) for event, level, means in documented("event")]
    assert described == [
        (event, "warning" if event in WARNINGS else "info", means) for event, means in EVENTS.items()
    ]


def test_every_name_is_one_prometheus_takes_with_its_unit() -> None:
    for each in METRICS:
        assert re.fullmatch(r"facesweep_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name


def test_what_a_run_says_of_itself_is_what_is_scraped() -> None:
    assert figures_of(PROGRESS) == {
        "facesweep_run_info{}": 1,
        "facesweep_last_progress_timestamp_seconds{}": NOW.timestamp(),
        "facesweep_questions{tencent}": 900,
        "facesweep_settled_total{tencent,scored}": 90,
        "facesweep_settled_total{tencent,failed}": 2,
        "facesweep_calls_total{tencent}": 97,
        "facesweep_throttled_total{tencent}": 3,
        "facesweep_calls_in_flight{tencent}": 2,
        "facesweep_lane_rate_per_second{tencent}": 4.9,
        "facesweep_lane_cap_per_second{tencent}": 5,
        "facesweep_lane_share_per_second{tencent}": 3,
        "facesweep_eta_seconds{tencent}": pytest.approx((900 - 92) / 4.9),
        "facesweep_unpublished_rows{tencent}": 40,
        "facesweep_unpublished_age_seconds{tencent}": 75,
        "facesweep_spent_total{tencent}": 9.0,
        "facesweep_budget_calls_left{}": 903,
        "facesweep_budget_money_left{}": 40.5,
        "facesweep_budget_seconds_left{}": 3600,
    }


def test_before_there_is_a_run_there_are_no_figures() -> None:
    assert figures_of(Progress("listing", listed=5)) == {}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9108", MetricsAddress("127.0.0.1", 9108)),
        ("0", MetricsAddress("127.0.0.1", 0)),
        ("0.0.0.0:9108", MetricsAddress("0.0.0.0", 9108)),
        ("[::1]:9108", MetricsAddress("::1", 9108)),
    ],
)
def test_figures_are_for_this_machine_alone_unless_an_address_is_given(
    text: str, address: MetricsAddress
) -> None:
    assert read_metrics_address(text, "--metrics-port") == address


@pytest.mark.parametrize("text", ["", "ninety", ":9108", "70000", "-1", "1.5", "host:"])
def test_what_is_no_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"--metrics-port: .* is not a port"):
        read_metrics_address(text, "--metrics-port")


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_processes_given_one_port_serve_at_neighbouring_ones() -> None:
    with taken_port() as port, ExitStack() as stack:
        urls = [stack.enter_context(serving_metrics(MetricsAddress("127.0.0.1", port))) for _ in range(3)]
        ports = [int(url.split(":")[2].split("/")[0]) for url in urls]
    assert port not in ports
    assert len(set(ports)) == 3
    assert all(port < each < port + metrics.NEIGHBOURS for each in ports)


def test_a_command_whose_ports_are_all_taken_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "NEIGHBOURS", 1)
    with (
        taken_port() as port,
        pytest.raises(UsageError, match=f"the ports {port} to {port} of 127.0.0.1 are taken"),
        serving_metrics(MetricsAddress("127.0.0.1", port)),
    ):
        pass


def test_an_address_of_another_machine_is_refused() -> None:
    with (
        pytest.raises(UsageError, match=r"metrics cannot be served on 192\.0\.2\.1:0"),
        serving_metrics(MetricsAddress("192.0.2.1", 0)),
    ):
        pass


def test_what_is_told_in_the_block_can_be_scraped_until_it_ends() -> None:
    with serving_metrics(MetricsAddress("127.0.0.1", 0)) as url:
        tell(PROGRESS)
        text = urlopen(url, timeout=5).read().decode()
        assert {family.name for family in text_string_to_metric_families(text)} >= {
            each.name.removesuffix("_total") for each in METRICS
        }
    with pytest.raises(OSError, match="refused"):
        urlopen(url, timeout=5)


def test_a_worker_serves_where_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_port() as port:
        pass
    monkeypatch.setenv("FACESWEEP_METRICS_PORT", str(port))
    with metrics_served():
        tell(PROGRESS)
        assert b"facesweep_calls_total" in urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()


def test_a_worker_that_cannot_serve_works_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACESWEEP_METRICS_PORT", "ninety")
    with metrics_served():
        tell(PROGRESS)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["metrics_not_served"]
