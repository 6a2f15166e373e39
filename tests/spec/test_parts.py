"""Publishing: each answer in exactly one part, each part whole or absent, whatever is killed."""

import asyncio
import contextlib
import functools
import os
import resource
import secrets
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from domain.verdicts import Outcome, Provider, Verdict
from tasks.records import parts
from tasks.records.home import Home, HomeUnwritable
from tasks.records.journal import Journal, JournalFailed
from tasks.records.schema import VERDICTS, table_of
from tests.spec.test_journal import ALIYUN, RUN, TENCENT, a_verdict, child, content, question

ROWS, MAX_ROWS = 25, 10  # three parts, the last one smaller
STEPS = ["assigned", "written", "adopted", "marked", "pruned"]


class FolderBlobs:
    """A bucket that is a folder, and can end its process once an upload is complete."""

    def __init__(self, folder: Path, after_put: Callable[[], None] = lambda: None) -> None:
        self.folder, self._after_put = folder, after_put

    def put_file(self, key: str, path: Path) -> None:
        (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
        aside = self.folder.with_name(f"{self.folder.name}-{secrets.token_hex(8)}")
        shutil.copy(path, aside)
        aside.replace(self.folder / key)
        self._after_put()

    def get_file(self, key: str, path: Path) -> None:
        shutil.copy(self.folder / key, path)

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        for each in sorted(self.folder.rglob("*")):
            key = each.relative_to(self.folder).as_posix()
            with contextlib.suppress(FileNotFoundError):  # deleted by another process
                if key.startswith(prefix) and not each.is_dir():
                    yield key, each.stat().st_size

    def delete_file(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)


async def settle(home: Home, *verdicts: Verdict) -> None:
    async with Journal(home.journal_path(RUN), RUN) as journal:
        await asyncio.gather(*(journal.settle(each) for each in verdicts))


async def publish(home: Home, provider: Provider = TENCENT, **options: Any) -> list[Path]:
    options = {"max_rows": MAX_ROWS, **options}
    async with Journal(home.journal_path(RUN), RUN) as journal:
        return await parts.publish(journal, home, provider, **options)


def ids_by_reader(verdicts: Path) -> dict[str, list[str]]:
    """The published question ids, sorted, as each of the analysts' readers sees them."""
    glob = str(verdicts / "**" / "*.parquet")
    frame = pd.read_parquet(verdicts, partitioning=None)
    dataset = ds.dataset(verdicts, format="parquet")
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT question_id FROM read_parquet(?)", [glob]).fetchall()
    return {
        "pandas": sorted(frame["question_id"]),
        "pyarrow": sorted(map(str, dataset.to_table(["question_id"]).column(0).to_pylist())),
        "duckdb": sorted(row[0] for row in rows),
    }


ALL = sorted(question(number) for number in range(ROWS))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def publish_and_die_at(root: str, step: str, part: str) -> None:
    """Publishes; at the named step of the named part the process kills itself."""
    seen: Counter[str] = Counter()

    def at_step(reached: str) -> None:
        seen[reached] += 1
        if reached == step and seen[reached] == int(part):
            _die()

    asyncio.run(publish(Home.local(Path(root)), at_step=at_step))


def publish_and_die_after_upload(root: str) -> None:
    asyncio.run(publish(a_bucket_home(Path(root), after_put=_die)))


def a_bucket_home(root: Path, after_put: Callable[[], None] = lambda: None) -> Home:
    return Home.in_bucket(FolderBlobs(root / "bucket", after_put), "audits/kyc", root / "mirror")


@pytest.mark.parametrize("step", STEPS)
def test_publishing_killed_at_any_step_ends_with_each_answer_once(tmp_path: Path, step: str) -> None:
    """Readers see whole parts only, after the kill and after the resumed run."""
    part = 2
    home = Home.local(tmp_path)
    asyncio.run(settle(home, *(a_verdict(number) for number in range(ROWS))))

    with child("tests.spec.test_parts.publish_and_die_at", tmp_path, step, part) as process:
        pass
    assert process.returncode == -signal.SIGKILL
    found = home.paths("verdicts/**/*")
    adopted = part - 1 if STEPS.index(step) < STEPS.index("adopted") else part
    assert [pq.read_table(each).num_rows for each in found] == [10, 10, 5][:adopted]

    asyncio.run(publish(home))
    assert ids_by_reader(tmp_path / "verdicts") == dict.fromkeys(("pandas", "pyarrow", "duckdb"), ALL)
    assert [each.name for each in home.paths("verdicts/**/*")] == [
        "part-00001.parquet",
        "part-00002.parquet",
        "part-00003.parquet",
    ]
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_kill_between_upload_and_mirror_repeats_the_same_object(tmp_path: Path) -> None:
    asyncio.run(settle(a_bucket_home(tmp_path), *(a_verdict(number) for number in range(5))))
    with child("tests.spec.test_parts.publish_and_die_after_upload", tmp_path) as process:
        pass
    assert process.returncode == -signal.SIGKILL
    (uploaded,) = (each for each in (tmp_path / "bucket").rglob("*") if each.is_file())
    first = uploaded.read_bytes()

    home = a_bucket_home(tmp_path)
    (mirrored,) = asyncio.run(publish(home))

    assert uploaded.read_bytes() == first == mirrored.read_bytes()
    assert home.names("verdicts") == [
        f"verdicts/provider=tencent/run={RUN}/part-00001.parquet",
    ]


def test_readers_never_see_a_partial_file_while_parts_appear(tmp_path: Path) -> None:
    """Three readers read on and on while twenty parts are published; each sees whole parts only."""
    home = Home.local(tmp_path)
    asyncio.run(settle(home, *(a_verdict(number) for number in range(20))))
    over = threading.Event()
    counts: list[int] = []
    troubles: list[BaseException] = []

    def read_on() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(over.set)
            try:
                while not over.is_set():
                    if any((tmp_path / "verdicts").glob("**/*.parquet")):
                        counts.extend(len(ids) for ids in ids_by_reader(tmp_path / "verdicts").values())
            except BaseException as error:
                troubles.append(error)

    reader = threading.Thread(target=read_on)
    reader.start()
    asyncio.run(publish(home, max_rows=1))
    over.set()
    reader.join()

    assert troubles == []
    assert set(counts) <= set(range(1, 21))


def test_a_part_is_the_same_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, *(a_verdict(number) for number in range(ROWS))))

    async def write_twice() -> tuple[bytes, bytes]:
        async with Journal(home.journal_path(RUN), RUN) as journal:
            part = await journal.assign_part(TENCENT, max_rows=100)
            assert part is not None
            for name in ("once", "again"):
                parts.write_part(home.journal_path(RUN), part, tmp_path / name)
            return (tmp_path / "once").read_bytes(), (tmp_path / "again").read_bytes()

    once, again = asyncio.run(write_twice())
    assert once == again


