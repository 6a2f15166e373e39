"""The parts of a backfill's shards: one folder, a journal each, and no part ever in another's place."""

import asyncio
from pathlib import Path

import pytest

from domain.errors import FacesweepError
from domain.verdicts import Outcome, Verdict
from tasks.records import parts
from tasks.records.earlier import EarlierAnswers
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.part_numbers import PartNumbers, numbers_in, numbers_of_shard, shard_of
from tests.spec.test_earlier import about, answers_to, picture, put
from tests.spec.test_journal import ALIYUN, RUN, TENCENT, a_verdict, question
from tests.spec.test_parts import FolderBlobs, ids_by_reader


def machine(tmp_path: Path, name: str) -> Home:
    """One of several machines that share a home in a bucket."""
    return Home.in_bucket(FolderBlobs(tmp_path / "bucket"), "kyc", tmp_path / name)


def a_journal(home: Home, shard: int) -> Journal:
    return Journal(home.shard_journal_path(RUN, TENCENT, shard), RUN)


async def publish(journal: Journal, home: Home, shard: int, attempt: int = 1) -> list[str]:
    numbers = numbers_of_shard(shard, attempt)
    return [path.name for path in await parts.publish(journal, home, TENCENT, numbers=numbers)]


async def restore(journal: Journal, home: Home, shard: int) -> int:
    return await parts.restore(journal, home, [TENCENT], numbers_of_shard(shard, 1))


async def work(home: Home, shard: int, *verdicts: Verdict, attempt: int = 1) -> list[str]:
    """Settle and publish, in the shard's journal on that machine."""
    async with a_journal(home, shard) as journal:
        await restore(journal, home, shard)
        for each in verdicts:
            await journal.settle(each)
        return await publish(journal, home, shard, attempt)


