"""Earlier answers: what a provider said of a content in an earlier run is found again, and nothing else."""

import asyncio
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from domain.objects import ObjectRef, Store
from domain.verdicts import Outcome, Provider, Verdict
from tasks.records.content_index import ContentIndex
from tasks.records.earlier import EarlierAnswers
from tasks.records.home import Home, HomeUnwritable
from tasks.records.parts import PartDamaged, part_path
from tasks.records.schema import table_of
from tests.spec.compacted_homes import ADDED
from tests.spec.test_journal import ALIYUN, REPOSITORY, RUN, TENCENT, a_verdict, child, question

EARLIER = "20261119T013000Z-0001"
STEPS = ["reading", "dealt", "sorted"]


def picture(number: int) -> bytes:
    return f"the bytes of picture {number}".encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def about(number: int, **changes: Any) -> Verdict:
    """What an earlier run holds about picture `number`."""
    return a_verdict(number, **{"run_id": EARLIER, "content_sha256": sha256(picture(number)), **changes})


def put(
    home: Home, *rows: Verdict, run_id: str = EARLIER, number: int = 1, group_rows: int | None = None
) -> Path:
    """Publish the rows as a part of an earlier run."""
    path = home.path(part_path(Provider(rows[0].provider), run_id, number))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(rows), path, row_group_size=group_rows)
    return path


def answers_to(home: Home, *contents: bytes, provider: Provider = TENCENT) -> list[Verdict | None]:
    async def look() -> list[Verdict | None]:
        async with EarlierAnswers(home, provider, RUN) as earlier:
            return [await earlier.answer_to(content) for content in contents]

    return asyncio.run(look())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.local(tmp_path / "home")


# --- what is found ---


def test_the_whole_row_of_an_earlier_run_is_found_by_the_bytes_of_the_object(home: Home) -> None:
    rows = [about(number, scores={"a": number / 7}, tags=("synthesis",)) for number in range(5)]
    put(home, *rows)
    assert answers_to(home, *map(picture, range(5))) == rows


def test_bytes_nobody_was_asked_about_have_no_answer(home: Home) -> None:
    put(home, about(1))
    assert answers_to(home, picture(2), b"") == [None, None]


def test_a_refusal_is_found_like_a_score(home: Home) -> None:
    put(home, about(1, outcome=Outcome.REFUSED, risk=None, reason="NoFace"))
    (found,) = answers_to(home, picture(1))
    assert found is not None
    assert (found.outcome, found.reason) == ("refused", "NoFace")


@pytest.mark.parametrize("outcome", [Outcome.UNFIT, Outcome.UNREADABLE, Outcome.FAILED])
def test_what_the_provider_did_not_say_is_not_lent(home: Home, outcome: Outcome) -> None:
    put(home, about(1, outcome=outcome), about(2))
    assert answers_to(home, picture(1)) == [None]


def test_a_provider_is_lent_its_own_answers_only(home: Home) -> None:
    put(home, about(1), about(2))
    put(home, about(2, provider=ALIYUN, risk="low"))
    assert answers_to(home, picture(1), provider=ALIYUN) == [None]
    assert [row.risk if row else None for row in answers_to(home, picture(2), provider=ALIYUN)] == ["low"]


def test_the_parts_of_the_run_itself_are_no_earlier_answers(home: Home) -> None:
    put(home, about(1, run_id=RUN), run_id=RUN)
    put(home, about(2))
    assert answers_to(home, picture(1)) == [None]


def test_of_several_answers_about_one_content_the_last_one_asked_is_found(home: Home) -> None:
    """Somebody asked again, with a reason: the newer word counts."""
    first = about(1, risk="low")
    second = replace(about(2, risk="high"), content_sha256=sha256(picture(1)))
    repeat = replace(about(3, outcome=Outcome.REUSED), content_sha256=sha256(picture(1)), reused_from="…")
    put(home, second, first, repeat)
    assert answers_to(home, picture(1)) == [second]


def test_a_row_that_repeats_another_serves_where_the_original_is_gone(home: Home) -> None:
    """Its `reused_from` still names who was asked."""
    older = about(1, outcome=Outcome.REUSED, reused_from=question(77))
    newer = replace(older, question_id=question(5), settled_at=older.settled_at + timedelta(days=1))
    put(home, older, newer)
    assert answers_to(home, picture(1)) == [newer]


