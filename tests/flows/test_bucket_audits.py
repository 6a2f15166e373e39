"""Audits of buckets whose keys hold whatever people put there, and a home in a bucket."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.emulated_media import image
from tests.contract.store_servers import OSS_REGION, running_moto, running_oss
from tests.flows import verdict_rows
from tests.flows.faces import both, emulated, face, totals
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once

# oss2 asks for the time in a way that Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

KEYS = [
    "selfies/plain.jpg",
    "selfies/with space.jpg",
    "selfies/trailing space .jpg ",
    "selfies/café/cafe\u0301.jpg",
    "selfies/自拍.jpg",
    "selfies/😀.jpg",
    "selfies/100%.jpg",
    "selfies/%2F.jpg",
    "selfies/a+b.jpg",
    "selfies/a#b.jpg",
    "selfies/a?b=c&d.jpg",
    "selfies//double.jpg",
    "selfies/quote\"'.jpg",
    "selfies/tab\t.jpg",
]
NEWLINE = "selfies/new\nline.jpg"  # moto's router finds no such key
LONGEST = {"s3": "selfies/" + "k" * 1012 + ".jpg", "oss": "selfies/" + "k" * 1011 + ".jpg"}
DENIED = "selfies/zz-denied.jpg"


@pytest.fixture(scope="session")
def s3(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        keys = [*KEYS, LONGEST["s3"]]
        with running_moto() as moto, emulated() as emulators:
            client = moto.client()
            client.create_bucket(Bucket="kyc")
            client.create_bucket(Bucket="audits")
            for number, key in enumerate(keys):
                client.put_object(Bucket="kyc", Key=key, Body=face(number))
            client.put_object(Bucket="kyc", Key="elsewhere.jpg", Body=face(99))

            def kept() -> list[str]:
                found = client.list_objects_v2(Bucket="audits")
                return [each["Key"] for each in found.get("Contents", [])]

            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                audit={"name": "e2e", "home": "s3://audits/kyc", "home_endpoint_url": moto.url},
                source={"url": "s3://kyc/selfies/", "endpoint_url": moto.url, "include": ["*"]},
                **both(emulators),
            )
            facts: dict[str, Any] = {"planned": facesweep.run("plan", spec).as_json(), "after_plan": kept()}
            facts["first"] = facesweep.run("audit", spec, "--run-id", "first", "--yes").as_json()
            facts["first_calls"], facts["first_kept"] = totals(emulators), kept()

            client.put_object(Bucket="kyc", Key="selfies/new.jpg", Body=face(100))
            elsewhere = Facesweep(folder / "another-machine", prefect_url)
            facts["second"] = elsewhere.run("audit", spec, "--run-id", "second", "--yes").as_json()
            facts["second_calls"] = totals(emulators)
            facts["second_kept"] = kept()
            facts["sql"] = elsewhere.run(
                *("verdicts", "s3://audits/kyc", "--home-endpoint-url", moto.url),
                *("--sql", "SELECT count(DISTINCT key) AS n FROM verdicts"),
            ).as_json()
            for key in facts["second_kept"]:
                path = folder / "home" / key.removeprefix("kyc/")
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file("audits", key, str(path))
        return facts

    def with_place_for_another(folder: Path) -> dict[str, Any]:
        (folder / "another-machine").mkdir()
        return story(folder)

    return told_once(shared, "s3", with_place_for_another)


@pytest.fixture(scope="session")
def oss(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        keys = [*KEYS, NEWLINE, LONGEST["oss"], DENIED]
        with running_oss() as store, emulated() as emulators:
            bucket = store.client("kyc-oss")
            bucket.create_bucket()
            for number, key in enumerate(keys):
                bucket.put_object(key, face(number))
            bucket.put_object("selfies/noface.jpg", image("noface"))
            store.fault("kyc-oss", DENIED, "deny")
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                source={
                    "url": "oss://kyc-oss/selfies/",
                    "endpoint_url": store.url,
                    "region": OSS_REGION,
                    "include": ["*"],
                },
                **both(emulators),
            )
            facts = {"audit": facesweep.run("audit", spec, "--yes").as_json()}
            facts["doctor"] = facesweep.run("doctor", spec).as_json()
        return facts

    return told_once(shared, "oss", story)


def scored(home: Path, provider: str) -> list[str]:
    rows = verdict_rows.rows(home)
    return sorted(row["key"] for row in rows if (row["provider"], row["outcome"]) == (provider, "scored"))


@pytest.mark.parametrize("provider", ["tencent", "aliyun"])
def test_every_key_of_an_s3_bucket_is_scored_whatever_it_holds(s3: Telling, provider: str) -> None:
    assert s3["first"]["status"] == 0, s3["first"]["err"]
    assert scored(s3.home, provider) == sorted([*KEYS, LONGEST["s3"], "selfies/new.jpg"])


@pytest.mark.parametrize("provider", ["tencent", "aliyun"])
def test_every_key_of_an_oss_bucket_is_scored_whatever_it_holds(oss: Telling, provider: str) -> None:
    assert oss["audit"]["status"] == 0, oss["audit"]["err"]
    assert scored(oss.home, provider) == sorted([*KEYS, NEWLINE, LONGEST["oss"]])


def test_the_urls_of_a_bucket_hold_its_keys_verbatim(oss: Telling) -> None:
    for row in verdict_rows.rows(oss.home):
        assert row["url"] == f"oss://kyc-oss/{row['key']}"


def test_an_object_that_is_denied_is_unreadable_and_the_run_goes_on(oss: Telling) -> None:
    """Invariant 5 where the store says no: the row has the store's own code, and no call was made."""
    rows = [row for row in verdict_rows.rows(oss.home) if row["key"] == DENIED]
    assert [(row["outcome"], row["reason"], row["attempts"]) for row in rows] == [
        ("unreadable", "AccessDenied", 0)
    ] * 2