def test_each_shard_has_a_journal_and_a_lock_of_its_own(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    path = home.shard_journal_path(RUN, TENCENT, 12)
    assert path == tmp_path / ".journal" / f"{RUN}.tencent-12.sqlite"
    assert home.shard_lock_path(RUN, TENCENT, 12) == tmp_path / ".journal" / f"{RUN}.tencent-12.lock"
    path.parent.mkdir()
    for each in (path, home.shard_journal_path(RUN, ALIYUN, 3), home.journal_path(RUN)):
        each.touch()
    assert set(home.shard_journals(RUN)) == {(TENCENT, 12), (ALIYUN, 3)}


def test_a_number_tells_the_shard_that_owns_it() -> None:
    for shard in (1, 12, 33_333):
        numbers = numbers_of_shard(shard, 1)
        assert numbers.last is not None
        assert shard_of(numbers.first) == shard_of(numbers.last) == shard
        assert not numbers.holds(numbers.first - 1)
        assert not numbers.holds(numbers.last + 1)
    assert shard_of(9_999) is None


def test_shards_publish_side_by_side_into_ranges_of_their_own(tmp_path: Path) -> None:
    home = Home.local(tmp_path)
    assert asyncio.run(work(home, 1, a_verdict(1))) == ["part-10001.parquet"]
    assert asyncio.run(work(home, 2, a_verdict(2))) == ["part-20001.parquet"]
    assert asyncio.run(work(home, 12, a_verdict(3))) == ["part-120001.parquet"]
    assert asyncio.run(work(home, 1, a_verdict(4))) == ["part-10002.parquet"]
    assert numbers_in(home, RUN, TENCENT, numbers_of_shard(1, 1)) == [10001, 10002]
    assert ids_by_reader(tmp_path / "verdicts")["duckdb"] == sorted(map(question, (1, 2, 3, 4)))


def test_a_shard_lists_no_more_of_a_bucket_than_the_names_that_may_be_its_own(tmp_path: Path) -> None:
    home = machine(tmp_path, "a")
    for shard in (2, 12, 123):
        asyncio.run(work(home, shard, a_verdict(shard)))
    folder = f"verdicts/provider=tencent/run={RUN}"
    assert home.names(folder, "part-12") == [
        f"{folder}/part-120001.parquet",
        f"{folder}/part-1230001.parquet",
    ]
    assert numbers_in(home, RUN, TENCENT, numbers_of_shard(12, 1)) == [120001]


def test_another_machine_restores_a_shards_own_parts_and_no_others(tmp_path: Path) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    asyncio.run(work(first, 12, a_verdict(1), a_verdict(2)))
    asyncio.run(work(first, 13, a_verdict(3)))

    async def go_on() -> None:
        async with a_journal(second, 12) as journal:
            assert await restore(journal, second, 12) == 2
            assert await journal.settled_among([question(n) for n in (1, 2, 3)]) == {question(1), question(2)}

    asyncio.run(go_on())


def test_an_upload_that_a_machine_given_up_for_dead_completes_replaces_no_part(tmp_path: Path) -> None:
    """It stood still between the look at its claim and the upload's end; a second and a third took over."""
    first, second, third = (machine(tmp_path, name) for name in ("first", "second", "third"))

    async def story() -> None:
        async with a_journal(first, 12) as journal:
            await journal.settle(a_verdict(1))
            part = await journal.assign_part(TENCENT, max_rows=10, above=numbers_of_shard(12, 1).first - 1)
            assert part is not None
            taken = [
                await work(second, 12, a_verdict(2), attempt=2),
                await work(third, 12, a_verdict(3), attempt=3),
            ]
            late = await publish(journal, first, 12)
            assert [part.number, *late] == [120001, "part-120001.parquet"]
            assert taken == [["part-120002.parquet"], ["part-120005.parquet"]]

    asyncio.run(story())
    third.refresh("verdicts")
    assert ids_by_reader(tmp_path / "third" / "verdicts")["duckdb"] == sorted(map(question, (1, 2, 3)))


def test_a_machine_that_comes_back_publishes_nothing_that_another_one_asked_again(tmp_path: Path) -> None:
    """Two answers never left its journal. One was asked again elsewhere, and is published there."""
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")

    async def story() -> None:
        async with a_journal(first, 12) as journal:
            for number in (1, 2):
                await journal.intend(question(number), TENCENT, 1, "o", None)
                await journal.settle(a_verdict(number))
            await journal.assign_part(TENCENT, max_rows=10, above=numbers_of_shard(12, 1).first - 1)
        await work(second, 12, a_verdict(1, outcome=Outcome.REFUSED, attempts=1), attempt=2)
        async with a_journal(first, 12) as journal:
            assert await restore(journal, first, 12) == 0
            tally = (await journal.tallies())[TENCENT]
            assert {name: count for name, count in tally.outcomes.items() if count} == {
                "scored": 1,
                "refused": 1,
            }
            assert tally.calls == 3  # both answers to question 1 were asked for
            assert await publish(journal, first, 12, attempt=3) == ["part-120005.parquet"]
            found = await parts.answer_of(journal, first, question(1))
            assert found is not None
            assert found.outcome == "refused"

    asyncio.run(story())
    first.refresh("verdicts")
    assert ids_by_reader(tmp_path / "first" / "verdicts")["duckdb"] == [question(1), question(2)]


def test_a_part_that_was_in_place_when_its_writer_died_stays_its_own(tmp_path: Path) -> None:
    """Killed between the upload and the mark: another went on, and the first one finishes what it began."""
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")

    class Killed(Exception):
        pass

    def die(step: str) -> None:
        if step == "adopted":
            raise Killed

    async def story() -> None:
        async with a_journal(first, 12) as journal:
            await journal.settle(a_verdict(1))
            with pytest.raises(Killed):
                await parts.publish(journal, first, TENCENT, numbers=numbers_of_shard(12, 1), at_step=die)
        await work(second, 12, a_verdict(2), attempt=2)
        async with a_journal(first, 12) as journal:
            assert await restore(journal, first, 12) == 1
            assert await publish(journal, first, 12, attempt=3) == ["part-120001.parquet"]

    asyncio.run(story())
    first.refresh("verdicts")
    assert ids_by_reader(tmp_path / "first" / "verdicts")["duckdb"] == sorted(map(question, (1, 2)))


def test_a_shard_whose_numbers_are_used_up_says_so_and_keeps_its_answers(tmp_path: Path) -> None:
    home = Home.local(tmp_path)

    async def story() -> None:
        async with a_journal(home, 12) as journal:
            for number in range(3):
                await journal.settle(a_verdict(number))
            two = PartNumbers(120001, 120002)
            with pytest.raises(FacesweepError, match=r"part-120003.* beyond the last number"):
                await parts.publish(journal, home, TENCENT, numbers=two, max_rows=1)
            assert len(await journal.settled_among(map(question, range(3)))) == 3

    asyncio.run(story())
    assert len(home.names("verdicts")) == 2


def test_answers_of_other_shards_serve_copies_and_a_shards_own_are_left_to_its_journal(
    tmp_path: Path,
) -> None:
    home = Home.local(tmp_path)
    other, own, earlier = about(1, run_id=RUN), about(2, run_id=RUN), about(3)
    put(home, other, run_id=RUN, number=130001)
    put(home, own, run_id=RUN, number=120001)
    put(home, earlier)

    async def look() -> list[Verdict | None]:
        async with EarlierAnswers(home, TENCENT, RUN, numbers_of_shard(12, 1)) as answers:
            return [await answers.answer_to(picture(number)) for number in (1, 2, 3)]

    assert asyncio.run(look()) == [other, None, earlier]
    assert answers_to(home, picture(1), picture(3)) == [
        None,
        earlier,
    ]  # a run of one process: none of its own