def test_two_contents_that_share_the_first_64_bits_of_their_hashes_are_told_apart(home: Home) -> None:
    def colliding(number: int, digit: str) -> Verdict:
        return about(number, content_sha256=sha256(picture(1))[:16] + digit * 48)

    strangers = [colliding(2, "0"), colliding(3, "f")]
    put(home, *strangers)
    assert answers_to(home, picture(1)) == [None]
    put(home, about(1), number=2)
    assert answers_to(home, picture(1)) == [about(1)]


def test_two_contents_that_share_half_of_their_hashes_are_never_taken_for_each_other(home: Home) -> None:
    put(home, about(2, content_sha256=sha256(picture(1))[:32] + "0" * 32))
    assert answers_to(home, picture(1)) == [None]


def test_a_row_is_found_wherever_in_its_part_it_stands(home: Home) -> None:
    """Across batches, row groups and parts; some rows between them are not lent."""
    outcomes = (Outcome.SCORED, Outcome.SCORED, Outcome.FAILED)
    rows = [about(number, outcome=outcomes[number % 3]) for number in range(6000)]
    put(home, *rows[:4500], group_rows=3000)
    put(home, *rows[4500:], number=2, group_rows=700)
    looked_at = [*range(0, 6000, 97), 2047, 2048, 2999, 3000, 4499, 4500, 5199, 5200, 5999]
    expected = [rows[number] if rows[number].outcome == Outcome.SCORED else None for number in looked_at]
    assert answers_to(home, *map(picture, looked_at)) == expected


def test_a_part_written_before_the_newest_columns_lends_its_answers(home: Home) -> None:
    path = put(home, about(1, schema_version=1, stratum="x"))
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(ADDED), path)
    assert answers_to(home, picture(1)) == [about(1, schema_version=1, **dict.fromkeys(ADDED))]


def test_answers_are_found_after_their_part_was_merged_into_another(home: Home) -> None:
    parts = [put(home, about(number), number=number) for number in (1, 2)]

    async def story() -> list[Verdict | None]:
        async with EarlierAnswers(home, TENCENT, RUN) as earlier:
            put(home, about(1), about(2), number=3)
            for part in parts:
                part.unlink()
            return [await earlier.answer_to(picture(number)) for number in (1, 2, 3)]

    assert asyncio.run(story()) == [about(1), about(2), None]


def test_a_damaged_part_is_named(home: Home) -> None:
    put(home, about(1)).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(PartDamaged, match=r"run=20261119T013000Z-0001/part-00001\.parquet cannot be read"):
        answers_to(home, picture(1))


# --- what is left behind ---


def staged(home: Home) -> list[Path]:
    return list((home.root / ".staging").iterdir())


def test_nothing_is_left_when_the_block_is_left(home: Home) -> None:
    put(home, about(1))

    async def story() -> None:
        async with EarlierAnswers(home, TENCENT, RUN) as earlier:
            assert await earlier.answer_to(picture(1))
            assert staged(home)

    asyncio.run(story())
    assert staged(home) == []


def test_nothing_is_left_when_entering_is_cancelled(home: Home) -> None:
    for number in range(1, 20):
        put(home, *(about(100 * number + each) for each in range(50)), number=number)

    kept: list[EarlierAnswers] = []

    async def story() -> None:
        kept.append(EarlierAnswers(home, TENCENT, RUN))
        entering = asyncio.create_task(kept[0].__aenter__())
        await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering

    asyncio.run(story())
    for thread in threading.enumerate():
        if thread.name.startswith("earlier-answers"):
            thread.join()
    assert staged(home) == []