def test_rows_of_a_part_are_sorted_by_key_and_compressed_with_zstd(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, *(a_verdict(number) for number in range(ROWS))))
    (path,) = asyncio.run(publish(home, max_rows=100))

    keys = list(map(str, pq.ParquetFile(path).read(["key"]).column(0).to_pylist()))
    assert keys == sorted(keys)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_every_column_comes_back_as_it_was_settled(tmp_path: Path) -> None:
    """Through the journal and Parquet, in the schema's order and types."""
    rare = a_verdict(
        2,
        outcome=Outcome.FAILED,
        message='引号 " newline \n NUL \x00',
        key="a\nb/ü",
        tags=(),
        tags_raw=(),
        scores={},
        latency_ms=None,
        asked_at=None,
        cost=None,
        raw=None,
        content_sha256=None,
        template_similarity=0.25,
    )
    home = Home.local(tmp_path)
    asyncio.run(settle(home, rare, a_verdict(1)))
    (path,) = asyncio.run(publish(home))

    table = pq.ParquetFile(path).read()
    assert table.schema.equals(VERDICTS)
    assert table.schema.metadata == VERDICTS.metadata
    assert table.equals(table_of([rare, a_verdict(1)]))


def test_pandas_duckdb_and_pyarrow_see_the_right_types(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, a_verdict(1)))
    asyncio.run(publish(home))
    moment = datetime(2026, 11, 20, 18, 7, 13, 345678, tzinfo=UTC)

    frame = pd.read_parquet(tmp_path / "verdicts")
    row = frame.iloc[0]
    assert str(frame["settled_at"].dtype) == "datetime64[us, UTC]"
    assert str(frame["provider"].dtype) == "category"
    assert row["provider"] == "tencent"
    assert pq.read_table(tmp_path / "verdicts").num_rows == 1
    assert str(frame["size_bytes"].dtype) == "int64"
    assert row["settled_at"] == pd.Timestamp(moment)
    assert list(row["tags"]) == ["synthesis", "other:New"]
    assert dict(row["scores"]) == {"SuspectedSynthesisImage": 93.5}

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        verdicts = f"FROM read_parquet('{tmp_path}/verdicts/**/*.parquet')"
        described = connection.execute(f"DESCRIBE {verdicts}").fetchall()
        found = connection.execute(
            "SELECT tags[1], scores['SuspectedSynthesisImage'], provider, epoch_us(settled_at) " + verdicts
        ).fetchone()
    kinds = {column: kind for column, kind, *_ in described}
    assert kinds["settled_at"] == "TIMESTAMP WITH TIME ZONE"
    assert (kinds["tags"], kinds["scores"]) == ("VARCHAR[]", "MAP(VARCHAR, DOUBLE)")
    assert found == ("synthesis", 93.5, "tencent", int(moment.timestamp() * 1_000_000))

    schema = ds.dataset(tmp_path / "verdicts", format="parquet").schema
    assert schema.equals(VERDICTS)


