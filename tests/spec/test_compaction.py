"""Compaction: the same rows in fewer files, each exactly once for every reader at any moment."""

import contextlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.errors import HomeBusy, Stopped, UsageError
from tasks.records.claim import CLAIM_LAPSES, RENEW_EVERY, compacting_alone
from tasks.records.compaction import MergeDiffers, compact, look_ahead
from tasks.records.home import Home, HomeUnwritable
from tasks.records.merging import Slices, merge
from tasks.records.parts import PartDamaged
from tasks.records.parts_in_force import (
    SWAP_PATH,
    SwapState,
    held_parts,
    may_hold,
    part_name,
    parts_in_force,
    read_parts,
    read_swap,
)
from tasks.records.schema import VERDICTS
from tests.spec.compacted_homes import (
    ADDED,
    BATCHES,
    OVER,
    SIGNALS,
    SMALL,
    UNFINISHED,
    a_bucket_home,
    as_version_1,
    as_version_2,
    fill,
    put_part,
    questions_by_reader,
    row,
    rows_in,
    rows_of,
)
from tests.spec.test_parts import FolderBlobs


@pytest.fixture(params=["folder", "bucket"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Both kinds of home keep the same promises."""
    return open_home(request.param, tmp_path)


def open_home(kind: str, folder: Path) -> Home:
    return Home.local(folder / "one") if kind == "folder" else a_bucket_home(folder)


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    """Processes that begin at once, with everything imported and no thread of ours in them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.spec.test_compaction"])
    return context


def ended(context: ForkServerContext, target: Callable[..., None], *arguments: Any) -> int | None:
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode


def names(home: Home, kind: str = "") -> list[str]:
    return [name for name in parts_in_force(home) if kind in name]


# --- what it makes


def test_parts_become_sorted_files_of_one_month_each(home: Home) -> None:
    fill(home)
    put_part(home, [row("r1", each, "aliyun") for each in range(5)], 1)
    before = rows_of(home)

    done = compact(home, OVER, sizes=SMALL)

    assert rows_of(home) == before
    merged = names(home, "_compacted-")
    assert {name.rpartition("/")[0] for name in merged} == {
        "verdicts/provider=aliyun/run=_compacted-2026-10",
        "verdicts/provider=tencent/run=_compacted-2026-10",
        "verdicts/provider=tencent/run=_compacted-2026-11",
    }
    assert [each.files for each in done.before.values()] == [1, 9]
    assert [each.files for each in done.after.values()] == [1, len(names(home, "tencent"))]
    assert done.after["tencent"].row_count == done.before["tencent"].row_count == 90
    for name in merged:
        with pq.ParquetFile(home.path(name)) as file:
            table = file.read()
            sizes = [file.metadata.row_group(each).num_rows for each in range(file.num_row_groups)]
        assert table.schema.equals(VERDICTS)
        assert table.schema.metadata == VERDICTS.metadata
        order = [
            (each["key"], each["question_id"]) for each in table.select(["key", "question_id"]).to_pylist()
        ]
        assert order == sorted(order)
        place = part_name(name)
        assert place is not None
        assert {f"{each:%Y-%m}" for each in table.column("settled_at").to_pylist()} == {place.month}
        assert set(table.column("provider").to_pylist()) == {place.provider}
        assert max(sizes) <= 2 * SMALL.slices.rows


def test_merged_parts_hold_what_was_settled_one_after_the_other(tmp_path: Path) -> None:
    """So that a run, or a day, lies in few of them, and statistics tell which."""
    home = Home.local(tmp_path)
    for part in range(6):
        put_part(home, [row("r1", 10 * part + each) for each in range(10)], 1 + part * 5 % 6)
    compact(home, OVER, sizes=BATCHES)
    spans = []
    for name in names(home):
        moments = pq.ParquetFile(home.path(name)).read(["settled_at"]).column(0).to_pylist()
        spans.append((min(moments), max(moments), len(moments)))
    assert [rows for *_, rows in spans] == [20, 20, 20]
    assert all(last < first for (_, last, _), (first, _, _) in pairwise(sorted(spans)))


def test_a_second_compaction_finds_nothing_to_do(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)
    compact(home, OVER, sizes=SMALL)
    first = names(home)
    steps: list[str] = []

    done = compact(home, OVER, sizes=SMALL, at_step=steps.append)

    assert (names(home), steps) == (first, [])
    assert done.before == done.after


def test_what_comes_later_is_merged_with_the_part_that_is_not_full_and_with_no_other(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    for part in range(3):
        put_part(home, [row("r1", 10 * part + each) for each in range(10)], part + 1)
    compact(home, OVER, sizes=BATCHES)
    (full,) = (name for name in names(home) if rows_at(home, name) == 20)
    put_part(home, [row("r2", each) for each in range(3)], 1)  # of October too

    compact(home, OVER, sizes=BATCHES)

    assert sorted(rows_at(home, name) for name in names(home)) == [13, 20]
    assert full in names(home)


def rows_at(home: Home, name: str) -> int:
    return int(pq.read_metadata(home.path(name)).num_rows)


def test_parts_are_swapped_a_batch_at_a_time(tmp_path: Path) -> None:
    """So that disk and memory do not grow with the home; between two batches all is as it should be."""
    home = Home.local(tmp_path)
    fill(home)
    before = rows_of(home)
    swaps: list[str] = []

    def at_step(step: str) -> None:
        if step == "over":
            swaps.append(step)
            assert rows_of(home) == before

    compact(home, OVER, sizes=BATCHES, at_step=at_step)

    assert len(swaps) == 3
    assert rows_of(home) == before
    assert all("_compacted" in name or UNFINISHED in name for name in names(home))


def test_parts_of_a_run_that_is_not_over_are_left_alone(home: Home) -> None:
    """Of one without a record too: nobody knows whether it is over."""
    fill(home)
    put_part(home, [row("unknown", 1)], 1)
    theirs = {name: identity(home, name) for name in names(home) if UNFINISHED in name or "unknown" in name}

    done = compact(home, OVER, sizes=SMALL)

    assert done.unfinished == {UNFINISHED: 3, "unknown": 1}
    assert {name: identity(home, name) for name in theirs} == theirs


def identity(home: Home, name: str) -> tuple[int, int, bytes]:
    status = home.path(name).stat()
    return status.st_ino, status.st_mtime_ns, home.path(name).read_bytes()


def test_older_parts_get_the_columns_they_lack_as_null(tmp_path: Path) -> None:
    """Rows keep the schema version they were made with."""
    home = Home.local(tmp_path)
    old = [as_version_1(row("r1", number)) for number in range(10)]
    newer = [as_version_2(row("r2", number)) for number in range(10)]
    new = [row("r3", number, subject_id="person 1", weight=2.5) for number in range(10)]
    put_part(home, old, 1, without=ADDED)
    put_part(home, newer, 1, without=SIGNALS)
    put_part(home, new, 1)
    before = rows_of(home)

    compact(home, OVER)

    assert rows_of(home) == before
    tables = [pq.ParquetFile(home.path(name)).read() for name in names(home)]
    assert all(each.schema.equals(VERDICTS) for each in tables)
    versions = [each for table in tables for each in table.column("schema_version").to_pylist()]
    assert sorted(versions) == [1] * 10 + [2] * 10 + [3] * 10


def merge_and_tell(folder: Path, told: Connection) -> None:
    """What Arrow held at most; rows of a quarter of a megabyte may be sorted at once."""
    files = sorted(folder.glob("verdicts/*/*/*.parquet"))
    merge(files, folder, 5_000, Slices(plain_bytes=250_000), lambda: None)
    told.send(pa.default_memory_pool().max_memory())


def test_invariant_7_four_times_the_rows_are_merged_in_the_same_memory(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    peaks = []
    for parts in (5, 20):
        home = Home.local(tmp_path / str(parts))
        for part in range(parts):
            rows = [row("r1", 50 * part + each, raw=f"{each:05d}" * 1_000) for each in range(50)]
            put_part(home, rows, part + 1)
        ours, theirs = forks.Pipe()
        assert ended(forks, merge_and_tell, home.root, theirs) == 0
        assert ours.poll(10)
        peaks.append(ours.recv())
    assert peaks[1] < 1.2 * peaks[0] < 5_000_000, peaks


def test_a_part_without_rows_is_gone_afterwards(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    with home.staging() as folder:
        pq.write_table(VERDICTS.empty_table(), folder / "part")
        home.adopt(folder / "part", "verdicts/provider=tencent/run=r1/part-00001.parquet")
    done = compact(home, OVER)
    assert (done.before["tencent"].files, done.after) == (1, {})
    assert names(home) == []


def test_every_reader_of_the_folder_sees_the_same_rows_as_before(tmp_path: Path) -> None:
    """pandas, pyarrow, and DuckDB with the folder names as columns; parts of runs lie beside merged ones."""
    home = Home.local(tmp_path)
    fill(home)
    before = questions_by_reader(tmp_path / "verdicts")

    compact(home, OVER, sizes=SMALL)

    assert questions_by_reader(tmp_path / "verdicts") == before
    assert len({tuple(each) for each in before.values()}) == 1


def test_a_look_ahead_touches_nothing_and_says_what_would_be(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.glob("verdicts/**/*"))

    looked = look_ahead(home, OVER)

    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.glob("verdicts/**/*")) == before
    done = compact(home, OVER)
    assert looked.before == done.before
    assert looked.unfinished == done.unfinished
    assert {name: (each.files, each.row_count) for name, each in looked.after.items()} == {
        name: (each.files, each.row_count) for name, each in done.after.items()
    }


# --- whatever is killed

IN_A_FOLDER = [
    ("compared", 1),
    ("placing", 1),
    ("placed", 1),
    ("placed", 2),
    ("removing", 1),
    ("removed", 1),
    ("over", 1),
]
IN_A_BUCKET = [("placed", 1), ("removing", 1)]
STEPS = [("folder", *each) for each in IN_A_FOLDER] + [("bucket", *each) for each in IN_A_BUCKET]


def compact_and_die_at(kind: str, folder: Path, step: str, time: int) -> None:
    seen: list[str] = []

    def at_step(reached: str) -> None:
        seen.append(reached)
        if seen.count(step) == time:
            os.kill(os.getpid(), signal.SIGKILL)

    compact(open_home(kind, folder), OVER, sizes=SMALL, at_step=at_step)


class DyingBlobs(FolderBlobs):
    """A bucket whose client is killed between two deletions."""

    def delete_file(self, key: str) -> None:
        super().delete_file(key)
        os.kill(os.getpid(), signal.SIGKILL)


def compact_and_die_deleting(folder: Path) -> None:
    compact(a_bucket_home(folder, blobs=DyingBlobs), OVER, sizes=SMALL)


@pytest.mark.parametrize(("kind", "step", "time"), STEPS)
def test_invariant_3_a_compaction_killed_at_any_step_loses_no_row_and_doubles_none(
    tmp_path: Path, forks: ForkServerContext, kind: str, step: str, time: int
) -> None:
    """Right after the kill, and when the next compaction has finished it or taken it back."""
    home = open_home(kind, tmp_path)
    fill(home)
    before = rows_of(home)

    assert ended(forks, compact_and_die_at, kind, tmp_path, step, time) == -signal.SIGKILL

    assert rows_of(home) == before
    if home.is_in_bucket:
        assert rows_of(a_bucket_home(tmp_path, "another")) == before
    for path in home.paths("verdicts/**/*.parquet"):
        pq.ParquetFile(path).read()  # whole, whatever it is
    compact(home, OVER, sizes=SMALL)
    assert rows_of(home) == before
    assert all("_compacted-" in name or UNFINISHED in name for name in names(home))
    swap = read_swap(home)
    assert swap is not None
    assert swap.state is SwapState.OVER
    assert [name for name in home.names("verdicts") if name not in names(home)] == [SWAP_PATH]
    assert list((home.root / ".staging").iterdir()) == []
    local = questions_by_reader(home.root / "verdicts")
    assert len({tuple(each) for each in local.values()}) == 1
    assert len(local["pandas"]) == before.total()


def test_invariant_3_a_compaction_killed_between_two_deletions_is_finished_by_the_next(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    home = a_bucket_home(tmp_path)
    fill(home)
    before = rows_of(home)
    assert ended(forks, compact_and_die_deleting, tmp_path) == -signal.SIGKILL
    assert rows_of(a_bucket_home(tmp_path, "another")) == before
    compact(home, OVER, sizes=SMALL)
    assert rows_of(home) == before


# --- whoever reads meanwhile


def read_on(kind: str, folder: Path, orders: Connection) -> None:
    """Reads until told to stop; sends every set of rows it saw, and how often it looked."""
    home = open_home(kind, folder) if kind == "folder" else a_bucket_home(folder, "another")
    seen = set()
    looks = 0
    while not orders.poll():
        seen.add(frozenset(rows_of(home).items()))
        looks += 1
        if looks == 1:
            orders.send("reading")
    orders.send((seen, looks))


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_invariant_10_a_reader_sees_the_same_rows_however_often_it_looks_while_parts_are_swapped(
    tmp_path: Path, forks: ForkServerContext, kind: str
) -> None:
    """A process of its own; for a bucket on another machine."""
    home = open_home(kind, tmp_path)
    fill(home)
    before = rows_of(home)
    ours, theirs = forks.Pipe()
    reader = forks.Process(target=read_on, args=(kind, tmp_path, theirs))
    reader.start()
    assert ours.poll(60)
    ours.recv()
    for over in (["r1"], ["r1", "r2"]):
        compact(home, over, sizes=BATCHES)
    put_part(home, [row("r4", 1)], 1)
    ours.send("stop")
    assert ours.poll(60)
    seen, looks = ours.recv()
    reader.join()
    assert looks > 1
    with_r4 = before + rows_in([home.path("verdicts/provider=tencent/run=r4/part-00001.parquet")])
    assert seen <= {frozenset(before.items()), frozenset(with_r4.items())}


class TurningBlobs(FolderBlobs):
    """A bucket in which a swap happens between the two halves of the first list of verdicts."""

    is_turned = False

    def list_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        first = list(super().list_keys(prefix))
        if not prefix.endswith("verdicts") or TurningBlobs.is_turned:
            yield from first
            return
        yield from first[: len(first) // 2]
        TurningBlobs.is_turned = True
        compact(a_bucket_home(self.folder.parent), OVER)
        yield from (each for each in super().list_keys(prefix) if each > first[len(first) // 2 - 1])


def test_invariant_10_a_list_during_which_parts_were_swapped_is_made_again(tmp_path: Path) -> None:
    """Half of it is of before, half of after: merged parts and parts they replace, or neither."""
    fill(a_bucket_home(tmp_path))
    before = rows_of(a_bucket_home(tmp_path))
    TurningBlobs.is_turned = False

    seen = parts_in_force(a_bucket_home(tmp_path, "another", TurningBlobs))

    assert TurningBlobs.is_turned
    assert seen == parts_in_force(a_bucket_home(tmp_path))
    assert rows_of(a_bucket_home(tmp_path, "another")) == before


def test_invariant_10_rows_that_are_being_read_stay_until_they_are_read(home: Home) -> None:
    """A query over ten million rows takes its time."""
    fill(home)
    before = rows_of(home)
    with held_parts(home) as files:
        compact(home, OVER, sizes=SMALL)
        assert rows_in(files) == before
        assert not any(path.exists() for path in home.paths("verdicts/provider=*/run=r1/*"))
    assert rows_of(home) == before


def test_a_reader_that_may_not_write_reads_again_when_a_part_is_taken_from_under_its_hands(
    tmp_path: Path,
) -> None:
    """It cannot hold the files by links; what it read the first time is thrown away."""
    home = Home.local(tmp_path)
    fill(home)
    before = rows_of(home)
    # A file where its staging folder would be: no right to write, as good as for any user.
    (tmp_path / ".staging").rename(tmp_path / ".elsewhere")
    (tmp_path / ".staging").write_text("")
    looks: list[int] = []

    def read(files: Any) -> Any:
        looks.append(len(files))
        if len(looks) == 1:
            (tmp_path / ".staging").unlink()
            compact(home, OVER, sizes=SMALL)
            (tmp_path / ".staging").rename(tmp_path / ".used")
            (tmp_path / ".staging").write_text("")
        return rows_in(files)

    assert read_parts(home, read) == before
    assert len(looks) == 2


def test_a_part_that_cannot_be_read_is_named_where_it_lies(tmp_path: Path) -> None:
    """Not where it was held while it was read."""
    home = Home.local(tmp_path)
    fill(home)

    def read(files: Any) -> None:
        raise UsageError(f"{files[0]} is torn")

    with pytest.raises(
        UsageError, match=f"^{tmp_path}/verdicts/provider=tencent/run=r1/part-00001.parquet is"
    ):
        read_parts(home, read)


def test_a_run_is_found_in_its_own_parts_and_in_merged_ones(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)
    compact(home, ["r1"], sizes=SMALL)
    wanted = [name for name in names(home) if may_hold("r2")(name)]
    assert wanted == [name for name in names(home) if "run=r2/" in name or "_compacted" in name]
    with held_parts(home, may_hold("r1")) as files:
        found = rows_in(files)
    assert found.total() == 30


# --- one at a time


def hold(kind: str, folder: Path, orders: Connection) -> None:
    with compacting_alone(open_home(kind, folder)):
        orders.send("held")
        orders.poll(60)


def test_two_compactions_of_a_home_do_not_work_at_once(
    home: Home, tmp_path: Path, forks: ForkServerContext
) -> None:
    """And a dead one does not hold up the next."""
    fill(home)
    ours, theirs = forks.Pipe()
    holder = forks.Process(target=hold, args=("bucket" if home.is_in_bucket else "folder", tmp_path, theirs))
    holder.start()
    assert ours.poll(60)
    first = names(home)
    with pytest.raises(HomeBusy, match=f"a compaction of .* is being worked on by process {holder.pid} on"):
        compact(home, OVER)
    assert names(home) == first
    holder.kill()
    holder.join()
    compact(home, OVER)
    assert names(home) != first


def compact_at(kind: str, folder: Path) -> None:
    with contextlib.suppress(HomeBusy):
        compact(open_home(kind, folder), OVER, sizes=SMALL)


def test_compactions_that_begin_together_leave_each_row_once(
    home: Home, tmp_path: Path, forks: ForkServerContext
) -> None:
    fill(home)
    before = rows_of(home)
    kind = "bucket" if home.is_in_bucket else "folder"
    both = [forks.Process(target=compact_at, args=(kind, tmp_path)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    assert rows_of(home) == before
    assert "_compacted-" in "".join(names(home))


def test_machines_that_share_a_bucket_see_each_others_claim(tmp_path: Path) -> None:
    """Until it lapses: then its owner is dead, and if it was not, it gives way."""
    one, two = a_bucket_home(tmp_path, "one"), a_bucket_home(tmp_path, "two")
    fill(one)
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    clock = [now]

    with compacting_alone(one, lambda: clock[0]) as check_alone:
        clock[0] = now + CLAIM_LAPSES - timedelta(minutes=1)
        with pytest.raises(HomeBusy, match="its claim lapses at 2026-11-20 14:00 UTC"):
            compacting_alone(two, lambda: clock[0]).__enter__()
        check_alone()
        clock[0] += RENEW_EVERY + timedelta(minutes=2)
        with pytest.raises(HomeBusy, match=r"lapses at 2026-11-20 15:59 UTC"):
            compacting_alone(two, lambda: clock[0]).__enter__()

        clock[0] += CLAIM_LAPSES
        taken_for_dead = pytest.raises(HomeBusy, match=r"took this compaction of .* for dead")
        with compacting_alone(two, lambda: clock[0]), taken_for_dead:
            check_alone()
    assert [name for name in one.names("verdicts") if "compacting" in name] == []


# --- what goes wrong


def fails_and_leaves_all(home: Home, error: type[Exception], said: str, **options: Any) -> None:
    before = names(home)
    rows = rows_of(home)
    with pytest.raises(error, match=said):
        compact(home, OVER, sizes=SMALL, **options)
    assert names(home) == before
    assert rows_of(home) == rows
    assert home.path(SWAP_PATH).exists() is False
    assert list((home.root / ".staging").iterdir()) == []


def test_a_part_of_a_newer_version_is_not_cut_down_to_what_we_know(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)
    name = "verdicts/provider=tencent/run=r1/part-00009.parquet"
    table = pq.ParquetFile(home.path(put_part(home, [row("r1", 99)], 9))).read()
    with home.staging() as folder:
        pq.write_table(table.append_column("mood", [["calm"]]), folder / "part")
        home.adopt(folder / "part", name)
    fails_and_leaves_all(home, UsageError, f"{name} has columns this facesweep does not know \\(mood\\)")


def test_a_damaged_part_is_named_and_nothing_is_merged(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)
    path = home.path("verdicts/provider=tencent/run=r1/part-00003.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(PartDamaged, match=f"{path} cannot be read"):
        compact(home, OVER)
    path.write_bytes(b"PAR1" + bytes(len(content) // 2) + content[len(content) // 2 + 4 :])
    with pytest.raises(PartDamaged, match="cannot be read"):
        compact(home, OVER)
    assert not [name for name in names(home) if "_compacted-2026" in name and "tencent" in name]


def test_merged_parts_that_hold_other_rows_replace_nothing(tmp_path: Path) -> None:
    """Whatever made them so: a fault of ours, of a library, or of the disk."""
    home = Home.local(tmp_path)
    fill(home)

    def lose_a_row(step: str) -> None:
        if step == "merged":
            path = next(home.root.glob(".staging/*/*.parquet"))
            pq.write_table(pq.ParquetFile(path).read().slice(1), path)

    fails_and_leaves_all(home, MergeDiffers, "gave other rows than they hold", at_step=lose_a_row)


def test_rows_whose_values_have_moved_are_other_rows(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)

    def swap_two_values(step: str) -> None:
        if step == "merged":
            path = next(home.root.glob(".staging/*/*.parquet"))
            table = pq.ParquetFile(path).read()
            place = table.schema.get_field_index("order_no")
            moved = table.column(place).to_pylist()
            moved[0], moved[-1] = moved[-1], moved[0]
            pq.write_table(table.set_column(place, table.schema.field(place), [moved]), path)

    fails_and_leaves_all(home, MergeDiffers, "gave other rows", at_step=swap_two_values)


def test_a_compaction_that_is_stopped_while_it_merges_has_replaced_nothing(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    fill(home)

    def stop() -> None:
        raise Stopped("somebody asked")

    fails_and_leaves_all(home, Stopped, "somebody asked", go_on=stop)


def compact_beyond_the_disk(folder: Path, told: Connection) -> None:
    ours, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, most))
    try:
        compact(Home.local(folder), OVER)
    except HomeUnwritable as error:
        told.send(str(error))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ours, most))  # whoever measures coverage writes more


def test_a_full_disk_is_one_sentence_and_the_old_parts_count(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    home = Home.local(tmp_path)
    fill(home)
    before, files = rows_of(home), names(home)
    ours, theirs = forks.Pipe()
    assert ended(forks, compact_beyond_the_disk, tmp_path, theirs) == 0
    assert ours.poll(10)
    assert ours.recv() == f"{tmp_path}/verdicts cannot be written: File too large"
    assert names(home) == files
    assert rows_of(home) == before
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_merged_file_that_cannot_be_put_in_place_takes_back_those_that_were(tmp_path: Path) -> None:
    """The disk fills up in the middle of a swap: a file stands where a folder is to be made."""
    home = Home.local(tmp_path)
    fill(home)
    before, files = rows_of(home), names(home)
    blocked = tmp_path / "verdicts/provider=tencent/run=_compacted-2026-11"
    blocked.write_text("")
    with pytest.raises(HomeUnwritable, match="_compacted-2026-11"):
        compact(home, OVER, sizes=SMALL)
    assert rows_of(home) == before
    assert [name for name in names(home) if "tencent" in name] == [
        name for name in files if "tencent" in name
    ]
    swap = read_swap(home)
    assert swap is not None
    assert swap.state is SwapState.OVER
    blocked.unlink()
    compact(home, OVER, sizes=SMALL)
    assert rows_of(home) == before


def test_a_swap_file_that_is_not_ours_is_named(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    home.write_json(SWAP_PATH, {"state": "dancing"})
    with pytest.raises(UsageError, match=r"_compaction\.json is not a compaction's"):
        parts_in_force(home)


def test_a_home_without_verdicts_has_nothing_to_compact(tmp_path: Path) -> None:
    home = Home.local(tmp_path / "home")
    assert look_ahead(home, OVER).before == {}
    assert not (tmp_path / "home").exists()
    assert compact(home, OVER).after == {}
