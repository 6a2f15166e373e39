"""`facesweep demo`: the first thing anybody runs, with Prefect's own short-lived server."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from domain.verdicts import Outcome
from tasks.records.schema import VERDICTS
from tests.flows import verdict_rows
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once

TALKATIVE_SERVER = """\
import os, signal, sys

def last_words(number, frame):
    print("Traceback (most recent call last): its database was closed", file=sys.stderr, flush=True)
    os._exit(0)

if "uvicorn" in sys.orig_argv:
    print("INFO: Prefect's server starts", flush=True)
    signal.signal(signal.SIGTERM, last_words)
"""
"""Python reads it when it starts: Prefect's server then speaks where it may and when it is told to end."""


@pytest.fixture(scope="session")
def demo(shared: Path) -> Telling:
    def story(folder: Path) -> dict[str, Any]:
        facesweep = Facesweep(folder)
        facesweep.at_python_start(TALKATIVE_SERVER)
        ended = facesweep.run("demo", "--home", folder / "demo")
        return {
            "demo": ended.as_json(),
            "status": facesweep.run("status", folder / "demo" / "home").as_json(),
            "runs": facesweep.run("runs", folder / "demo" / "home").as_json(),
            "skipped": facesweep.run("skipped", folder / "demo" / "home", "--format", "json").as_json(),
            "skipped_foreign": facesweep.run(
                "skipped", folder / "demo" / "home", "--reason", "too_old"
            ).as_json(),
            "verdicts": facesweep.run(
                "verdicts", folder / "demo" / "home", "--sql", "SELECT count(*) AS n FROM verdicts"
            ).as_json(),
        }

    return told_once(shared, "demo", story)


@pytest.fixture(scope="session")
def home(demo: Telling) -> Path:
    return demo.folder / "demo" / "home"


def test_the_demo_ends_well(demo: Telling) -> None:
    assert demo["demo"]["status"] == 0, demo["demo"]["err"]


def test_invariant_1_every_sample_file_is_in_exactly_one_place(home: Path) -> None:
    """Listed = asked + skipped in the books, and each asked object has one row for each provider."""
    listed = pq.read_table(next((home / "listings").rglob("*.parquet")), partitioning=None)
    skipped = pq.read_table(next((home / "plans").rglob("skipped-*.parquet")), partitioning=None)
    rows = verdict_rows.rows(home)
    (record,) = verdict_rows.records(home)

    assert record["status"] == "done"
    for provider in ("tencent", "aliyun"):
        books = verdict_rows.books(record, provider)
        answered = [row["url"] for row in rows if row["provider"] == provider]
        left_out = [row["url"] for row in skipped.to_pylist() if row["provider"] in (None, provider)]
        assert sorted(answered + left_out) == sorted(map(str, listed["url"].to_pylist()))
        assert books["listed"] == listed.num_rows
        assert books["asked"] == len(answered) == sum(books["outcomes"].values())
        assert (books["balanced"], books["pending"]) == (True, 0)


def test_the_books_count_the_calls_and_their_cost(home: Path) -> None:
    (record,) = verdict_rows.records(home)
    rows = verdict_rows.rows(home)
    for provider in ("tencent", "aliyun"):
        own = [row for row in rows if row["provider"] == provider]
        books = verdict_rows.books(record, provider)
        assert books["calls"] == sum(row["attempts"] + row["throttled"] for row in own)
        assert books["billed"].get("yes") == sum(row["outcome"] == "scored" for row in own)
        assert books["cost"] == pytest.approx(0.10 * books["billed"]["yes"])


@pytest.mark.parametrize("outcome", [Outcome.SCORED, Outcome.REUSED, Outcome.REFUSED, Outcome.UNFIT])
def test_the_sample_shows_each_outcome_for_both_providers(home: Path, outcome: Outcome) -> None:
    assert {row["provider"] for row in verdict_rows.rows(home) if row["outcome"] == outcome} == {
        "tencent",
        "aliyun",
    }


