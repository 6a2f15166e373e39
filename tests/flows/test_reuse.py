"""Never pay twice, over the runs of a home: the same bytes are asked about once, wherever they lie."""

import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Denied, UsageError
from domain.verdicts import Outcome
from tests.contract.emulator_process import RunningEmulators
from tests.contract.store_servers import Moto, running_moto
from tests.flows import verdict_rows
from tests.flows.faces import both, face, know_keys
from tests.flows.in_process import asked_about, go_on, put, sweep, sweep_again, write_spec

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as running:
        yield running


def hashed(*contents: bytes) -> list[str]:
    return sorted(sha256(each).hexdigest() for each in contents)


def rows(home: Path, run_id: str) -> dict[str, dict[str, Any]]:
    """The rows of a run by key, of one provider."""
    return {row["key"]: row for row in verdict_rows.rows(home, run_id)}


async def test_invariant_4_bytes_that_an_earlier_run_had_answered_are_not_asked_about_again(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Under new keys, under a touched one: no call, and rows that say whose verdict they repeat."""
    source = tmp_path / "source"
    spec = write_spec(
        tmp_path / "kyc.toml",
        source={"url": "source"},
        tencent={"qps": 50, "endpoint": emulators.tencent_url, "price_per_call": 0.5},
    )
    put(source, swap=face(1, "swap"), faceless=face(2, "noface"), other=face(3))
    await sweep(spec, "first")
    assert len(asked_about(emulators)) == 3

    put(source, uploaded_again=face(1, "swap"), faceless_again=face(2, "noface"))
    os.utime(source / "other.jpg", (1, 1))
    record = await sweep(spec, "second")

    assert asked_about(emulators) == []
    first, second = rows(tmp_path / "home", "first"), rows(tmp_path / "home", "second")
    assert {key: (row["outcome"], row["risk"], row["reused_from"]) for key, row in second.items()} == {
        "uploaded_again.jpg": ("reused", "high", first["swap.jpg"]["question_id"]),
        "faceless_again.jpg": ("refused", None, first["faceless.jpg"]["question_id"]),
        "other.jpg": ("reused", "low", first["other.jpg"]["question_id"]),
    }
    assert {(row["billed"], row["cost"], row["attempts"], row["asked_at"]) for row in second.values()} == {
        ("no", 0.0, 0, None)
    }
    assert second["uploaded_again.jpg"]["raw"] == first["swap.jpg"]["raw"]
    assert (record.books[0].calls, record.books[0].balance.is_balanced) == (0, True)

    put(source, third_time=face(1, "swap"))
    await sweep(spec, "third")
    (third,) = rows(tmp_path / "home", "third").values()
    assert asked_about(emulators) == []
    assert third["reused_from"] == first["swap.jpg"]["question_id"]


async def test_invariant_4_each_provider_is_asked_once_about_the_same_bytes(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """What one provider said is no answer of the other."""
    put(tmp_path / "source", a=face(1))
    source = {"url": "source"}
    tencent = {"tencent": both(emulators)["tencent"]}
    await sweep(write_spec(tmp_path / "one.toml", source=source, **tencent), "first")
    put(tmp_path / "source", b=face(1))
    await sweep(write_spec(tmp_path / "two.toml", source=source, **both(emulators)), "second")

    assert asked_about(emulators, "aliyun") == hashed(face(1))
    outcomes = [(row["provider"], row["outcome"]) for row in verdict_rows.rows(tmp_path / "home", "second")]
    assert sorted(outcomes) == [("aliyun", "reused"), ("aliyun", "scored"), ("tencent", "reused")]


async def test_invariant_4_the_same_bytes_in_another_store_are_not_asked_about_again(
    tmp_path: Path, emulators: RunningEmulators, moto: Moto
) -> None:
    """And an object of a bucket that was replaced is: it is another one by its ETag."""
    client = moto.client()
    client.create_bucket(Bucket="reuse")
    tencent = {"tencent": both(emulators)["tencent"]}
    folder = write_spec(tmp_path / "folder.toml", source={"url": "source"}, **tencent)
    bucket = write_spec(
        tmp_path / "bucket.toml", source={"url": "s3://reuse", "endpoint_url": moto.url}, **tencent
    )

    def upload(**files: bytes) -> None:
        for name, content in files.items():
            client.put_object(Bucket="reuse", Key=f"{name}.jpg", Body=content)

    put(tmp_path / "source", a=face(1))
    await sweep(folder, "in-a-folder")
    assert asked_about(emulators) == hashed(face(1))

    upload(a=face(1), b=face(2))
    await sweep(bucket, "in-a-bucket")
    assert asked_about(emulators) == hashed(face(2))
    original = rows(tmp_path / "home", "in-a-folder")["a.jpg"]
    repeat = rows(tmp_path / "home", "in-a-bucket")["a.jpg"]
    assert (repeat["outcome"], repeat["reused_from"]) == ("reused", original["question_id"])
    assert (repeat["store"], repeat["url"]) == ("s3", "s3://reuse/a.jpg")

    upload(a=face(1), b=face(3))
    put(tmp_path / "source", from_the_bucket=face(2))
    await sweep(bucket, "replaced")
    assert asked_about(emulators) == hashed(face(3))
    assert {key: row["outcome"] for key, row in rows(tmp_path / "home", "replaced").items()} == {
        "b.jpg": "scored"
    }
    await sweep(folder, "and-back")
    assert asked_about(emulators) == []


async def test_invariant_4_a_machine_that_has_seen_nothing_looks_back_through_a_home_in_a_bucket(
    tmp_path: Path, emulators: RunningEmulators, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto.client().create_bucket(Bucket="audits")
    spec = write_spec(
        tmp_path / "kyc.toml",
        audit={"name": "kyc", "home": "s3://audits/kyc", "home_endpoint_url": moto.url},
        source={"url": "source"},
        tencent={"qps": 50, "endpoint": emulators.tencent_url},
    )
    put(tmp_path / "source", a=face(1))
    monkeypatch.setenv("FACESWEEP_STATE", str(tmp_path / "one-machine"))
    await sweep(spec, "first")
    put(tmp_path / "source", b=face(1))
    monkeypatch.setenv("FACESWEEP_STATE", str(tmp_path / "another"))
    record = await sweep(spec, "second")

    assert asked_about(emulators) == hashed(face(1))
    assert (record.books[0].calls, dict(record.books[0].balance.outcomes)) == (0, {Outcome.REUSED: 1})
    kept = [each["Key"] for each in moto.client().list_objects_v2(Bucket="audits")["Contents"]]
    assert {key.split("/")[1] for key in kept} == {"listings", "plans", "runs", "verdicts"}


async def test_what_is_not_answered_by_the_provider_is_asked_whoever_had_the_same_bytes(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """A failure of an earlier run lends nothing."""
    spec = write_spec(
        tmp_path / "kyc.toml",
        source={"url": "source"},
        tencent={"qps": 50, "endpoint": emulators.tencent_url},
    )
    put(tmp_path / "source", a=face(1))
    emulators.script("tencent", fault="answers_lost", times=None)
    await sweep(spec, "first")
    asked_about(emulators)
    shutil.move(tmp_path / "source" / "a.jpg", tmp_path / "source" / "b.jpg")
    await sweep(spec, "second")
    assert asked_about(emulators) == hashed(face(1))
    assert rows(tmp_path / "home", "second")["b.jpg"]["outcome"] == "scored"


async def test_a_reason_to_ask_again_holds_for_the_retry_of_what_failed(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """The older answer is known and not what is wanted, neither from the plan nor by content."""
    spec = write_spec(
        tmp_path / "kyc.toml",
        source={"url": "source"},
        tencent={"qps": 50, "endpoint": emulators.tencent_url},
    )
    put(tmp_path / "source", a=face(1), copy=face(1))
    await sweep(spec, "first")
    assert len(asked_about(emulators)) == 1
    emulators.script("tencent", fault="answers_lost", times=None)
    await sweep(spec, "again", reask="the provider has a new model")
    asked_about(emulators)

    record = await sweep_again(spec, "again", [Outcome.FAILED])

    assert asked_about(emulators) == hashed(face(1))
    assert (record.retry_of, record.reask) == ("again", "the provider has a new model")
    retried = rows(tmp_path / "home", record.run_id)
    assert {row["outcome"] for row in retried.values()} == {"scored", "reused"}
    assert {row["asked_because"] for row in retried.values()} == {"reask"}


async def test_invariant_10_a_run_leaves_nothing_of_its_index_in_the_home_and_makes_it_anew_when_resumed(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    spec = write_spec(
        tmp_path / "kyc.toml",
        source={"url": "source"},
        tencent={"qps": 50, "endpoint": emulators.tencent_url},
    )
    source = tmp_path / "source"
    put(source, a=face(1))
    await sweep(spec, "first")
    put(source, b=face(1), c=face(2))
    emulators.script("tencent", fault="code", code="UnauthorizedOperation.Arrears", times=None)
    with pytest.raises(Denied, match="Arrears"):
        await sweep(spec, "second")
    assert list((tmp_path / "home" / ".staging").iterdir()) == []

    emulators.reset()
    know_keys(emulators)
    await go_on(spec, "second")
    assert asked_about(emulators) == hashed(face(2))
    assert {key: row["outcome"] for key, row in rows(tmp_path / "home", "second").items()} == {
        "b.jpg": "reused",
        "c.jpg": "scored",
    }
    assert list((tmp_path / "home" / ".staging").iterdir()) == []


async def test_the_id_of_a_run_that_is_over_is_refused_for_another_one(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Nobody is sent to `resume`, which would find nothing left to do."""
    spec = write_spec(
        tmp_path / "kyc.toml", source={"url": "source"}, tencent={"endpoint": emulators.tencent_url}
    )
    put(tmp_path / "source", a=face(1))
    await sweep(spec, "first")
    with pytest.raises(UsageError, match=r"run first exists already in .*/home: choose another id$"):
        await sweep(spec, "first")
