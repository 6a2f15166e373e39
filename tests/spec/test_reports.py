"""The report: what the verdicts say, counted, and SQL over them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from domain.errors import UsageError
from domain.verdicts import Outcome, Provider, Risk, Verdict
from tasks.records.schema import VERDICTS, table_of
from tasks.reports.findings import SUSPECTS, find
from tasks.reports.query import select
from tests.spec.test_journal import a_verdict


def verdict(number: int, outcome: Outcome = Outcome.SCORED, **changes: Any) -> Verdict:
    """A row as it would be published; without a verdict it has no risk and a reason."""
    row = replace(a_verdict(number), outcome=outcome)
    if outcome not in (Outcome.SCORED, Outcome.REUSED):
        row = replace(row, risk=None, risk_raw=None, tags=(), reason="a_reason")
    return replace(row, **changes)


def part(folder: Path, *rows: Verdict, name: str = "part-00001.parquet") -> Path:
    path = folder / "verdicts" / "provider=tencent" / "run=r" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(rows), path)
    return path


# --- findings ---


def test_nothing_is_found_where_nothing_is_published() -> None:
    found = find([])
    assert (found.risks, found.reasons, found.suspects) == ({}, (), ())


def test_a_part_without_rows_says_nothing(tmp_path: Path) -> None:
    found = find([part(tmp_path)])
    assert (found.risks, found.reasons, found.suspects) == ({}, (), ())


def test_risks_are_counted_for_each_provider_and_never_together(tmp_path: Path) -> None:
    found = find(
        [
            part(
                tmp_path,
                verdict(1, risk="high"),
                verdict(2, risk="high"),
                verdict(3, risk="low"),
                verdict(4, risk="mid", provider="aliyun"),
            )
        ]
    )
    assert found.risks == {
        Provider.TENCENT: {Risk.LOW: 1, Risk.MID: 0, Risk.HIGH: 2},
        Provider.ALIYUN: {Risk.LOW: 0, Risk.MID: 1, Risk.HIGH: 0},
    }


def test_a_copy_counts_like_the_row_it_repeats(tmp_path: Path) -> None:
    found = find([part(tmp_path, verdict(1, risk="high"), verdict(2, Outcome.REUSED, risk="high"))])
    assert found.risks[Provider.TENCENT][Risk.HIGH] == 2
    assert len(found.suspects) == 2


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNFIT, Outcome.UNREADABLE, Outcome.FAILED])
def test_what_has_no_verdict_is_told_with_its_reason_and_an_example(tmp_path: Path, outcome: Outcome) -> None:
    found = find([part(tmp_path, verdict(1, outcome), verdict(2, outcome), verdict(3))])
    (reason,) = found.reasons
    assert (reason.provider, reason.outcome, reason.reason, reason.count) == (
        Provider.TENCENT,
        outcome,
        "a_reason",
        2,
    )
    assert reason.example_url in (verdict(1).url, verdict(2).url)


def test_the_most_frequent_reason_comes_first(tmp_path: Path) -> None:
    rows = [verdict(number, Outcome.UNFIT, reason="often") for number in range(3)]
    found = find([part(tmp_path, verdict(9, Outcome.UNFIT, reason="once"), *rows)])
    assert [(each.reason, each.count) for each in found.reasons] == [("often", 3), ("once", 1)]


def test_high_comes_before_mid_and_low_is_no_suspect(tmp_path: Path) -> None:
    rows = verdict(1, risk="mid"), verdict(2, risk="low"), verdict(3, risk="high", tags=("synthesis",))
    found = find([part(tmp_path, *rows)])
    assert [(each.url, each.risks) for each in found.suspects] == [
        (verdict(3).url, {Provider.TENCENT: Risk.HIGH}),
        (verdict(1).url, {Provider.TENCENT: Risk.MID}),
    ]
    assert found.suspects[0].tags == ("synthesis",)


def test_an_object_both_providers_suspect_is_one_suspect_and_comes_first(tmp_path: Path) -> None:
    """What each of them says stands side by side; no score of theirs is mixed."""
    other = verdict(2, risk="high", tags=("synthesis",), provider="tencent")
    both = verdict(1, risk="high", tags=("composite",)), verdict(1, risk="high", tags=("template",))
    found = find([part(tmp_path, other, both[0], replace(both[1], provider="aliyun"))])
    assert [each.url for each in found.suspects] == [verdict(1).url, verdict(2).url]
    assert found.suspects[0].risks == {Provider.TENCENT: Risk.HIGH, Provider.ALIYUN: Risk.HIGH}
    assert sorted(found.suspects[0].tags) == ["composite", "template"]


def test_a_summary_names_a_handful_of_suspects_and_counts_them_all(tmp_path: Path) -> None:
    found = find([part(tmp_path, *(verdict(number, risk="high") for number in range(SUSPECTS + 5)))])
    assert len(found.suspects) == SUSPECTS
    assert found.risks[Provider.TENCENT][Risk.HIGH] == SUSPECTS + 5


def test_parts_of_several_runs_are_counted_together(tmp_path: Path) -> None:
    parts = [part(tmp_path, verdict(number), name=f"part-0000{number}.parquet") for number in (1, 2)]
    assert sum(find(parts).risks[Provider.TENCENT].values()) == 2


# --- SQL ---


def test_the_view_has_the_columns_and_types_of_the_contract(tmp_path: Path) -> None:
    table = select([part(tmp_path, verdict(1))], "SELECT * FROM verdicts").read_all()
    assert table.schema.names == VERDICTS.names
    assert str(table.schema.field("settled_at").type) == "timestamp[us, tz=UTC]"


def test_a_query_sees_every_part_once(tmp_path: Path) -> None:
    parts = [part(tmp_path, verdict(number), name=f"part-0000{number}.parquet") for number in (1, 2, 3)]
    table = select(parts, "SELECT count(*) AS n, count(DISTINCT question_id) AS q FROM verdicts").read_all()
    assert table.to_pylist() == [{"n": 3, "q": 3}]


def test_a_folder_with_a_quote_in_its_name_is_only_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "o'brien; DROP VIEW verdicts"
    table = select([part(folder, verdict(1))], "SELECT count(*) AS n FROM verdicts").read_all()
    assert table.to_pylist() == [{"n": 1}]


@pytest.mark.parametrize("name", ["[x]", "*", "a?b", "{1,2}"])
def test_a_folder_that_looks_like_a_pattern_is_only_a_name(tmp_path: Path, name: str) -> None:
    table = select([part(tmp_path / name, verdict(1))], "SELECT count(*) AS n FROM verdicts").read_all()
    assert table.to_pylist() == [{"n": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW verdicts",
        "SELECT 1; SELECT 2",
        "COPY verdicts TO '{folder}/stolen.csv'",
        "INSERT INTO verdicts SELECT * FROM verdicts",
        "ATTACH '{folder}/other.db'",
        "SET memory_limit = '1GB'",
        "",
    ],
)
def test_anything_but_one_select_is_refused(tmp_path: Path, sql: str) -> None:
    with pytest.raises(UsageError, match="--sql"):
        select([part(tmp_path, verdict(1))], sql.format(folder=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["verdicts"]


@pytest.mark.parametrize("sql", ["SELEKT 1", "SELECT nothing FROM verdicts", "SELECT * FROM verdict"])
def test_a_query_that_is_wrong_is_answered_with_one_sentence(tmp_path: Path, sql: str) -> None:
    with pytest.raises(UsageError, match=r"^--sql: ") as caught:
        select([part(tmp_path, verdict(1))], sql)
    assert "\n" not in str(caught.value)


def test_a_query_over_nothing_says_that_nothing_is_published() -> None:
    with pytest.raises(UsageError, match="no verdicts are published here yet"):
        select([], "SELECT 1")


def test_a_query_may_join_a_file_of_the_analysts_own(tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps([{"url": verdict(1).url, "label": "fraud"}]))
    sql = f"SELECT label FROM verdicts JOIN '{labels}' USING (url)"
    assert select([part(tmp_path, verdict(1), verdict(2))], sql).read_all().to_pylist() == [
        {"label": "fraud"}
    ]


def test_a_part_that_is_damaged_is_named_in_a_sentence(tmp_path: Path) -> None:
    """A part that a disk has torn: the analyst hears which one, not a traceback."""
    path = part(tmp_path, verdict(1))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="part-00001"):
        select([path], "SELECT 1 FROM verdicts")