def test_a_face_nobody_finds_is_refused_with_the_providers_own_code(oss: Telling) -> None:
    rows = [row for row in verdict_rows.rows(oss.home) if row["key"] == "selfies/noface.jpg"]
    assert {row["provider"]: (row["outcome"], row["reason"]) for row in rows} == {
        "tencent": ("refused", "FailedOperation.IncompleteFace"),
        "aliyun": ("refused", "406"),
    }


def test_doctor_finds_a_working_audit_well(oss: Telling) -> None:
    assert oss["doctor"]["status"] == 0, oss["doctor"]["out"]


def test_a_key_with_control_characters_cannot_write_on_the_terminal(oss: Telling) -> None:
    assert "\nline.jpg" not in oss["audit"]["out"]


def test_planning_leaves_nothing_in_the_bucket_of_the_home(s3: Telling) -> None:
    assert s3["planned"]["status"] == 0
    assert s3["after_plan"] == []


def test_a_home_in_a_bucket_holds_the_layout_and_nothing_else(s3: Telling) -> None:
    folders = {key.split("/")[1] for key in s3["second_kept"]}
    assert folders == {"listings", "plans", "verdicts", "runs"}
    assert "kyc/runs/first.json" in s3["first_kept"]
    assert "kyc/verdicts/provider=tencent/run=first/part-00001.parquet" in s3["first_kept"]


def test_invariant_4_an_audit_from_another_machine_asks_only_what_is_new(s3: Telling) -> None:
    """The home in the bucket is what counts: a machine that has seen nothing subtracts what is answered."""
    assert s3["second"]["status"] == 0, s3["second"]["err"]
    assert s3["first_calls"] == dict.fromkeys(("tencent", "aliyun"), len(KEYS) + 1)
    assert s3["second_calls"] == dict.fromkeys(("tencent", "aliyun"), len(KEYS) + 2)


def test_the_verdicts_of_a_bucket_home_can_be_queried_from_anywhere(s3: Telling) -> None:
    assert s3["sql"]["out"].split() == ['"n"', str(len(KEYS) + 2)]


def test_a_bucket_that_is_gone_ends_the_run_with_a_sentence_for_people(
    tmp_path: Path, prefect_url: str
) -> None:
    """The source itself is in trouble, not one object: the run stops, says so, and stays to be resumed."""
    with running_moto() as moto, emulated() as emulators:
        client = moto.client()
        client.create_bucket(Bucket="kyc")
        client.put_object(Bucket="kyc", Key="a.jpg", Body=face(1))
        facesweep = Facesweep(tmp_path, prefect_url)
        spec = facesweep.spec(
            source={"url": "s3://kyc", "endpoint_url": moto.url},
            tencent={"qps": 50, "endpoint": emulators.tencent_url},
        )
        emulators.script("tencent", fault="code", code="UnauthorizedOperation.Arrears", times=None)
        assert facesweep.run("audit", spec, "--yes").status == 3
        client.delete_object(Bucket="kyc", Key="a.jpg")
        client.delete_bucket(Bucket="kyc")
        ended = facesweep.run("resume", tmp_path / "home")

    assert ended.status in (2, 3), ended.err
    assert "kyc" in ended.err.splitlines()[-1]
    assert "ExceptionGroup" not in ended.err
    assert verdict_rows.rows(tmp_path / "home") == []
