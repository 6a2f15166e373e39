"""The journal: nothing acknowledged is ever lost, and a paid call is on disk before it is made."""

import asyncio
import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from domain.errors import HomeBusy, UsageError
from domain.verdicts import Billed, Outcome, Provider, Verdict
from tasks.records.encoding import from_bytes, to_bytes
from tasks.records.journal import Journal, JournalFailed
from tasks.records.ledger import AlreadySettled
from tasks.records.lock import RunLock
from tasks.records.queries import read_answers, read_tallies

REPOSITORY = Path(__file__).parents[2]
RUN = "20261120T180712Z-3f9a"
TENCENT, ALIYUN = Provider.TENCENT, Provider.ALIYUN


def question(number: int) -> str:
    """A question id, by number."""
    return hashlib.sha256(f"question {number}".encode()).hexdigest()[:32]


def content(number: int) -> str:
    """A content hash, by number."""
    return hashlib.sha256(f"content {number}".encode()).hexdigest()


def a_verdict(number: int, **changes: Any) -> Verdict:
    """A scored answer of Tencent to question `number`."""
    moment = datetime(2026, 11, 20, 18, 7, 12, 345678, tzinfo=UTC) + timedelta(seconds=number)
    key = f"selfies/{number * 7919 % 100_000:06d}.jpg"
    verdict = Verdict(
        run_id=RUN,
        audit="kyc-nightly",
        question_id=question(number),
        url=f"s3://kyc-archive/{key}",
        store="s3",
        bucket="kyc-archive",
        key=key,
        version_id=None,
        etag="d41d8cd98f00b204e9800998ecf8427e",
        size_bytes=153_211,
        last_modified=moment,
        media="image",
        content_sha256=content(number),
        provider=TENCENT,
        action="DetectAIFakeFaces",
        outcome=Outcome.SCORED,
        reason=None,
        message=None,
        risk="high",
        risk_raw="High",
        tags=("synthesis", "other:New"),
        tags_raw=("SuspectedSynthesisImage", "New"),
        scores={"SuspectedSynthesisImage": 93.5},
        template_group=None,
        template_similarity=None,
        delivery="base64",
        preparation="untouched",
        sent_sha256=content(number),
        sent_bytes=153_211,
        endpoint="https://faceid.tencentcloudapi.com",
        request_id="c0ffee",
        order_no=f"order{number}",
        attempts=1,
        throttled=0,
        latency_ms=312.25,
        asked_at=moment,
        settled_at=moment,
        billed=Billed.YES,
        cost=0.25,
        reused_from=None,
        raw='{"Response": {"AttackRiskLevel": "High"}}',
        schema_version=3,
        mapping_version=1,
        code_version="0.1.0",
        asked_because="all",
        subject_id=None,
        stratum=None,
        weight=None,
        signals_from="object",
        aigc_label="generated",
        perceptual_hash="0f" * 32,
        perceptual_quality=88,
    )
    return replace(verdict, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".journal" / f"{RUN}.sqlite"


# --- what a child process does until it is killed


def _acknowledge(kind: str, question_id: str) -> None:
    os.write(1, f"{kind} {question_id}\n".encode())


async def _append_for_ever(path: Path, first: int) -> None:
    numbers = iter(range(first, first + 1_000_000))
    async with Journal(path, RUN, window_s=0.002) as journal, asyncio.TaskGroup() as group:

        async def trips() -> None:
            for number in numbers:
                await journal.intend(question(number), TENCENT, 1, f"order{number}", None)
                _acknowledge("intended", question(number))
                await journal.settle(a_verdict(number))
                _acknowledge("settled", question(number))

        for _ in range(40):
            group.create_task(trips())


async def _append_until_disk_is_full(path: Path) -> None:
    numbers = iter(range(100_000))
    async with Journal(path, RUN) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

        async def trips() -> None:
            for number in numbers:
                await journal.intend(question(number), TENCENT, 1, f"order{number}", None)
                await journal.settle(a_verdict(number))
                _acknowledge("settled", question(number))

        ends = await asyncio.gather(*(trips() for _ in range(40)), return_exceptions=True)
        for end in ends:
            _acknowledge("ended", type(end).__name__)
        try:
            await journal.intend(question(100_000), TENCENT, 1, "order100000", None)
        except JournalFailed as error:
            _acknowledge("later", str(error))


def append_for_ever(path: str, first: str) -> None:
    asyncio.run(_append_for_ever(Path(path), int(first)))


def append_until_disk_is_full(path: str) -> None:
    asyncio.run(_append_until_disk_is_full(Path(path)))


def hold_lock(path: str) -> None:
    with RunLock(Path(path), RUN):
        _acknowledge("holding", str(os.getpid()))
        signal.pause()


def hold_lock_and_fork(path: str) -> None:
    with RunLock(Path(path), RUN):
        if os.fork() == 0:
            _acknowledge("forked", str(os.getpid()))
        signal.pause()


@contextlib.contextmanager
def child(call: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own that runs one function of these tests; over when the block is left."""
    module, _, function = call.rpartition(".")
    code = f"import sys; from {module} import {function}; {function}(*sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
            process.wait()
        except BaseException:
            process.kill()
            raise


def _acknowledged(lines: Iterator[str] | list[str], kind: str) -> list[str]:
    pairs = [line.rstrip("\n").partition(" ") for line in lines]
    return [value for name, _, value in pairs if name == kind]


# --- durability


async def _settled_and_doubtful(path: Path, questions: list[str]) -> tuple[set[str], set[str]]:
    async with Journal(path, RUN) as journal:
        return await journal.settled_among(questions), set(await journal.in_doubt_among(questions, 2))


def test_no_acknowledged_call_or_answer_is_lost_by_kill_9(path: Path) -> None:
    """Ten processes in a row are killed at random moments; all they acknowledged is there."""
    chance = random.Random(20261120)
    intended: set[str] = set()
    settled: set[str] = set()
    for kill in range(10):
        with child("tests.spec.test_journal.append_for_ever", path, kill * 1_000_000) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 400))]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        assert process.returncode == -signal.SIGKILL
        intended.update(_acknowledged(lines, "intended"))
        settled.update(_acknowledged(lines, "settled"))

    found, doubtful = asyncio.run(_settled_and_doubtful(path, sorted(intended)))

    assert len(settled) > 100
    assert settled <= found
    assert intended <= found | doubtful


def test_a_full_disk_stops_every_caller_and_loses_nothing_acknowledged(path: Path) -> None:
    """Everybody who waits gets the error, and the next paid call is refused at once."""
    with child("tests.spec.test_journal.append_until_disk_is_full", path) as process:
        assert process.stdout is not None
        lines = process.stdout.readlines()
    assert process.returncode == 0

    settled = set(_acknowledged(lines, "settled"))
    ends = _acknowledged(lines, "ended")
    found, _ = asyncio.run(_settled_and_doubtful(path, sorted(settled)))

    assert len(settled) > 40
    assert settled == found
    assert ends == ["JournalFailed"] * 40
    (later,) = _acknowledged(lines, "later")
    assert str(path) in later


async def _settle_all(path: Path, copy: Path, count: int) -> None:
    async with Journal(path, RUN, window_s=0) as journal:
        for number in range(count):
            await journal.settle(a_verdict(number))
        shutil.copytree(path.parent, copy)


def _answers(path: Path, count: int) -> list[Verdict | None]:
    async def read() -> list[Verdict | None]:
        async with Journal(path, RUN) as journal:
            answers = [await journal.answer_of(question(number)) for number in range(count)]
            return [each for each in answers if each is None or isinstance(each, Verdict)]

    return asyncio.run(read())


def test_a_torn_copy_opens_to_a_prefix_of_what_was_settled(path: Path, tmp_path: Path) -> None:
    """Wherever the write-ahead log is cut, the first answers are whole and the rest are absent."""
    count = 60
    live = tmp_path / "live"
    asyncio.run(_settle_all(path, live, count))
    log = (live / f"{RUN}.sqlite-wal").read_bytes()
    chance = random.Random(1)
    lengths = []
    for cut in [*sorted(chance.randrange(len(log)) for _ in range(12)), len(log)]:
        torn = tmp_path / f"torn{cut}"
        torn.mkdir()
        shutil.copy(live / path.name, torn)
        (torn / f"{RUN}.sqlite-wal").write_bytes(log[:cut])
        try:
            answers = _answers(torn / path.name, count)
        except UsageError as error:
            raise AssertionError(f"cut at {cut}") from error
        whole = [each for each in answers if each is not None]
        lengths.append(len(whole))
        assert whole == [a_verdict(number) for number in range(len(whole))]
        assert answers == [*whole, *[None] * (count - len(whole))]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] == count


def test_a_flipped_bit_is_never_read_as_another_answer(path: Path, tmp_path: Path) -> None:
    """The file says what was written, or says that it is damaged, or no longer finds the answer."""
    count = 40
    asyncio.run(_settle_all(path, tmp_path / "live", count))
    good = path.read_bytes()
    chance = random.Random(2)
    refusals = []
    for _ in range(30):
        bad = bytearray(good)
        bad[chance.randrange(4096, len(bad))] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        try:
            answers = _answers(path, count)
        except (UsageError, JournalFailed) as error:
            refusals.append(str(error))
        else:
            for number, answer in enumerate(answers):
                assert answer in (None, a_verdict(number))
    assert refusals
    assert all(str(path) in refusal for refusal in refusals)


@pytest.mark.parametrize("found", [b"not a database " * 100, b"SQLite format 3\x00" + b"\x00" * 4080])
def test_a_file_that_is_no_journal_is_refused_by_name(path: Path, found: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(found)
    with pytest.raises(UsageError, match=RUN):
        asyncio.run(_settled_and_doubtful(path, []))
    assert path.read_bytes() == found


def open_without_room(path: str) -> None:
    """Opens a journal on a disk that takes no further byte, and says what it is told."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        asyncio.run(_settled_and_doubtful(Path(path), []))
    except UsageError as error:
        _acknowledge("refused", str(error))


def test_a_full_disk_is_not_taken_for_a_damaged_journal(path: Path, tmp_path: Path) -> None:
    """Who moved the file away, as a damaged one has to be, would lose what it holds."""
    asyncio.run(_settle_all(path, tmp_path / "live", 3))
    with child("tests.spec.test_journal.open_without_room", path) as process:
        assert process.stdout is not None
        (refusal,) = _acknowledged(process.stdout.readlines(), "refused")
    assert str(path) in refusal
    assert "damaged" not in refusal
    assert "make room" in refusal
    assert _answers(path, 3) == [a_verdict(number) for number in range(3)]


def _touched(path: Path) -> None:
    path.touch()


def _one_page(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA journal_mode = WAL")


def _to_be_rolled_back(path: Path) -> None:
    """As a kill leaves it between the first page and its commit: only a writer may undo it."""
    beginning = path.with_name("beginning")
    with contextlib.closing(sqlite3.connect(beginning, isolation_level=None)) as sql:
        for statement in ("PRAGMA cache_size = 1", "BEGIN IMMEDIATE", "CREATE TABLE t (x)"):
            sql.execute(statement)
        sql.executemany("INSERT INTO t VALUES (?)", [("x" * 4000,)] * 20)
        for end in ("", "-journal"):
            shutil.copy(f"{beginning}{end}", f"{path}{end}")


@pytest.mark.parametrize("left", [_touched, _one_page, _to_be_rolled_back])
def test_a_journal_killed_before_it_had_tables_holds_nothing_and_is_begun_anew(
    path: Path, left: Callable[[Path], None]
) -> None:
    path.parent.mkdir()
    left(path)
    assert read_tallies(path) == {}
    asyncio.run(_settled_and_doubtful(path, []))
    assert read_tallies(path) == {}


def test_another_runs_journal_is_refused(path: Path) -> None:
    async def open_as(run_id: str) -> None:
        async with Journal(path, run_id):
            pass

    asyncio.run(open_as(RUN))
    with pytest.raises(UsageError, match=f"{RUN}, not to another-run"):
        asyncio.run(open_as("another-run"))


# --- calls and answers


@pytest.mark.anyio
async def test_an_announced_call_without_an_answer_is_in_doubt_after_a_restart(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        await journal.intend(question(1), TENCENT, 1, "order1", content(1))
        await journal.intend(question(2), ALIYUN, 1, "order2", None)
        await journal.settle(a_verdict(1))

    async with Journal(path, RUN) as journal:
        (call,) = [call async for call in journal.in_doubt()]
        assert (call.question_id, call.provider, call.attempt) == (question(2), ALIYUN, 1)
        assert (call.order_no, call.content_sha256) == ("order2", None)
        assert await journal.settled_among([question(1), question(2)]) == {question(1)}
        assert await journal.in_doubt_among([question(1), question(2)], 2) == {question(2): 1}


@pytest.mark.anyio
async def test_calls_in_doubt_are_streamed_whatever_their_number(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        numbers = range(1203)
        calls = [journal.intend(question(n), TENCENT, 1, f"order{n}", None) for n in numbers]
        await asyncio.gather(*calls)
        assert [call.order_no async for call in journal.in_doubt()] == [f"order{n}" for n in numbers]


@pytest.mark.anyio
async def test_the_first_answer_to_a_question_stays(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        assert await journal.settle(a_verdict(1)) is True
        assert await journal.settle(a_verdict(1, outcome=Outcome.FAILED)) is False
        assert await journal.answer_of(question(1)) == a_verdict(1)
        assert (await journal.tallies())[TENCENT].outcomes == {Outcome.SCORED: 1}


@pytest.mark.anyio
async def test_a_settled_question_cannot_be_announced_again(path: Path) -> None:
    """The other callers of the same commit are not disturbed by the refusal."""
    async with Journal(path, RUN) as journal:
        await journal.settle(a_verdict(1))
        refused, allowed = await asyncio.gather(
            journal.intend(question(1), TENCENT, 1, "order1", content(1)),
            journal.intend(question(2), TENCENT, 1, "order2", content(2)),
            return_exceptions=True,
        )
        assert isinstance(refused, AlreadySettled)
        assert allowed == question(2)


@pytest.mark.anyio
async def test_an_answer_is_kept_although_its_caller_was_cancelled(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        caller = asyncio.create_task(journal.settle(a_verdict(1)))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
    async with Journal(path, RUN) as journal:
        assert await journal.answer_of(question(1)) == a_verdict(1)


@pytest.mark.anyio
async def test_a_caller_cancelled_while_announcing_has_announced_nothing(path: Path) -> None:
    """Its content is free for the next one, and no call is in doubt."""
    async with Journal(path, RUN) as journal:
        caller = asyncio.create_task(journal.intend(question(1), TENCENT, 1, "o", content(1)))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        assert await journal.intend(question(2), TENCENT, 1, "o", content(1)) == question(2)
        assert await journal.in_doubt_among([question(1)], 2) == {}


@pytest.mark.anyio
async def test_counts_by_provider_outcome_and_billing(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        for attempt in (1, 2):
            await journal.intend(question(1), TENCENT, attempt, f"order{attempt}", None)
        await journal.settle(a_verdict(1, throttled=3))
        await journal.settle(
            a_verdict(2, outcome=Outcome.UNREADABLE, billed=Billed.NO, cost=None, attempts=0)
        )
        await journal.intend(question(3), ALIYUN, 1, "order3", None)
        tallies = await journal.tallies()

    assert tallies[TENCENT].outcomes == {Outcome.SCORED: 1, Outcome.UNREADABLE: 1}
    assert tallies[TENCENT].billed == {Billed.YES: 1, Billed.NO: 1}
    assert (tallies[TENCENT].calls, tallies[TENCENT].throttled) == (2, 3)
    assert tallies[TENCENT].cost == 0.25
    assert (tallies[ALIYUN].calls, tallies[ALIYUN].open_calls) == (1, 1)
    assert tallies[ALIYUN].cost is None
    assert read_tallies(path) == tallies


@pytest.mark.anyio
async def test_counts_can_be_read_while_the_run_goes_on(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        await journal.settle(a_verdict(1))
        assert (await asyncio.to_thread(read_tallies, path))[TENCENT].settled == 1


@pytest.mark.anyio
async def test_answers_can_be_read_while_the_run_goes_on_in_slices(path: Path) -> None:
    """By a process that does not hold the journal, such as `status`."""
    answers = [a_verdict(number) for number in range(7)]
    async with Journal(path, RUN) as journal:
        await asyncio.gather(*(journal.settle(each) for each in answers))
        slices = await asyncio.to_thread(lambda: list(read_answers(path, slice_rows=3)))
    assert [len(rows) for rows in slices] == [3, 3, 1]
    assert sorted((row for rows in slices for row in rows), key=lambda row: row.settled_at) == answers


def test_answers_of_no_journal_are_refused_with_its_name(path: Path) -> None:
    with pytest.raises(UsageError, match=str(path)):
        list(read_answers(path))


@pytest.mark.anyio
async def test_a_damaged_answer_is_refused_with_the_journals_name(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        await journal.settle(a_verdict(1))
    with contextlib.closing(sqlite3.connect(path)) as sql, sql:
        sql.execute("UPDATE bodies SET body = CAST(x'00000000' || substr(body, 5) AS BLOB)")
    with pytest.raises(UsageError, match=f"{path} cannot be read: an answer's checksum"):
        list(read_answers(path))


@pytest.mark.anyio
async def test_a_question_given_up_without_doubt_keeps_its_calls_on_the_books(path: Path) -> None:
    """The provider turned the call away: it was made, and it is known not to be billed."""
    async with Journal(path, RUN) as journal:
        await journal.intend(question(1), TENCENT, 1, "order1", content(1))
        await journal.release(question(1), in_doubt=False)
        assert await journal.in_doubt_among([question(1)], 2) == {}
        tally = (await journal.tallies())[TENCENT]
        assert (tally.calls, tally.open_calls, tally.settled) == (1, 0, 0)


@pytest.mark.anyio
async def test_a_closed_journal_refuses_calls(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        pass
    with pytest.raises(JournalFailed, match="closed"):
        await journal.intend(question(1), TENCENT, 1, "order1", None)


@pytest.mark.anyio
async def test_a_verdict_of_another_run_is_refused(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        with pytest.raises(ValueError, match="other-run"):
            await journal.settle(a_verdict(1, run_id="other-run"))


# --- copies share one call


@pytest.mark.anyio
async def test_byte_identical_objects_share_one_call(path: Path) -> None:
    """Whoever announces first asks; the copy waits for its answer."""
    async with Journal(path, RUN) as journal:
        owners = await asyncio.gather(
            *(journal.intend(question(n), TENCENT, 1, f"o{n}", content(1)) for n in range(5))
        )
        assert owners == [question(0)] * 5
        waiting = asyncio.create_task(journal.end_of(question(0)))
        await asyncio.sleep(0)
        await journal.settle(a_verdict(0))
        assert await waiting is True
        assert await journal.end_of(question(0)) is True
        assert (await journal.tallies())[TENCENT].calls == 1


@pytest.mark.anyio
async def test_each_provider_is_asked_about_the_same_content(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        assert await journal.intend(question(1), TENCENT, 1, "o1", content(1)) == question(1)
        assert await journal.intend(question(2), ALIYUN, 1, "o2", content(1)) == question(2)


@pytest.mark.anyio
@pytest.mark.parametrize("end", ["failed", "unreadable", "released", "in doubt"])
async def test_a_claim_passes_on_when_its_owner_ends_without_a_verdict(path: Path, end: str) -> None:
    async with Journal(path, RUN) as journal:
        await journal.intend(question(1), TENCENT, 1, "o1", content(1))
        waiting = asyncio.create_task(journal.end_of(question(1)))
        await asyncio.sleep(0)
        if end in ("released", "in doubt"):
            await journal.release(question(1), in_doubt=end == "in doubt")
        else:
            await journal.settle(a_verdict(1, outcome=end))
        assert await waiting is False
        assert await journal.intend(question(2), TENCENT, 1, "o2", content(1)) == question(2)


@pytest.mark.anyio
async def test_a_claim_outlives_a_restart_only_if_its_owner_was_answered(path: Path) -> None:
    """A crashed owner cannot hold up its copies: whoever comes first asks."""
    async with Journal(path, RUN) as journal:
        await journal.intend(question(1), TENCENT, 1, "o1", content(1))
        await journal.settle(a_verdict(1))
        await journal.intend(question(2), TENCENT, 1, "o2", content(2))
    async with Journal(path, RUN) as journal:
        assert await journal.intend(question(3), TENCENT, 1, "o3", content(1)) == question(1)
        assert await journal.end_of(question(2)) is False
        assert await journal.intend(question(4), TENCENT, 1, "o4", content(2)) == question(4)


@pytest.mark.anyio
async def test_nobody_waits_for_a_claim_when_the_journal_closes(path: Path) -> None:
    async with Journal(path, RUN) as journal:
        await journal.intend(question(1), TENCENT, 1, "o1", content(1))
        waiting = asyncio.create_task(journal.end_of(question(1)))
        await asyncio.sleep(0)
        await journal.in_doubt_among([question(1)], 2)  # one reader: the look-up is behind us
    with pytest.raises(JournalFailed, match="closed"):
        await waiting


# --- an answer's bytes


def test_an_answer_comes_back_as_it_was_given() -> None:
    verdict = a_verdict(1, message='引号 " newline \n NUL \x00 𝄞', asked_at=None, cost=None)
    assert from_bytes(to_bytes(verdict)) == verdict


def test_moments_of_any_zone_come_back_in_utc() -> None:
    moment = datetime(2026, 11, 21, 2, 7, 12, 345678, tzinfo=timezone(timedelta(hours=8)))
    stored = from_bytes(to_bytes(a_verdict(1, settled_at=moment)))
    assert stored.settled_at == moment
    assert stored.settled_at.tzinfo is UTC


def test_a_message_that_is_not_valid_text_does_not_cost_the_answer() -> None:
    stored = from_bytes(to_bytes(a_verdict(1, message="half \ud83d of a pair", tags=("x\udc80",))))
    assert stored == a_verdict(1, message="half \ufffd of a pair", tags=("x\ufffd",))


def test_damaged_bytes_are_never_an_answer() -> None:
    good = to_bytes(a_verdict(1))
    for index in range(0, len(good), 7):
        bad = bytearray(good)
        bad[index] ^= 1
        with pytest.raises(ValueError, match="checksum"):
            from_bytes(bytes(bad))


# --- one process per run


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with child("tests.spec.test_journal.hold_lock", path) as holder:
        assert holder.stdout is not None
        pid = holder.stdout.readline().split()[1]
        with pytest.raises(HomeBusy, match=f"{RUN}.*{pid} on {os.uname().nodename}"):
            RunLock(path, RUN).__enter__()
        holder.kill()


def test_a_killed_owner_does_not_hold_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with child("tests.spec.test_journal.hold_lock", path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    with RunLock(path, RUN):
        pass


def test_a_worker_that_outlives_its_killed_owner_does_not_hold_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with child("tests.spec.test_journal.hold_lock_and_fork", path) as owner:
        assert owner.stdout is not None
        worker = int(owner.stdout.readline().split()[1])
        owner.kill()
        owner.wait()
        try:
            with RunLock(path, RUN):
                os.kill(worker, 0)
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_lock_can_be_taken_again_once_it_is_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with RunLock(tmp_path / "run.lock", RUN), pytest.raises(HomeBusy):
            RunLock(tmp_path / "run.lock", RUN).__enter__()
