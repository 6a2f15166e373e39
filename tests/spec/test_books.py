"""The books: the columns people rely on, the run's record, and the balance."""

import dataclasses
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from domain.budgets import Budget, BudgetChange
from domain.errors import UsageError
from domain.runs import Balance, RunStatus
from domain.verdicts import Billed, Outcome, Provider, Verdict
from tasks.records import run_record
from tasks.records.balance import Tally, as_planned, balance_of, explain, over_budget
from tasks.records.home import Home
from tasks.records.run_record import RunRecord, books_of, clean_spec
from tasks.records.schema import VERDICTS, table_of
from tests.spec.test_journal import RUN, a_verdict

# The published contract, word for word.
COLUMNS = """
run_id, audit, question_id, url, store, bucket, key, version_id, etag, size_bytes, last_modified,
media (image|video|other), content_sha256, provider, action, outcome, reason, message, risk
(low|mid|high), risk_raw, tags list<string>, tags_raw list<string>, scores map<string,double>,
template_group, template_similarity, delivery (base64|url|encrypted), preparation, sent_sha256,
sent_bytes, endpoint, request_id, order_no, attempts, throttled, latency_ms, asked_at, settled_at,
billed (yes|no|unknown), cost, reused_from, raw (the reply's JSON), schema_version, mapping_version,
code_version, asked_because, subject_id, stratum, weight, signals_from (object|parts), aigc_label,
aigc_producer, aigc_raw, source_type, c2pa (present|valid|trusted|invalid), camera, software, encoder,
perceptual_hash, perceptual_quality
"""


def documented_columns() -> list[str]:
    plain = re.sub(r"\([^)]*\)|list<string>|map<string,double>", "", COLUMNS)
    return [name.strip() for name in plain.split(",")]


def test_the_documented_columns_are_the_fields_of_a_verdict_and_the_schema() -> None:
    """In the same order; the order is part of the contract."""
    assert [field.name for field in dataclasses.fields(Verdict)] == documented_columns()
    assert VERDICTS.names == documented_columns()


def test_columns_have_plain_types_that_every_reader_knows() -> None:
    kinds = {field.name: str(field.type) for field in VERDICTS}
    special = {
        "tags": "list<item: string>",
        "tags_raw": "list<item: string>",
        "scores": "map<string, double>",
        "template_similarity": "double",
        "latency_ms": "double",
        "cost": "double",
        "weight": "double",
        "provider": "dictionary<values=string, indices=int32, ordered=0>",
        **dict.fromkeys(("last_modified", "asked_at", "settled_at"), "timestamp[us, tz=UTC]"),
        **dict.fromkeys(
            (
                "size_bytes",
                "sent_bytes",
                "attempts",
                "throttled",
                "schema_version",
                "mapping_version",
                "perceptual_quality",
            ),
            "int64",
        ),
    }
    got = {name: kind.replace(" ('scores')", "") for name, kind in kinds.items()}
    assert got == {name: special.get(name, "string") for name in documented_columns()}


def test_only_what_may_be_absent_is_nullable() -> None:
    assert not VERDICTS.field("outcome").nullable
    assert VERDICTS.field("risk").nullable
    with pytest.raises(pa.ArrowException):
        table_of([a_verdict(1, size_bytes="many")])


# --- balance

PLANNED = Balance(Provider.TENCENT, listed=1000, skipped={"not_media": 100, "out_of_sample": 50}, asked=850)
TALLY = Tally(
    outcomes={Outcome.SCORED: 800, Outcome.FAILED: 20, Outcome.REUSED: 0},
    billed={Billed.YES: 800, Billed.UNKNOWN: 20},
    calls=830,
    charged=810,
    throttled=7,
    cost=400.0,
)


def test_invariant_1_every_listed_object_is_in_one_place_and_every_question_too() -> None:
    balance = balance_of(PLANNED, TALLY)
    assert balance.is_balanced
    assert balance.pending == 30
    assert explain(balance) == [
        "tencent: 1,000 listed = 850 asked + 100 skipped (not_media) + 50 skipped (out_of_sample)",
        "tencent: 850 asked = 800 scored + 20 failed + 30 pending",
    ]


@pytest.mark.parametrize(
    ("listed", "said"), [(1003, "3 listed but in no place"), (998, "2 in more than one place")]
)
def test_a_listing_that_does_not_balance_says_so(listed: int, said: str) -> None:
    balance = balance_of(dataclasses.replace(PLANNED, listed=listed), TALLY)
    assert not balance.is_balanced
    assert explain(balance)[0].endswith(f": does not balance, {said}")


def test_invariant_1_what_a_spent_budget_left_unasked_has_its_place_in_the_books() -> None:
    balance = over_budget(balance_of(PLANNED, TALLY))
    assert (balance.asked, balance.over_budget, balance.pending) == (820, 30, 0)
    assert balance.is_balanced
    assert explain(balance) == [
        "tencent: 1,000 listed = 820 asked + 30 over budget + 100 skipped (not_media) + "
        "50 skipped (out_of_sample)",
        "tencent: 820 asked = 800 scored + 20 failed + 0 pending",
    ]
    assert as_planned(balance) == balance_of(PLANNED, TALLY)


