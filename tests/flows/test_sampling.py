"""A stratified sample from its plan to its estimate, looked at while it grows."""

import asyncio
import json
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from domain.verdicts import Provider
from tasks.units.draft import draft_audit
from tasks.units.opening import open_audit
from tests.flows import verdict_rows
from tests.flows.faces import emulated, face
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.patience import until

EARLY, LATE = 120, 30
SAMPLE, LARGER = 40, 60
ENOUGH = 32  # calls: more than the early ones of the sample, so that some late ones are among them
FAKES = [f"late/{number:03}.jpg" for number in range(0, LATE, 3)]


@pytest.fixture(scope="session")
def sampled(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        two_folders(folder / "source")
        facts: dict[str, Any] = {}
        with emulated(latency_ms=50) as emulators:
            facesweep = Facesweep(folder, prefect_url)

            def spec(name: str, sample: int) -> Path:
                strata = {"sample": sample, "strata": "prefix:1", "allocation": "equal"}
                tencent = {"qps": 20, "endpoint": emulators.tencent_url, "price_per_call": 0.5}
                path = facesweep.spec(name, source={"url": "source", **strata}, tencent=tencent)
                path.write_text(path.read_text().replace(f'"{name}"', '"e2e"'))  # one audit, two sizes
                return path

            outlook = [
                "--precision",
                "2pp",
                "--by",
                "2999-01-01T00:00Z",
                "--for-money",
                "10",
                "--expect",
                "5%",
            ]
            facts["plan"] = facesweep.run("plan", spec("small", SAMPLE), *outlook).as_json()
            with facesweep.start("audit", spec("small", SAMPLE), "--run-id", "small", "--yes") as running:
                until(lambda: emulators.summary("tencent")["total"], lambda calls: calls >= ENOUGH)
                running.signal(signal.SIGSTOP)  # it will not end while somebody looks
                facts["watched"] = facesweep.run("status", folder / "home").as_json()
                running.signal(signal.SIGCONT)
                facts["audit"] = running.ended(60).as_json()
            facts["status"] = facesweep.run("status", folder / "home", "--json").as_json()
            facts["larger"] = planned(spec("larger", LARGER))
        return facts

    return told_once(shared, "sampled", story)


def two_folders(source: Path) -> None:
    for name, size, first in (("early", EARLY, 0), ("late", LATE, EARLY)):
        (source / name).mkdir(parents=True)
        for number in range(size):
            key = f"{name}/{number:03}.jpg"
            (source / key).write_bytes(face(first + number, "swap" if key in FAKES else "genuine"))


def planned(spec: Path) -> dict[str, Any]:
    """The totals of a plan for one provider."""

    async def story() -> dict[str, Any]:
        found = open_audit(spec)
        async with draft_audit(found.home, found.spec, only_to_look=True) as draft:
            totals: dict[str, Any] = draft.totals.to_json()["providers"][Provider.TENCENT]
            return totals

    return asyncio.run(story())


def words(text: str) -> list[str]:
    """Lines with their columns moved together."""
    return [re.sub(r" +", " ", line).strip() for line in text.splitlines()]


def test_a_plan_shows_each_stratum_with_its_sample_and_weight(sampled: Telling) -> None:
    assert sampled["plan"]["status"] == 0, sampled["plan"]["err"]
    lines = words(sampled["plan"]["out"])
    table = lines.index("stratum selected sampled weight")
    assert lines[table + 1 : table + 3] == ["early 120 20 6", "late 30 20 1.5"]


def test_a_plan_says_what_a_precision_takes_and_what_to_write_for_it(sampled: Telling) -> None:
    lines = words(sampled["plan"]["out"])
    at = lines.index(
        "to know the share at risk to ±2.00 points, at 95 % confidence and if 5.00 % are at risk:"
    )
    provider, objects, of, selected, calls, *_ = lines[at + 2].split()
    assert (provider, of, selected, calls) == ("tencent", "of", "150", objects)
    assert f"sample = {objects} (or " in lines[at + 2]
    assert 0 < int(objects) < 150


def test_a_plan_says_what_a_time_and_a_sum_of_money_buy(sampled: Telling) -> None:
    lines = words(sampled["plan"]["out"])
    assumed = "at 95 % confidence and if 5.00 % are at risk:"
    by = next(at for at, line in enumerate(lines) if line.startswith("by 2999-01-01"))
    money = lines.index(f"for 10.00, {assumed}")
    assert lines[by].endswith(assumed)
    assert lines[by + 2].startswith("tencent 40 (all) 40 of 150 ±")
    assert lines[money + 2].startswith("tencent 20 20 of 150 ±")


def test_status_shows_the_estimate_of_a_run_that_goes_on(sampled: Telling) -> None:
    """From a prefix of the order, since what is behind it was merely quick."""
    assert sampled["watched"]["status"] == 0, sampled["watched"]["err"]
    lines = words(sampled["watched"]["out"])
    assert any(line.startswith("e2e run small: running, worked on by process ") for line in lines)
    (table,) = [at for at, line in enumerate(lines) if line.startswith("share at risk, by")]
    assert lines[table] == "share at risk, by rated share 95 % at any time 95 % at one look"
    assert re.fullmatch(r"tencent high [\d.]+ % [\d.]+ to [\d.]+ % [\d.]+ to [\d.]+ %", lines[table + 1])
    assert lines[table + 2].startswith("mid or high ")
    found = re.fullmatch(
        r"tencent: from the first (\d+) of 150 objects in visiting order, weighted by 2 strata: \1 assessed",
        lines[table + 3],
    )
    assert found
    assert ENOUGH - 20 < int(found[1]) < SAMPLE


def test_the_summary_of_a_run_shows_its_estimate(sampled: Telling) -> None:
    assert sampled["audit"]["status"] == 0, sampled["audit"]["err"]
    assert (
        "tencent: from the first 40 of 150 objects in visiting order, weighted by 2 strata: 40 assessed"
        in words(sampled["audit"]["out"])
    )


def test_status_gives_the_numbers_as_json(sampled: Telling) -> None:
    """The weighted share of those rated high, and both intervals around it."""
    (run,) = json.loads(sampled["status"]["out"])
    (estimate,) = run["estimates"]
    assert [(each["stratum"], each["covered"], each["weight"]) for each in estimate["strata"]] == [
        ("early", 20, 6.0),
        ("late", 20, 1.5),
    ]
    rows = verdict_rows.rows(sampled.home)
    high = sum(row["weight"] for row in rows if row["risk"] == "high")
    assert estimate["high"]["share"] == pytest.approx(high / 150)
    assert estimate["high"]["count"] == sum(row["risk"] == "high" for row in rows) > 0
    assert (estimate["selected"], estimate["covered"], estimate["complete"]) == (150, 40, False)
    for interval in ("at_any_time", "at_one_look"):
        low, high_end = estimate["high"][interval]
        assert low < estimate["high"]["share"] < high_end
        assert low <= len(FAKES) / 150 <= high_end


def test_the_verdicts_hold_stratum_and_weight(sampled: Telling) -> None:
    rows = verdict_rows.rows(sampled.home)
    assert Counter((row["stratum"], row["weight"]) for row in rows) == {("early", 6.0): 20, ("late", 1.5): 20}
    assert sum(row["weight"] for row in rows) == EARLY + LATE
    assert all(row["key"].startswith(f"{row['stratum']}/") for row in rows)


def test_a_larger_sample_goes_on_where_the_smaller_one_ended(sampled: Telling) -> None:
    larger = sampled["larger"]
    assert larger["skipped"] == {"already_answered": SAMPLE, "out_of_sample": EARLY + LATE - LARGER}
    assert larger["asked"] == LARGER - SAMPLE
    assert [(each["stratum"], each["leading"], each["covered"]) for each in larger["strata"]] == [
        ("early", 20, 30),
        ("late", 20, 30),
    ]