def test_each_providers_answers_are_published_apart(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, a_verdict(1), a_verdict(2, provider=ALIYUN)))
    for provider in Provider:
        asyncio.run(publish(home, provider))
    assert home.names("verdicts") == [
        f"verdicts/provider={name}/run={RUN}/part-00001.parquet" for name in ("aliyun", "tencent")
    ]


def test_few_answers_wait_for_more(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, *(a_verdict(number) for number in range(ROWS))))
    assert len(asyncio.run(publish(home, min_rows=MAX_ROWS))) == 2
    assert len(asyncio.run(publish(home))) == 1
    assert asyncio.run(publish(home)) == []


def test_a_part_can_be_written_by_another_process(tmp_path: Path) -> None:
    """So that the event loop keeps its core."""
    home = Home.local(tmp_path)
    asyncio.run(settle(home, a_verdict(1)))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (path,) = asyncio.run(publish(home, executor=pool))
    assert pq.ParquetFile(path).metadata.num_rows == 1


def test_the_journal_gives_up_the_bodies_it_published_and_keeps_what_resume_needs(
    tmp_path: Path,
) -> None:
    """An answer is found wherever it lies, and its copies still share it."""
    home = Home.local(tmp_path)
    raw = "x" * 100_000
    asyncio.run(settle(home, *(a_verdict(number, raw=raw) for number in range(ROWS))))
    size = home.journal_path(RUN).stat().st_size
    asyncio.run(publish(home))

    async def look() -> None:
        async with Journal(home.journal_path(RUN), RUN) as journal:
            assert await journal.settled_among(ALL) == set(ALL)
            assert (await journal.tallies())[TENCENT].outcomes == {Outcome.SCORED: ROWS}
            for number in range(ROWS):
                found = await parts.answer_of(journal, home, question(number))
                assert found == a_verdict(number, raw=raw)
            assert await parts.answer_of(journal, home, question(99)) is None
            for number in range(ROWS):
                await journal.settle(a_verdict(100 + number, raw=raw))

    asyncio.run(look())
    assert home.journal_path(RUN).stat().st_size <= size + 20_000  # room is used again


def test_a_run_without_its_journal_goes_on_from_what_is_published(tmp_path: Path) -> None:
    """On another machine: nothing published is asked again or overwritten."""
    first = Home.in_bucket(FolderBlobs(tmp_path / "bucket"), "kyc", tmp_path / "first")
    asyncio.run(settle(first, *(a_verdict(number, attempts=2) for number in range(ROWS))))
    asyncio.run(publish(first))

    second = Home.in_bucket(FolderBlobs(tmp_path / "bucket"), "kyc", tmp_path / "second")

    async def go_on() -> None:
        async with Journal(second.journal_path(RUN), RUN) as journal:
            assert await parts.restore(journal, second) == ROWS
            assert await parts.restore(journal, second) == 0
            assert await journal.settled_among(ALL) == set(ALL)
            tally = (await journal.tallies())[TENCENT]
            assert (tally.calls, tally.outcomes) == (2 * ROWS, {Outcome.SCORED: ROWS})
            assert tally.cost == 0.25 * ROWS
            copy = await journal.intend(question(99), TENCENT, 1, "o", content(3))
            assert copy == question(3)
            assert await parts.answer_of(journal, second, copy) == a_verdict(3, attempts=2)
            await journal.settle(a_verdict(50))

    asyncio.run(go_on())
    (path,) = asyncio.run(publish(second))
    assert path.name == "part-00004.parquet"
    second.refresh("verdicts")
    assert ids_by_reader(tmp_path / "second" / "verdicts")["duckdb"] == sorted([*ALL, question(50)])


def test_a_journal_that_lost_its_memory_never_overwrites_a_part(tmp_path: Path) -> None:
    """Even where nobody restored it: the home's own numbers are used up."""
    home = Home.local(tmp_path)
    asyncio.run(settle(home, a_verdict(1)))
    (path,) = asyncio.run(publish(home))
    before = path.read_bytes()
    shutil.rmtree(home.journal_path(RUN).parent)
    asyncio.run(settle(home, a_verdict(2)))
    (later,) = asyncio.run(publish(home))
    assert later.name == "part-00002.parquet"
    assert path.read_bytes() == before


