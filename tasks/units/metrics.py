"""Figures of a working process for Prometheus, over HTTP; off unless a port is given.

They are what those who watch are told twice a second, kept as it is and written out when somebody scrapes:
a call costs nothing more than without them. `docs/metrics.md` describes each.
"""

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from domain.budgets import Spending
from domain.errors import UsageError
from domain.runs import Progress, ProviderProgress
from tasks.settings import MetricsAddress, metrics_address, read_metrics_address
from tasks.units.events import say
from tasks.units.watching import watching

__all__ = ["METRICS", "metrics_served", "read_metrics_address", "serving_metrics"]

NEIGHBOURS = 50
"""Ports tried from the one that is given: so many processes of one machine can be given the same one."""


class Kind(StrEnum):
    """What Prometheus makes of a figure."""

    COUNTER = "counter"  # only grows while the process lives
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: its name, what tells its series apart, and what it says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    says: str


_RUN = ("audit", "work")
_LANE = (*_RUN, "provider")

RUN = Metric("facesweep_run_info", Kind.GAUGE, (*_RUN, "run"), "1, for the run this process works on")
HEARD = Metric(
    "facesweep_last_progress_timestamp_seconds",
    Kind.GAUGE,
    _RUN,
    "when the run last said how it gets on; twice a second while it is well",
)
ASKED = Metric("facesweep_questions", Kind.GAUGE, _LANE, "questions this process is to see answered")
SETTLED = Metric(
    "facesweep_settled_total",
    Kind.COUNTER,
    (*_LANE, "outcome"),
    "questions with a final row, earlier processes' among them",
)
CALLS = Metric("facesweep_calls_total", Kind.COUNTER, _LANE, "calls that left since the process began")
THROTTLED = Metric(
    "facesweep_throttled_total", Kind.COUNTER, _LANE, "of these, calls that were turned away for pace"
)
IN_FLIGHT = Metric("facesweep_calls_in_flight", Kind.GAUGE, _LANE, "calls that left and have no reply yet")
RATE = Metric(
    "facesweep_lane_rate_per_second", Kind.GAUGE, _LANE, "calls that left in the last ten seconds, per second"
)
CAP = Metric("facesweep_lane_cap_per_second", Kind.GAUGE, _LANE, "calls a second the account allows")
SHARE = Metric(
    "facesweep_lane_share_per_second",
    Kind.GAUGE,
    _LANE,
    "calls a second of the cap that are this process's now; the cap where nobody shares it",
)
LEFT = Metric("facesweep_eta_seconds", Kind.GAUGE, _LANE, "time left at the present rate")
UNPUBLISHED = Metric(
    "facesweep_unpublished_rows",
    Kind.GAUGE,
    _LANE,
    "final rows that lie in the journal alone, at most 5 s ago",
)
UNPUBLISHED_AGE = Metric(
    "facesweep_unpublished_age_seconds", Kind.GAUGE, _LANE, "age of the oldest of them; 0 where there is none"
)
SPENT = Metric(
    "facesweep_spent_total",
    Kind.COUNTER,
    _LANE,
    "money of settled questions, in the currency of the spec's price; absent without a price",
)
CALLS_LEFT = Metric(
    "facesweep_budget_calls_left", Kind.GAUGE, _RUN, "calls left of the budget, if it bounds them"
)
MONEY_LEFT = Metric(
    "facesweep_budget_money_left", Kind.GAUGE, _RUN, "money left of the budget, if it bounds it"
)
TIME_LEFT = Metric(
    "facesweep_budget_seconds_left",
    Kind.GAUGE,
    _RUN,
    "seconds until the budget's time is over, if it has one",
)

METRICS = (
    *(RUN, HEARD, ASKED, SETTLED, CALLS, THROTTLED, IN_FLIGHT, RATE, CAP, SHARE, LEFT),
    *(UNPUBLISHED, UNPUBLISHED_AGE, SPENT, CALLS_LEFT, MONEY_LEFT, TIME_LEFT),
)
"""Every figure there is."""