def test_more_rows_than_questions_do_not_balance() -> None:
    balance = balance_of(Balance(Provider.ALIYUN, 5, {}, 5), Tally({Outcome.SCORED: 6}))
    assert not balance.is_balanced
    assert explain(balance)[1] == (
        "aliyun: 5 asked = 6 scored + 0 pending: does not balance, 1 final rows more than questions"
    )


# --- the run's record


def a_record(run_id: str = RUN, **changes: object) -> RunRecord:
    spec, spec_sha256 = clean_spec({"audit": {"name": "kyc-nightly"}})
    moment = datetime(2026, 11, 20, 18, 7, 12, tzinfo=UTC)
    record = RunRecord(
        run_id=run_id,
        audit="kyc-nightly",
        status=RunStatus.RUNNING,
        spec=spec,
        spec_sha256=spec_sha256,
        versions={"facesweep": "0.1.0", "python": "3.11.7", "schema": 1},
        started_at=moment,
        updated_at=moment,
        books=(books_of(PLANNED, TALLY),),
        simulated=True,
        processing_record={"purpose": "fraud prevention"},
        budget=Budget(calls=1000, until=moment),
        budget_history=(BudgetChange(moment, "ops@audit-1", Budget(calls=1000, until=moment)),),
        retry_of="20261119T180712Z-0001",
    )
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


def test_a_run_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    run_record.save(home, a_record())
    loaded = run_record.load(home, RUN)
    (books,) = loaded.books
    assert loaded == a_record(books=(dataclasses.replace(a_record().books[0], balance=books.balance),))
    assert books.balance == Balance(
        Provider.TENCENT, 1000, PLANNED.skipped, 850, {Outcome.SCORED: 800, Outcome.FAILED: 20}
    )


def test_a_run_record_is_json_that_other_programs_can_read(tmp_path: Path) -> None:
    path = run_record.save(Home.local(tmp_path), a_record())
    assert path == tmp_path / "runs" / f"{RUN}.json"
    document = json.loads(path.read_text())
    assert document["record_version"] == 1
    assert document["status"] == "running"
    assert document["started_at"] == "2026-11-20T18:07:12+00:00"
    assert document["ended_at"] is None
    in_force = {"calls": 1000, "money": None, "until": "2026-11-20T18:07:12+00:00"}
    assert document["budget"] == in_force
    assert document["budget_history"] == [
        {"set_at": "2026-11-20T18:07:12+00:00", "set_by": "ops@audit-1", **in_force}
    ]
    assert document["books"] == [
        {
            "provider": "tencent",
            "listed": 1000,
            "skipped": {"not_media": 100, "out_of_sample": 50},
            "asked": 850,
            "over_budget": 0,
            "outcomes": {"scored": 800, "failed": 20},
            "handed_over": 0,
            "pending": 30,
            "balanced": True,
            "calls": 830,
            "charged": 810,
            "throttled": 7,
            "billed": {"yes": 800, "unknown": 20},
            "cost": 400.0,
            "cap_per_s": None,
            "rate_per_s": None,
        }
    ]


def test_fields_of_a_newer_version_are_kept_and_missing_ones_default(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    document = run_record.to_json(a_record())
    del document["simulated"], document["retry_of"], document["budget"], document["budget_history"]
    home.write_json(f"runs/{RUN}.json", {**document, "reviewed_by": "somebody"})
    record = run_record.load(home, RUN)
    assert (record.simulated, record.retry_of) == (False, None)
    assert (record.budget, record.budget_history) == (None, ())
    run_record.save(home, record)
    assert home.read_json(f"runs/{RUN}.json")["reviewed_by"] == "somebody"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"record_version": 2}, "newer"), ({"status": "dancing"}, "dancing"), ({"spec": None}, "")],
)
def test_a_record_that_cannot_be_understood_is_named(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    home = Home.local(tmp_path)
    document = {**run_record.to_json(a_record()), **change}
    if change.get("spec", "") is None:
        del document["spec"]
    home.write_json(f"runs/{RUN}.json", document)
    with pytest.raises(UsageError, match=rf"runs/{RUN}\.json.*{said}"):
        run_record.load(home, RUN)


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    assert run_record.list_runs(home) == []
    later = datetime(2026, 11, 21, tzinfo=UTC)
    run_record.save(home, a_record("a-later-run", started_at=later))
    run_record.save(home, a_record("b-earlier-run"))
    assert [run.run_id for run in run_record.list_runs(home)] == ["b-earlier-run", "a-later-run"]


def test_no_credential_of_a_spec_reaches_its_record() -> None:
    """A password in a url and the signature of a presigned one are left out."""
    spec, spec_sha256 = clean_spec(
        {
            "source": {
                "url": "s3://kyc-archive/what?#/",
                "endpoint_url": "https://user:secret@minio.example:9000",
                "inventory": "https://b.example/manifest.json?X-Amz-Signature=secret",
                "modified_after": datetime(2024, 1, 1, tzinfo=UTC),
                "include": ("*.jpg",),
            }
        }
    )
    assert spec == {
        "source": {
            "url": "s3://kyc-archive/what?#/",
            "endpoint_url": "https://minio.example:9000",
            "inventory": "https://b.example/manifest.json",
            "modified_after": "2024-01-01T00:00:00+00:00",
            "include": ["*.jpg"],
        }
    }
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    assert spec_sha256 == hashlib.sha256(canonical.encode()).hexdigest()
