"""Audits of what an inventory names instead of what a listing finds."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.contract.store_servers import running_moto
from tests.flows import verdict_rows
from tests.flows.faces import both, emulated, face, folder_of_faces, totals
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.inventory_files import Row, csv_part, manifest_of

KEYS = ["selfies/plain.jpg", "selfies/a b+c.jpg", "selfies/客户/%2F.jpg", 'selfies/quote".jpg']
MANIFEST = "daily/kyc/2026-11-20T01-00Z/manifest.json"
PART = "daily/kyc/data/1.csv.gz"


@pytest.fixture(scope="session")
def s3_inventory(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        with running_moto() as moto, emulated() as emulators:
            client = moto.client()
            for bucket in ("kyc", "inv"):
                client.create_bucket(Bucket=bucket)
            rows = [
                Row("receipts/1.jpg"),
                Row("selfies/deleted.jpg", is_delete_marker=True, size="", etag=""),
            ]
            for number, key in enumerate(KEYS):
                etag = client.put_object(Bucket="kyc", Key=key, Body=face(number))["ETag"].strip('"')
                size = str(len(face(number)))
                rows.append(Row(key, version_id=f"v{number}", size=size, etag=etag))
                rows.append(Row(key, version_id="before", is_latest=False))
            part = csv_part(rows)
            client.put_object(Bucket="inv", Key=PART, Body=part)
            client.put_object(Bucket="inv", Key=MANIFEST, Body=json.dumps(manifest_of({PART: part})).encode())

            facesweep = Facesweep(folder, prefect_url)
            source = {"url": "s3://kyc/selfies/", "endpoint_url": moto.url}
            inventoried = {**source, "inventory": f"s3://inv/{MANIFEST}"}
            spec = facesweep.spec("inventoried", source=inventoried, **both(emulators))
            facts: dict[str, Any] = {
                "first": facesweep.run("audit", spec, "--run-id", "first", "--yes").as_json(),
                "first_calls": totals(emulators),
            }
            client.put_object(Bucket="kyc", Key="selfies/new.jpg", Body=face(100))
            spec = facesweep.spec("listed", source=source, **both(emulators))
            facts["second"] = facesweep.run("audit", spec, "--run-id", "second", "--yes").as_json()
            facts["second_calls"] = totals(emulators)
        return facts

    return told_once(shared, "s3-inventory", story)


@pytest.fixture(scope="session")
def csv_list(shared: Path, prefect_url: str) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        source = folder_of_faces(folder / "source", 4)
        lines = [
            f"{source}/000.jpg,u-0042,north",
            "001.jpg,u-0043,south",
            "./002.jpg,,north",
            "never.jpg,u-0044,north",
            "000.jpg,u-0042,north",
        ]
        (folder / "today.csv").write_text("\n".join(["picture,user,branch", *lines]))
        with emulated() as emulators:
            facesweep = Facesweep(folder, prefect_url)
            spec = facesweep.spec(
                source={"url": "source", "inventory": "today.csv"},
                **{"source.columns": {"url": "picture", "subject_id": "user", "stratum": "branch"}},
                **both(emulators),
            )
            return {
                "audit": facesweep.run("audit", spec, "--run-id", "r1", "--yes").as_json(),
                "calls": totals(emulators),
            }

    return told_once(shared, "csv-list", story)


def test_every_object_an_inventory_names_is_scored(s3_inventory: Telling) -> None:
    assert s3_inventory["first"]["status"] == 0, s3_inventory["first"]["err"]
    rows = verdict_rows.rows(s3_inventory.home, "first")
    assert sorted((row["key"], row["provider"], row["outcome"]) for row in rows) == sorted(
        (key, provider, "scored") for key in KEYS for provider in ("aliyun", "tencent")
    )
    assert s3_inventory["first_calls"] == dict.fromkeys(("tencent", "aliyun"), len(KEYS))


def test_invariant_4_what_an_inventory_named_is_not_asked_again_when_it_is_listed(
    s3_inventory: Telling,
) -> None:
    assert s3_inventory["second"]["status"] == 0, s3_inventory["second"]["err"]
    assert s3_inventory["second_calls"] == dict.fromkeys(("tencent", "aliyun"), len(KEYS) + 1)


def test_invariant_1_every_row_of_an_inventory_is_accounted_for(s3_inventory: Telling) -> None:
    """The home keeps what was left out and why; what is listed goes into the run's books."""
    kept = json.loads((s3_inventory.home / "listings/run=first/inventory.json").read_text())

    assert kept == {
        "inventory": f"s3://inv/{MANIFEST}",
        "made_at": "2025-11-20T12:00:00+00:00",
        "parts": 1,
        "rows": 2 + 2 * len(KEYS),
        "listed": len(KEYS),
        "left_out": {"outside_prefix": 1, "delete_marker": 1, "older_version": len(KEYS)},
        "looked_up": 0,
        "absent": {},
    }
    record = verdict_rows.records(s3_inventory.home)[0]
    assert verdict_rows.books(record)["listed"] == kept["listed"]


def test_a_plan_says_what_an_inventory_leaves_out(s3_inventory: Telling) -> None:
    assert (
        f"inventory: {2 + 2 * len(KEYS)} rows; left out, delete_marker: 1, older_version: {len(KEYS)}, "
        "outside_prefix: 1" in s3_inventory["first"]["err"]
    )


def test_the_subject_of_a_list_is_in_the_verdict(csv_list: Telling) -> None:
    assert csv_list["audit"]["status"] == 0, csv_list["audit"]["err"]
    rows = [row for row in verdict_rows.rows(csv_list.home) if row["provider"] == "tencent"]
    assert [(row["key"], row["subject_id"], row["stratum"], row["outcome"]) for row in rows] == [
        ("000.jpg", "u-0042", "north", "scored"),
        ("001.jpg", "u-0043", "south", "scored"),
        ("002.jpg", None, "north", "scored"),
    ]


def test_what_a_list_names_and_is_not_there_is_skipped_as_gone(csv_list: Telling) -> None:
    """As is what it names twice. Each line of the list is in one place."""
    [skipped] = (csv_list.home / "plans/run=r1").glob("skipped-*.parquet")
    rows = pq.ParquetFile(skipped).read().to_pylist()

    assert sorted((row["key"], row["reason"]) for row in rows) == [
        ("000.jpg", "listed_twice"),
        ("never.jpg", "gone"),
    ]
    [record] = verdict_rows.records(csv_list.home)
    assert verdict_rows.books(record)["listed"] == 5
    assert csv_list["calls"] == {"tencent": 3, "aliyun": 3}


def test_only_what_is_listed_is_asked_about(csv_list: Telling) -> None:
    """`003.jpg` lies in the source and is in no list."""
    assert "003.jpg" not in {row["key"] for row in verdict_rows.rows(csv_list.home)}
