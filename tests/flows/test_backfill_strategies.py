"""Backfills whose second provider waits for the first: its stage is planned when the first one is through."""

from pathlib import Path
from typing import Any

import pytest

from tests.flows import verdict_rows
from tests.flows.faces import emulated, face
from tests.flows.facesweep_process import TENCENT_KEY, Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.workers import pool

pytestmark = pytest.mark.long

OBJECTS = 40


def story_of(prefect_url: str) -> Any:
    def story(folder: Path) -> dict[str, Any]:
        (folder / "source").mkdir()
        for number in range(OBJECTS):
            label = "swap" if number % 4 == 0 else "genuine"
            (folder / "source" / f"{number:03}.jpg").write_bytes(face(number, label))
        facts = {}
        with emulated(latency_ms=20) as emulators:
            facesweep = Facesweep(folder, prefect_url)
            with pool("strategies", facesweep.environment, folder) as workers:
                workers.start(1)
                for kind in ("cascade", "failover"):
                    if kind == "failover":  # the account of the first provider is refused from now on
                        emulators.account("tencent", key_id=TENCENT_KEY, secret="another one")
                    spec = facesweep.spec(
                        kind,
                        audit={"name": kind, "home": kind},
                        source={"url": "source"},
                        tencent={"qps": 20, "endpoint": emulators.tencent_url},
                        aliyun={"qps": 20, "endpoints": [emulators.aliyun_url]},
                        strategy={"kind": kind, "first": "tencent"},
                    )
                    arguments = ("--yes", "--run-id", kind, "--deployment", workers.deployment)
                    ended = facesweep.run("backfill", spec, *arguments, timeout_s=280)
                    facts[kind] = {
                        "ended": ended.as_json(),
                        "record": verdict_rows.records(folder / kind)[0],
                        "rows": verdict_rows.rows(folder / kind),
                    }
        return {
            kind: {**told, "rows": [(row["provider"], row["key"], row["risk"]) for row in told["rows"]]}
            for kind, told in facts.items()
        }

    return story


@pytest.fixture(scope="module")
def strategies(shared: Path, prefect_url: str) -> Telling:
    return told_once(shared, "strategies", story_of(prefect_url))


def test_a_cascade_asks_the_second_provider_where_the_first_says_mid_or_high(strategies: Telling):
    cascade = strategies["cascade"]
    doubted = {key for provider, key, risk in cascade["rows"] if provider == "tencent" and risk != "low"}

    assert cascade["ended"]["status"] == 0, cascade["ended"]["err"]
    assert doubted
    assert {key for provider, key, _ in cascade["rows"] if provider == "aliyun"} == doubted


def test_a_failover_takes_over_what_a_refused_provider_leaves(strategies: Telling):
    failover = strategies["failover"]
    first, second = (verdict_rows.books(failover["record"], name) for name in ("tencent", "aliyun"))

    assert failover["ended"]["status"] == 0, failover["ended"]["err"]
    assert failover["record"]["handed_over"].startswith("tencent AuthFailure")
    assert (first["handed_over"], first["outcomes"]) == (OBJECTS, {})
    assert (second["outcomes"], second["pending"]) == ({"scored": OBJECTS}, 0)