def test_a_damaged_published_part_is_named(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, a_verdict(1)))
    (path,) = asyncio.run(publish(home))
    path.write_bytes(b"PAR1 nonsense")

    async def look() -> None:
        async with Journal(home.journal_path(RUN), RUN) as journal:
            await parts.answer_of(journal, home, question(1))

    with pytest.raises(parts.PartDamaged, match=path.name):
        asyncio.run(look())


def test_a_part_that_cannot_be_put_in_place_is_finished_later(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, a_verdict(1)))
    (tmp_path / "verdicts").write_text("in the way")
    with pytest.raises(HomeUnwritable, match="verdicts"):
        asyncio.run(publish(home))
    (tmp_path / "verdicts").unlink()
    (path,) = asyncio.run(publish(home))
    assert path.name == "part-00001.parquet"


def publish_without_room(root: str) -> None:
    """Publishes where a file may have 40 KiB: enough for the journal's own, not for a part of 400 rows."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, 40 * 1024))
    try:
        asyncio.run(publish(Home.local(Path(root)), max_rows=1000))
    except HomeUnwritable as error:
        os.write(1, str(error).encode())


def test_a_part_for_which_there_is_no_room_is_named_and_finished_later(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, *(a_verdict(number, raw=f"{number:_>100}") for number in range(400))))
    with child("tests.spec.test_parts.publish_without_room", tmp_path) as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert "part-00001.parquet cannot be written: " in said
    assert home.names("verdicts") == []
    (path,) = asyncio.run(publish(home, max_rows=1000))
    assert pq.ParquetFile(path).metadata.num_rows == 400


def test_a_part_with_a_missing_row_is_never_written(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    asyncio.run(settle(home, a_verdict(1), a_verdict(2)))

    async def write() -> None:
        async with Journal(home.journal_path(RUN), RUN) as journal:
            part = await journal.assign_part(TENCENT, max_rows=100)
            assert part is not None
            await journal.mark_published(part)
            await journal.prune(TENCENT)
            await asyncio.to_thread(
                functools.partial(parts.write_part, journal.path, part, tmp_path / "part")
            )

    with pytest.raises(JournalFailed, match="0 of the 2 rows"):
        asyncio.run(write())
    assert not (tmp_path / "part").exists()


def test_what_is_not_published_yet_is_counted_with_the_age_of_its_oldest_row(tmp_path: Path) -> None:
    """A part that is assigned counts until it is in its place; another provider's rows are its own."""

    async def story() -> list[tuple[int, datetime | None]]:
        home, seen = Home.local(tmp_path), []
        async with Journal(home.journal_path(RUN), RUN) as journal:

            async def look(_: str = "") -> None:
                waiting = await journal.unpublished(TENCENT)
                seen.append((waiting.rows, waiting.oldest_at))

            await look()
            await journal.settle(a_verdict(99, provider=ALIYUN))
            for number in range(3):
                await journal.settle(a_verdict(number))
            await look()
            part = await journal.assign_part(TENCENT, max_rows=2)
            assert part is not None
            await look()
            await journal.mark_published(part)
            await look()
            await journal.prune(TENCENT)
            await parts.publish(journal, home, TENCENT)
            await look()
        return seen

    def settled(number: int) -> datetime:
        return a_verdict(number).settled_at

    assert asyncio.run(story()) == [
        *((0, None), (3, settled(0)), (3, settled(0))),
        *((1, settled(2)), (0, None)),
    ]


def test_what_is_settled_while_a_part_is_written_waits_for_the_next_time(tmp_path: Path) -> None:
    """A lane of hundreds of calls a second would else make a file for every few answers, without end."""
    home = Home.local(tmp_path / "home")
    coming = [a_verdict(number) for number in range(1, 4)]

    async def story() -> list[list[Path]]:
        async with Journal(home.journal_path(RUN), RUN) as journal:
            await journal.settle(a_verdict(0))
            settling = []

            def another_answer_comes(step: str) -> None:
                if step == "assigned" and coming:
                    settling.append(asyncio.ensure_future(journal.settle(coming.pop())))

            first = await parts.publish(journal, home, TENCENT, at_step=another_answer_comes)
            await asyncio.gather(*settling)
            return [first, await parts.publish(journal, home, TENCENT)]

    assert [len(each) for each in asyncio.run(story())] == [1, 1]
    assert pq.read_table(home.root / "verdicts", columns=["question_id"]).num_rows == 2