def test_a_copy_is_not_asked_and_says_whose_answer_it_repeats(home: Path) -> None:
    rows = {row["question_id"]: row for row in verdict_rows.rows(home)}
    copies = [row for row in rows.values() if row["outcome"] == "reused"]
    for copy in copies:
        original = rows[copy["reused_from"]]
        assert (original["outcome"], original["content_sha256"]) == ("scored", copy["content_sha256"])
        assert (copy["attempts"], copy["billed"], copy["cost"]) == (0, "no", 0.0)
        assert (copy["risk"], copy["tags"]) == (original["risk"], original["tags"])
    assert len(copies) == 2


def test_what_an_emulator_said_is_marked_as_simulated(demo: Telling, home: Path) -> None:
    (record,) = verdict_rows.records(home)
    assert record["simulated"] is True
    assert "simulated" in demo["demo"]["out"]


def test_pyarrow_reads_the_verdicts_with_the_columns_and_types_of_the_contract(home: Path) -> None:
    table = ds.dataset(home / "verdicts", format="parquet").to_table()
    assert table.schema.names == VERDICTS.names
    assert [field.type for field in table.schema] == [field.type for field in VERDICTS]
    assert table.num_rows == len(verdict_rows.rows(home))


def test_pandas_reads_the_verdicts(home: Path) -> None:
    frame = pd.read_parquet(home / "verdicts", partitioning=None)
    assert list(frame.columns) == VERDICTS.names
    assert str(frame["asked_at"].dtype) == "datetime64[us, UTC]"
    assert set(frame["outcome"]) == {"scored", "reused", "refused", "unfit"}


def test_duckdb_reads_the_verdicts_with_lists_maps_and_times(home: Path) -> None:
    with duckdb.connect() as connection:
        columns = connection.execute(f"DESCRIBE SELECT * FROM '{home}/verdicts/*/*/*.parquet'").fetchall()
    types = {name: kind for name, kind, *_ in columns}
    assert types["tags"] == "VARCHAR[]"
    assert types["scores"] == "MAP(VARCHAR, DOUBLE)"
    assert types["settled_at"] == "TIMESTAMP WITH TIME ZONE"
    assert types["size_bytes"] == "BIGINT"


