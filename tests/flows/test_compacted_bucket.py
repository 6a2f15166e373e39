"""A home in a bucket that several machines work on: compacted on one, audited on from the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.units.books import select_verdicts
from tasks.units.compacting import compact_home
from tasks.units.opening import Home, open_home
from tests.contract.emulator_process import RunningEmulators
from tests.contract.store_servers import Moto, running_moto
from tests.flows.faces import face
from tests.flows.in_process import asked_about, put, sweep, write_spec

pytestmark = pytest.mark.anyio

HOME = "s3://audits/kyc"


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as running:
        running.client().create_bucket(Bucket="audits")
        yield running


def rows_of(home: Home) -> list[dict[str, Any]]:
    sql = "SELECT run_id, key, outcome, reused_from FROM verdicts ORDER BY ALL"
    with select_verdicts(home, sql) as rows:
        found: list[dict[str, Any]] = rows.read_all().to_pylist()
    return found


async def test_invariant_4_a_home_compacted_on_one_machine_is_audited_on_from_another(
    tmp_path: Path, moto: Moto, emulators: RunningEmulators, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose mirror still holds the parts as they were: nothing is paid for twice, each row is there once."""

    def at(machine: str) -> Home:
        monkeypatch.setenv("FACESWEEP_STATE", str(tmp_path / machine))
        return open_home(HOME, moto.url)

    spec = write_spec(
        tmp_path / "kyc.toml",
        audit={"name": "kyc", "home": HOME, "home_endpoint_url": moto.url},
        source={"url": "source"},
        tencent={"qps": 50, "endpoint": emulators.tencent_url, "price_per_call": 0.5},
    )
    put(tmp_path / "source", a=face(1), b=face(2, "swap"))
    first = at("first")
    await sweep(spec, "r1")
    put(tmp_path / "source", c=face(3))
    await sweep(spec, "r2")
    assert len(asked_about(emulators)) == 3
    before = rows_of(first)
    assert rows_of(at("second")) == before  # its mirror holds the two parts now

    compact_home(at("first"))
    assert rows_of(at("first")) == before

    second = at("second")
    put(tmp_path / "source", d=face(4), copy_of_b=face(2, "swap"))
    record = await sweep(spec, "r3")

    assert len(asked_about(emulators)) == 1
    (books,) = record.books
    assert (books.balance.listed, books.balance.asked, books.balance.pending) == (5, 2, 0)
    assert books.balance.skipped == {"already_answered": 3}
    assert books.balance.outcomes == {"scored": 1, "reused": 1}
    assert (books.calls, books.cost) == (1, 0.5)
    after = rows_of(second)
    assert [row for row in after if row["run_id"] != "r3"] == before
    assert [(row["key"], row["outcome"]) for row in after if row["run_id"] == "r3"] == [
        ("copy_of_b.jpg", "reused"),
        ("d.jpg", "scored"),
    ]

    compact_home(at("second"))
    for machine in ("first", "second", "new"):
        assert rows_of(at(machine)) == after
    at("first")
    (books,) = (await sweep(spec, "r4")).books
    assert (books.balance.asked, books.balance.skipped) == (0, {"already_answered": 5})
    assert asked_about(emulators) == []
    in_bucket = moto.client().list_objects_v2(Bucket="audits", Prefix="kyc/verdicts/")["Contents"]
    assert len([each for each in in_bucket if each["Key"].endswith(".parquet")]) == 1