class Figures(Collector):
    """What the last word of the run means in figures; read by the thread that answers a scrape."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._latest: tuple[Progress, float] | None = None  # replaced as a whole: a reader sees one moment

    def note(self, progress: Progress) -> None:
        """To be told by `watching`. What comes before there is a run has no figures."""
        if progress.run_id:
            self._latest = (progress, self._now())

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        if self._latest is None:
            return
        progress, heard_at = self._latest
        now = datetime.fromtimestamp(self._now(), UTC)
        samples = [
            (RUN, (progress.run_id,), 1.0),
            (HEARD, (), heard_at),
            *_of_budget(progress.spending, now),
            *(sample for each in progress.providers for sample in _of_provider(each, now)),
        ]
        run = (progress.audit, progress.kind)
        for metric in METRICS:
            made = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = made(metric.name, metric.says, labels=metric.labels)
            for of, labels, figure in samples:
                if of is metric:
                    family.add_metric([*run, *labels], figure)
            if family.samples:
                yield family


_Sample = tuple[Metric, tuple[str, ...], float]


def _of_provider(each: ProviderProgress, now: datetime) -> Iterator[_Sample]:
    lane = (str(each.provider),)
    oldest = each.oldest_unpublished_at
    yield ASKED, lane, each.asked
    for outcome, count in each.outcomes.items():
        yield SETTLED, (*lane, str(outcome)), count
    yield CALLS, lane, each.calls
    yield THROTTLED, lane, each.throttled
    yield IN_FLIGHT, lane, each.in_flight
    yield RATE, lane, each.rate_per_s
    yield CAP, lane, each.cap_per_s
    yield SHARE, lane, each.cap_per_s if each.share_per_s is None else each.share_per_s
    yield LEFT, lane, each.eta_s
    yield UNPUBLISHED, lane, each.unpublished
    yield UNPUBLISHED_AGE, lane, 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)
    if each.cost is not None:
        yield SPENT, lane, each.cost


def _of_budget(spending: Spending | None, now: datetime) -> Iterator[_Sample]:
    if spending is None:
        return
    if spending.calls_left is not None:
        yield CALLS_LEFT, (), spending.calls_left
    if spending.money_left is not None:
        yield MONEY_LEFT, (), spending.money_left
    if spending.budget.until is not None:
        yield TIME_LEFT, (), max((spending.budget.until - now).total_seconds(), 0.0)


_is_served: ContextVar[bool] = ContextVar("is_served", default=False)


@contextmanager
def serving_metrics(address: MetricsAddress) -> Iterator[str]:
    """While the block runs, what happens in it can be scraped; where: such as `http://127.0.0.1:9108/metrics`.

    Raises:
        UsageError: the address is not this machine's, or the port and those after it are taken.
    """
    registry, figures = CollectorRegistry(), Figures()
    registry.register(figures)
    ProcessCollector(registry=registry)
    port, close = _listening(address, registry)
    token = _is_served.set(True)
    try:
        with watching(figures.note):
            yield f"http://{f'[{address.host}]' if ':' in address.host else address.host}:{port}/metrics"
    finally:
        _is_served.reset(token)
        close()


@contextmanager
def metrics_served() -> Iterator[None]:
    """As `FACESWEEP_METRICS_PORT` says, unless whoever started this serves already: for a worker's flows.

    Figures that cannot be served end no run: the log says so.
    """
    with contextlib.ExitStack() as stack:
        if not _is_served.get():
            try:
                if (address := metrics_address()) is not None:
                    say("metrics_served", url=stack.enter_context(serving_metrics(address)))
            except UsageError as refusal:
                say("metrics_not_served", reason=str(refusal))
        yield


def _listening(address: MetricsAddress, registry: CollectorRegistry) -> tuple[int, Callable[[], None]]:
    """The port, and what closes it."""
    for port in _ports(address.port):
        try:
            server, thread = start_http_server(port, address.host, registry)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port != _ports(address.port)[-1]:
                continue
            raise UsageError(_cannot_listen(address, error)) from None

        return int(server.server_port), partial(_close, server, thread)
    raise AssertionError("a port is tried, at least one")


def _close(server: WSGIServer, thread: Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


def _ports(first: int) -> range:
    return range(first, min(first + NEIGHBOURS, 65_536)) if first else range(1)


def _cannot_listen(address: MetricsAddress, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE and address.port:
        ports = _ports(address.port)
        taken = f"the ports {ports[0]} to {ports[-1]} of {address.host} are taken"
        return f"metrics: {taken}: give another one, or 0 for any that is free"
    return f"metrics cannot be served on {address.host}:{address.port}: {error.strerror or error}"