def test_scores_are_on_the_providers_own_scale_and_come_with_the_raw_reply(home: Path) -> None:
    for row in verdict_rows.rows(home):
        if row["outcome"] == "scored":
            assert row["risk"] in ("low", "mid", "high")
            assert row["raw"]
            assert row["request_id"]
            assert row["endpoint"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("command", ["demo", "status", "verdicts"])
def test_nothing_but_facesweeps_own_words_reaches_the_terminal(demo: Telling, command: str) -> None:
    """No traceback, no log of Prefect's or its server's, no complaint of a library at the process's end."""
    printed = demo[command]["out"] + demo[command]["err"]
    for noise in ("Traceback", "INFO:", "prefect.", "nanobind", "leaked", "Warning", " | ERROR", " | INFO"):
        assert noise not in printed


def test_a_prefect_server_that_does_not_start_is_quoted_with_its_last_words(tmp_path: Path) -> None:
    """One sentence, without the traceback it ended with and without the password of its database."""
    facesweep = Facesweep(tmp_path)
    facesweep.at_python_start(
        "import os, sys\n"
        "if 'uvicorn' in sys.orig_argv:\n"
        "    os.write(2, b'OSError: no database at postgresql://prefect:geheim@db/prefect\\n\\n')\n"
        "    os._exit(7)\n"
    )
    (tmp_path / "source").mkdir()
    ended = facesweep.run("audit", facesweep.spec(source={"url": "source"}, tencent={}), "--yes")
    assert ended.status == 1
    assert ended.err.splitlines()[-1] == (
        "facesweep: Prefect's server did not start (exit status 7: "
        "OSError: no database at postgresql://…@db/prefect)"
    )
    assert not any("OSError" in line for line in ended.err.splitlines()[:-1])


def test_a_query_prints_its_rows_and_nothing_else(demo: Telling, home: Path) -> None:
    assert demo["verdicts"]["status"] == 0
    assert demo["verdicts"]["out"].splitlines()[1:] == [str(len(verdict_rows.rows(home)))]


@pytest.mark.parametrize(("suffix", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_the_time_between_two_moments_can_be_queried(
    home: Path, tmp_path: Path, suffix: str, read: Callable[[Path], pd.DataFrame]
) -> None:
    """An interval is text as ISO 8601 has it, which pandas reads as a length of time."""
    sql = "SELECT settled_at - asked_at AS took, settled_at, asked_at FROM verdicts WHERE outcome = 'scored'"
    file = tmp_path / f"took.{suffix}"
    ended = subprocess.run(
        [sys.executable, "-m", "flows", "verdicts", str(home), "--sql", sql, "--output", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = read(file)
    settled, asked = (pd.to_datetime(rows[name], format="ISO8601") for name in ("settled_at", "asked_at"))
    assert list(pd.to_timedelta(rows["took"])) == list(settled - asked)
    assert len(rows) > 0


@pytest.mark.parametrize("command", [["runs"], ["verdicts", "--sql", "SELECT * FROM verdicts"]])
def test_whoever_reads_only_the_beginning_ends_a_command_in_peace(home: Path, command: list[str]) -> None:
    """As `| head -1` does: no complaint, and no status of a failure."""
    name, *options = command
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", name, str(home), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_the_demo_says_where_everything_lies_and_what_to_try_next(demo: Telling, home: Path) -> None:
    assert f"facesweep status {home}" in demo["demo"]["out"]
    assert f"facesweep verdicts {home} --sql" in demo["demo"]["out"]


def test_the_status_of_a_home_shows_the_books(demo: Telling) -> None:
    assert demo["status"]["status"] == 0
    assert "listed = " in demo["status"]["out"]
    assert "0 pending" in demo["status"]["out"]


def test_the_files_of_the_home_are_plain_parquet_and_json(home: Path) -> None:
    """No leftover of a run under way: readers of the layout see whole files only."""
    for path in home.rglob("*"):
        relative = path.relative_to(home)
        if path.is_file() and not relative.parts[0].startswith("."):
            assert path.suffix in (".parquet", ".json"), relative
    assert not list((home / ".staging").iterdir())


def test_the_command_and_the_module_are_the_same() -> None:
    command = Path(sys.executable).parent / "facesweep"
    said = [
        subprocess.run([*called, "--version"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        for called in ([str(command)], [sys.executable, "-m", "flows"])
    ]
    assert said[0] == said[1]


ROOT = Path(__file__).resolve().parents[2]


def test_runs_lists_each_run_in_one_line(demo: Telling, home: Path) -> None:
    (record,) = verdict_rows.records(home)
    (line,) = [line for line in demo["runs"]["out"].splitlines() if record["run_id"] in line]
    assert "done" in line
    assert f"{sum(books['calls'] for books in record['books']):,}" in line


def test_every_skipped_object_is_listed_with_its_reason(demo: Telling, home: Path) -> None:
    (record,) = verdict_rows.records(home)
    rows = [json.loads(line) for line in demo["skipped"]["out"].splitlines()]
    for books in record["books"]:
        counted = Counter(row["reason"] for row in rows if row["provider"] in (None, books["provider"]))
        assert counted == books["skipped"]
    assert all(row["url"].startswith("file://") for row in rows)


def test_a_reason_that_no_object_has_is_an_error_that_names_those_there_are(demo: Telling) -> None:
    assert demo["skipped_foreign"]["status"] == 2
    assert "its reasons are: excluded, not_media, too_small" in demo["skipped_foreign"]["err"]
