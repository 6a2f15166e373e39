"""Publishing: answers leave the journal as immutable Parquet parts, each exactly once.

A part's rows are assigned in one transaction and never change; the part is written aside, put in
its place and then marked. A crash between any two steps repeats the part with the same rows, the
same bytes and the same name: no duplicate, no gap.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.errors import FacesweepError
from domain.verdicts import Billed, Outcome, Provider, Verdict
from tasks.records.allowance import Spent
from tasks.records.home import Home
from tasks.records.journal import Journal, JournalFailed
from tasks.records.layout import open_reader
from tasks.records.ledger import Part, PublishedRow, part_path
from tasks.records.part_numbers import ANY_NUMBER, PartNumbers, numbers_in
from tasks.records.queries import PublishedIn, rows_of
from tasks.records.schema import VERDICTS, table_of, verdict_of

# Writing 50,000 rows of 1.4 KB took 250 MB beside the interpreter's own (100,000: 400 MB) and 2.2 s
# of CPU; at 5 calls a second a part is full after 2.8 hours.
ROWS_PER_PART = 50_000
ROWS_PER_GROUP = 50_000

_RESTORED = ["question_id", "outcome", "content_sha256", "attempts", "throttled", "billed", "cost"]


class PartDamaged(FacesweepError):
    """A published part cannot be read, or lacks a row that the journal says it holds."""


def write_part(journal: Path, part: Part, destination: Path) -> None:
    """The part's rows as one Parquet file: zstd, sorted by key, the same bytes whenever repeated.

    A function of paths, so that it can run in another process and leave the event loop its core.

    Raises:
        JournalFailed: an answer is missing or damaged; names the journal.
        OSError: the file cannot be written.
    """
    table = _rows_as_table(journal, part)
    if table.num_rows != part.row_count:
        raise JournalFailed(
            f"the journal {journal} holds {table.num_rows:,} of the {part.row_count:,} rows of "
            f"{part.relative_path}"
        )
    table = table.sort_by([("key", "ascending"), ("question_id", "ascending")])
    pq.write_table(table, destination, compression="zstd", row_group_size=ROWS_PER_GROUP)


async def publish(
    journal: Journal,
    home: Home,
    provider: Provider,
    *,
    max_rows: int = ROWS_PER_PART,
    min_rows: int = 1,
    numbers: PartNumbers = ANY_NUMBER,
    executor: Executor | None = None,
    at_step: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Publish what is settled, in parts of at most `max_rows`, while at least `min_rows` are left.

    What is settled meanwhile waits for next time: who chased it would write a file for every few answers.
    A part left unfinished by an earlier process is finished first, whatever its size. `numbers` are those
    its parts may have. `executor` is where parts are written; the default threads if None. `at_step` is
    told `assigned`, `written`, `adopted`, `marked` and `pruned`, for each part; what it raises ends the
    publishing, and the part is finished next time.

    Raises:
        HomeUnwritable: the part stays assigned and is finished next time.  JournalFailed.
        FacesweepError: the numbers are used up; names the run.
    """
    loop = asyncio.get_running_loop()
    await journal.prune(provider)
    there = await asyncio.to_thread(numbers_in, home, journal.run_id, provider, numbers)
    left_over = await journal.written_parts(provider)
    above = numbers.above(there, left_over)
    published = []
    while part := await journal.assign_part(provider, max_rows=max_rows, min_rows=min_rows, above=above):
        if not numbers.holds(part.number):
            raise FacesweepError(
                f"{part.relative_path} is beyond the last number of its shard's parts, {numbers.last}: its "
                "answers stay in the journal"
            )
        at_step("assigned")
        with home.staging() as folder:
            staged = folder / "part.parquet"
            write = partial(write_part, journal.path, part, staged)
            try:
                await loop.run_in_executor(executor, write)
            except OSError as error:
                raise home.unwritable(part.relative_path, error) from None
            at_step("written")
            path = await asyncio.to_thread(home.adopt, staged, part.relative_path)
        at_step("adopted")
        await journal.mark_published(part)
        at_step("marked")
        await journal.prune(provider)
        at_step("pruned")
        published.append(path)
        if part.row_count < max_rows and part.number not in left_over:
            break  # it took all there was
    return published