def index_and_die_at(root: str, step: str) -> None:
    """Begins an index in a home; at the named step the process kills itself."""
    home = Home.local(Path(root))

    def at_step(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with home.staging() as folder:
        ContentIndex.build(home.paths("verdicts/**/*.parquet"), folder, at_step)


@pytest.mark.parametrize("step", STEPS)
def test_invariant_10_a_kill_while_the_index_is_built_leaves_nothing_behind(home: Home, step: str) -> None:
    """What lies in the home's workshop then is cleared away by the next process that works there."""
    put(home, *(about(number) for number in range(1000)))
    with child("tests.spec.test_earlier.index_and_die_at", home.root, step) as process:
        pass
    assert process.returncode == -signal.SIGKILL
    assert len(staged(home)) == 1
    assert [path.name for path in home.paths("**/*") if path.is_file()] == ["part-00001.parquet"]

    assert answers_to(home, picture(7)) == [about(7)]
    assert staged(home) == []


def index_without_room(root: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        answers_to(Home.local(Path(root)), picture(1))
    except HomeUnwritable as error:
        os.write(1, str(error).encode())


def test_a_home_without_room_for_the_index_says_so(home: Home) -> None:
    put(home, *(about(number) for number in range(2000)))
    with child("tests.spec.test_earlier.index_without_room", home.root) as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert str(home.root / ".staging") in said
    assert "cannot be written: File too large" in said
    assert staged(home) == []


# --- how much it takes ---

BUILT = r"""
import re, sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from tasks.records.content_index import ContentIndex

folder, parts = Path(sys.argv[1]), int(sys.argv[2])
moment = pa.scalar(datetime(2026, 1, 1, tzinfo=UTC), pa.timestamp("us", "UTC"))
outcome, nobody = pa.array(["scored"] * 40_000), pa.nulls(40_000, pa.string())

def hashed(number):
    return sha256(b"%d" % number).hexdigest()

paths = []
for number in range(parts):
    paths.append(folder / f"part-{number}.parquet")
    rows = [hashed(number * 40_000 + row) for row in range(40_000)]
    pq.write_table(
        pa.table({
            "content_sha256": rows, "outcome": outcome, "reused_from": nobody,
            "settled_at": pa.repeat(moment, 40_000), "raw": rows,
        }),
        paths[-1], compression="none", use_dictionary=False,
    )
del rows

def peak_kib():
    # Not getrusage: its peak begins with that of the process that started this one.
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

index = ContentIndex.build(paths, folder)
looked_at = range(0, parts * 40_000, 997)
missed = [
    each for each in looked_at
    if list(index.rows_about(hashed(each))) != [(paths[each // 40_000], each % 40_000)]
]
print(len(missed), peak_kib())
"""


def peak_mib(folder: Path, parts: int) -> float:
    folder.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", BUILT, str(folder), str(parts)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    missed, peak_kib = map(int, told.stdout.split())
    assert missed == 0
    return peak_kib / 1024


def test_invariant_7_four_times_the_verdicts_take_no_more_memory_to_index(tmp_path: Path) -> None:
    few, many = peak_mib(tmp_path / "few", 2), peak_mib(tmp_path / "many", 8)
    assert many - few < 20, (few, many)


def alike_to(home: Home, *objects: ObjectRef) -> list[Verdict | None]:
    async def story() -> list[Verdict | None]:
        async with EarlierAnswers(home, TENCENT, RUN, by_etag=True) as earlier:
            return [await earlier.alike(each) for each in objects]

    return asyncio.run(story())


def an_object(etag: str | None, size_bytes: int) -> ObjectRef:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return ObjectRef("oss://kyc/x", Store.OSS, "kyc", "x", None, etag, size_bytes, moment)


def test_an_answer_is_found_by_an_etag_that_is_an_md5_and_the_size(home: Home) -> None:
    """For objects that are not to be fetched; stores write their MD5s in small letters or capitals."""
    md5 = "5eb63bbbe01eeed093cb22bb8f5acdc3"
    row = about(1, etag=md5.upper(), size_bytes=11, content_sha256=None)
    put(home, row, about(2, etag="not-hex-but-thirty-two-long-12345"[:32]), about(3, etag=None))

    found = alike_to(
        home,
        an_object(md5, 11),
        an_object(md5, 12),  # another size
        an_object(f"{md5}-2", 11),  # of an upload in parts
        an_object(None, 11),
        an_object("0" * 32, 11),
    )

    assert found == [row, None, None, None, None]


def test_nothing_is_looked_up_by_etag_where_nothing_goes_by_url(home: Home) -> None:
    put(home, about(1, etag="5eb63bbbe01eeed093cb22bb8f5acdc3", size_bytes=11))

    async def story() -> Verdict | None:
        async with EarlierAnswers(home, TENCENT, RUN) as earlier:
            return await earlier.alike(an_object("5eb63bbbe01eeed093cb22bb8f5acdc3", 11))

    assert asyncio.run(story()) is None
