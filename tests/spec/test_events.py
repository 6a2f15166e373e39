"""The log: events with fields, one line for each change of state."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from domain.runs import Progress, ProviderProgress
from domain.verdicts import Provider
from tasks.units.events import EVENTS, Changes, line, say
from tests.architecture.test_layout import modules
from tests.spec.test_metrics import PROGRESS

ROOT = Path(__file__).resolve().parents[2]


def throttled(count: int) -> Progress:
    (provider,) = PROGRESS.providers
    return replace(PROGRESS, providers=(replace(provider, throttled=count),))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_an_event_is_its_name_and_its_fields() -> None:
    fields = {"provider": Provider.TENCENT, "shard": 3, "rate_per_s": 4.9, "reason": None}
    assert line("shard_done", fields) == "shard_done provider=tencent shard=3 rate_per_s=4.90"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ('say "no"', r'"say \"no\""'),
        ("a=b", '"a=b"'),
        ("first\nsecond", r'"first\nsecond"'),
        ("", '""'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("客户", "客户"),
    ],
)
def test_a_value_can_neither_be_taken_for_two_nor_begin_a_line(value: str, shown: str) -> None:
    assert line("run_ended", {"reason": value}) == f"run_ended reason={shown}"


def test_every_event_the_code_names_is_known_and_every_known_one_is_said() -> None:
    text = "\n".join(path.read_text() for path in modules() if path.name != "events.py")
    text += (ROOT / "tasks/units/events.py").read_text().split("class Changes", 1)[1]
    said = {event for event in EVENTS if f'"{event}"' in text}
    assert said == set(EVENTS)


def test_outside_of_prefect_an_event_is_an_ordinary_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="facesweep"):
        say("run_ended", run="r1")
    assert messages(caplog) == ["run_ended run=r1"]


def test_a_storm_of_throttling_is_one_line_a_minute_with_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [0.0]
    changes = Changes(lambda: clock[0])
    for now, count in ((0, 0), (5, 2), (10, 40), (64, 90), (65, 100), (125, 100), (130, 101)):
        clock[0] = now
        changes.note(throttled(count))
    said = "lane_throttled provider=tencent throttled={} rate_per_s=4.90 cap_per_s=5"
    assert messages(caplog) == [said.format(2), said.format(98), said.format(1)]


def test_trouble_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    changes = Changes()
    with caplog.at_level(logging.INFO, logger="facesweep"):
        for trouble in (None, "not published yet: full", "not published yet: full", None, None):
            changes.note(replace(throttled(0), trouble=trouble))
    assert messages(caplog) == [
        'trouble_begun run=r1 reason="not published yet: full"',
        "trouble_over run=r1",
    ]


def test_two_providers_are_two_storms(caplog: pytest.LogCaptureFixture) -> None:
    (tencent,) = PROGRESS.providers
    both: tuple[ProviderProgress, ...] = (tencent, replace(tencent, provider=Provider.ALIYUN))
    Changes().note(replace(PROGRESS, providers=both))
    assert [each.split()[1] for each in messages(caplog)] == ["provider=tencent", "provider=aliyun"]