async def answer_of(journal: Journal, home: Home, question_id: str) -> Verdict | None:
    """The question's answer, from the journal or the part it was published in; None if not settled.

    Raises:
        PartDamaged: the part cannot be read; names it.  JournalFailed.
    """
    found = await journal.answer_of(question_id)
    if isinstance(found, PublishedIn):
        relative = part_path(found.provider, journal.run_id, found.number)
        return await asyncio.to_thread(_read_verdict, home, relative, question_id)
    return found


async def restore(
    journal: Journal,
    home: Home,
    providers: Iterable[Provider] = tuple(Provider),
    numbers: PartNumbers = ANY_NUMBER,
) -> int:
    """Take over parts of this run that the journal does not know; how many questions they settle.

    For a run that goes on without its first journal, on another machine: what is published is not
    asked again. What was settled and not yet published is lost with the journal. And for one that comes
    back to it: what others published meanwhile is not published again.

    Raises:
        PartDamaged: a part cannot be read; names it.  JournalFailed.
    """
    restored = 0
    for provider in providers:
        known = await journal.known_parts(provider)
        there = await asyncio.to_thread(numbers_in, home, journal.run_id, provider, numbers)
        if foreign := sorted(set(there) - known):
            await journal.take_back_part(provider, there)
        for number in foreign:
            relative = part_path(provider, journal.run_id, number)
            slices = _published_rows(home, relative)
            rows = 0
            while some := await asyncio.to_thread(next, slices, None):
                restored += await journal.restore(provider, number, some)
                rows += len(some)
            await journal.mark_restored(provider, number, rows)
    return restored


def _rows_as_table(journal: Path, part: Part) -> pa.Table:
    with contextlib.closing(open_reader(journal, part.run_id)) as sql:
        try:
            slices = [table_of(rows) for rows in rows_of(sql, part)]
        except ValueError as error:
            raise JournalFailed(f"the journal {journal} cannot be read: {error}") from None
    return pa.concat_tables(slices) if slices else VERDICTS.empty_table()


def _read_verdict(home: Home, relative: str, question_id: str) -> Verdict:
    path = _fetched(home, relative)
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["question_id"]).column(0)
                index = pc.index(ids, question_id).as_py()
                if index >= 0:
                    return verdict_of(file.read_row_group(group).slice(index, 1).to_pylist()[0])
    except (OSError, pa.ArrowException) as error:
        raise PartDamaged(f"{path} cannot be read: {error}") from None
    raise PartDamaged(f"{path} lacks the answer to question {question_id}")


def _published_rows(home: Home, relative: str) -> Iterator[list[PublishedRow]]:
    path = _fetched(home, relative)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=2000, columns=_RESTORED):
                yield [
                    PublishedRow(
                        question=bytes.fromhex(row["question_id"]),
                        outcome=Outcome(row["outcome"]),
                        content=bytes.fromhex(row["content_sha256"] or "") or None,
                        spent=_spent(Billed(row["billed"]), row["attempts"], row["throttled"]),
                        throttled=row["throttled"],
                        billed=row["billed"],
                        cost=row["cost"],
                    )
                    for row in batch.to_pylist()
                ]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise PartDamaged(f"{path} cannot be read: {error}") from None


def _spent(billed: Billed, attempts: int, throttled: int) -> Spent:
    """What a published row's calls have used up, at most; its attempts leave out a call lost in a crash."""
    match billed:
        case Billed.YES:
            return Spent(attempts + throttled, 1)
        case Billed.NO:
            return Spent(attempts + throttled, 0)
        case Billed.UNKNOWN:
            return Spent(attempts + throttled + 1, attempts + 1)


def _fetched(home: Home, relative: str) -> Path:
    path = home.path(relative)
    if not path.is_file():
        home.refresh(relative)
    return path
