"""The line: how the questions of a shard stream through the stages, and what each of them ends as."""

import asyncio
import hashlib
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from domain.budgets import Budget
from domain.errors import BudgetSpent, Denied, FacesweepError, Stopped, StoreDenied, Tripped
from domain.objects import MediaKind
from domain.questions import Question, question_id
from domain.verdicts import Outcome, Provider, Verdict
from tasks.buckets.bucket import parse_location
from tasks.buckets.local import LocalBucket
from tasks.media.limits import TENCENT
from tasks.media.workers import MediaWorkers
from tasks.pacing.lane import Lane
from tasks.pacing.places import Places
from tasks.pacing.retry import RetryPolicy, Tries
from tasks.providers.credentials import tencent_keys
from tasks.providers.tencent.client import TencentDetector
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.shard import row as row_module
from tasks.shard.feed import Feed
from tasks.shard.line import LEAST_READY, TRIPS_S, Line
from tasks.shard.memory import HeldBytes
from tasks.shard.stream import stream
from tests.clock import run_on_movable_clock
from tests.contract.emulated_media import image
from tests.contract.emulator_process import RunningEmulators, running_emulators
from tests.media_corpus import clip

RUN = "20261120T180712Z-3f9a"


# --- HeldBytes: how much the trips under way may hold ---


class Holding:
    """Trips that note when they are admitted and leave when they are told to."""

    def __init__(self, size_bytes: int) -> None:
        self.held = HeldBytes(size_bytes)
        self.admitted: list[str] = []
        self.inside: dict[str, int] = {}
        self._over: dict[str, asyncio.Event] = {}
        self._trips: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, size_bytes: int) -> None:
        self._over[name] = asyncio.Event()

        async def trip() -> None:
            async with self.held.hold(size_bytes):
                self.admitted.append(name)
                self.inside[name] = size_bytes
                try:
                    await self._over[name].wait()
                finally:
                    del self.inside[name]

        self._trips[name] = asyncio.create_task(trip())
        await settled()

    async def leave(self, name: str) -> None:
        self._over[name].set()
        await settled()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self._trips[name].cancel()
        await settled()

    async def all_leave(self) -> None:
        for over in self._over.values():
            over.set()
        await asyncio.gather(*self._trips.values(), return_exceptions=True)


async def settled() -> None:
    """Everything that can happen now has happened."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_trips_are_admitted_while_what_they_hold_fits() -> None:
    async def story() -> None:
        holding = Holding(100)
        for name, size in (("a", 60), ("b", 40), ("c", 1)):
            await holding.come(name, size)
        assert holding.admitted == ["a", "b"]
        await holding.leave("b")
        assert holding.admitted == ["a", "b", "c"]
        await holding.all_leave()

    run_on_movable_clock(story())


def test_whoever_comes_first_is_admitted_first_even_if_a_small_one_would_fit() -> None:
    """A large video is not starved by the selfies behind it."""

    async def story() -> None:
        holding = Holding(100)
        for name, size in (("a", 60), ("large", 90), ("small", 10)):
            await holding.come(name, size)
        assert holding.admitted == ["a"]
        await holding.leave("a")
        assert holding.admitted == ["a", "large", "small"]
        await holding.all_leave()

    run_on_movable_clock(story())


def test_what_is_larger_than_everything_holds_everything() -> None:
    async def story() -> None:
        holding = Holding(100)
        await holding.come("a", 1)
        await holding.come("huge", 1_000)
        await holding.come("b", 1)
        assert holding.admitted == ["a"]
        await holding.leave("a")
        assert holding.admitted == ["a", "huge"]
        await holding.leave("huge")
        assert holding.admitted == ["a", "huge", "b"]
        await holding.all_leave()

    run_on_movable_clock(story())


def test_an_empty_object_needs_no_room_but_keeps_its_place() -> None:
    async def story() -> None:
        holding = Holding(100)
        await holding.come("a", 100)
        await holding.come("empty", 0)
        assert holding.admitted == ["a", "empty"]
        await holding.come("b", 1)
        await holding.come("empty too", 0)
        assert holding.admitted == ["a", "empty"]
        await holding.all_leave()

    run_on_movable_clock(story())


def test_a_trip_that_is_cancelled_while_it_waits_lets_those_behind_it_in() -> None:
    async def story() -> None:
        holding = Holding(100)
        for name, size in (("a", 50), ("large", 90), ("small", 50)):
            await holding.come(name, size)
        await holding.cancel("large")
        assert holding.admitted == ["a", "small"]
        await holding.all_leave()

    run_on_movable_clock(story())


def test_a_trip_that_is_cancelled_in_the_moment_it_is_admitted_gives_its_room_back() -> None:
    async def story() -> None:
        holding = Holding(100)
        await holding.come("a", 100)
        await holding.come("b", 100)
        holding._over["a"].set()
        await asyncio.sleep(0)
        await holding.cancel("b")
        await holding.come("c", 100)
        assert holding.admitted[-1] == "c"
        await holding.all_leave()

    run_on_movable_clock(story())


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_goes_and_is_cancelled_no_more_is_held_than_allowed(seed: int) -> None:
    async def story() -> None:
        dice = random.Random(seed)
        holding = Holding(100)
        for number in range(60):
            await holding.come(str(number), dice.randint(0, 120))
            assert sum(min(size, 100) for size in holding.inside.values()) <= 100
            if dice.random() < 0.4:
                await holding.cancel(str(dice.randint(0, number)))
            if dice.random() < 0.6:
                await holding.leave(str(dice.randint(0, number)))
        await holding.all_leave()
        await holding.come("the last", 100)
        assert "the last" in holding.inside
        await holding.all_leave()

    run_on_movable_clock(story())


# --- a line of real parts: a folder, an emulated Tencent, a journal on disk ---


@pytest.fixture(scope="module")
def process() -> Iterator[RunningEmulators]:
    with running_emulators() as running:
        yield running


@pytest.fixture
def emulators(process: RunningEmulators, monkeypatch: pytest.MonkeyPatch) -> RunningEmulators:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "EXAMPLE-secret-key-not-real")
    process.reset()
    return process


def put(folder: Path, **files: bytes) -> list[Question]:
    """Write the files and plan a question about each, in the order given."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.jpg").write_bytes(content)
    listed = {
        ref.key.removesuffix(".jpg"): ref
        for batch in LocalBucket(parse_location(str(folder))).list_batches()
        for ref in batch
    }
    return [
        Question(
            question_id(listed[name].url, listed[name].version, Provider.TENCENT),
            Provider.TENCENT,
            listed[name],
            MediaKind.IMAGE,
            None,
        )
        for name in files
    ]


@asynccontextmanager
async def a_line(folder: Path, emulators: RunningEmulators, **changes: Any) -> AsyncIterator[Line]:
    home = Home.local(folder / "home")
    budget = changes.pop("budget", Budget())
    async with (
        aiohttp.ClientSession() as session,
        Journal(home.journal_path(RUN), RUN, budget, {Provider.TENCENT: 0.5}) as journal,
        MediaWorkers() as workers,
    ):
        yield replace(
            Line(
                run_id=RUN,
                audit="kyc",
                bucket=LocalBucket(parse_location(str(folder / "source"))),
                limits=TENCENT,
                workers=workers,
                detector=TencentDetector(session, tencent_keys(""), emulators.tencent_url, None),
                lane=Lane(200),
                policy=RetryPolicy(backoff_s=0.01),
                journal=journal,
                home=home,
                price_per_call=0.5,
                code_version="1.2.3",
                recorded=lambda _: None,
                held=HeldBytes(),
            ),
            **changes,
        )


async def rows(line: Line, questions: Sequence[Question]) -> dict[str, Verdict]:
    """The row of each question that has one, by the name of its file."""
    found = {}
    for question in questions:
        answer = await line.journal.answer_of(question.question_id)
        if isinstance(answer, Verdict):
            found[question.object.key.removesuffix(".jpg")] = answer
    return found


@pytest.mark.anyio
async def test_every_question_of_a_shard_ends_in_one_row(tmp_path: Path, emulators: RunningEmulators) -> None:
    """Scored, refused, unfit and unreadable, side by side: an object's trouble is its own."""
    questions = put(
        tmp_path / "source",
        fine=image("genuine"),
        swapped=image("swap"),
        faceless=image("noface"),
        text=b"no picture at all",
        gone=image(grey=3),
        changed=image(grey=4),
    )
    (tmp_path / "source" / "gone.jpg").unlink()
    (tmp_path / "source" / "changed.jpg").write_bytes(image(grey=5) + b"longer")
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        ended = await rows(line, questions)

    assert {name: (row.outcome, row.risk, row.attempts, row.billed) for name, row in ended.items()} == {
        "fine": ("scored", "low", 1, "yes"),
        "swapped": ("scored", "high", 1, "yes"),
        "faceless": ("refused", None, 1, "no"),
        "text": ("unfit", None, 0, "no"),
        "gone": ("unreadable", None, 0, "no"),
        "changed": ("unreadable", None, 0, "no"),
    }
    assert {name: row.reason for name, row in ended.items() if row.attempts == 0} == {
        "text": "not_media",
        "gone": ended["gone"].reason,
        "changed": "changed",
    }
    assert ended["swapped"].tags == ("synthesis",)
    assert ended["fine"].cost == 0.5
    assert ended["text"].cost == 0.0


@pytest.mark.anyio
async def test_a_row_says_what_was_sent_and_that_it_is_what_was_stored(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    content = image("genuine")
    questions = put(tmp_path / "source", fine=content)
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        row = (await rows(line, questions))["fine"]

    stored = hashlib.sha256(content).hexdigest()
    assert (row.content_sha256, row.sent_sha256, row.sent_bytes) == (stored, stored, len(content))
    assert (row.preparation, row.delivery, row.media) == ("untouched", "base64", "image")
    assert (row.run_id, row.audit, row.code_version) == (RUN, "kyc", "1.2.3")
    (call,) = emulators.calls("tencent")
    assert (call["media_sha256"], call["request_id"]) == (stored, row.request_id)


@pytest.mark.anyio
async def test_invariant_4_copies_that_only_their_content_gives_away_share_one_call(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Twelve names, one content, nothing in the plan about it: one call, eleven rows that repeat it."""
    questions = put(tmp_path / "source", **{f"copy{number:02}": image("swap") for number in range(12)})
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        ended = await rows(line, questions)

    assert len(emulators.calls("tencent")) == 1
    assert Counter(row.outcome for row in ended.values()) == {Outcome.SCORED: 1, Outcome.REUSED: 11}
    (original,) = [row for row in ended.values() if row.outcome == Outcome.SCORED]
    for row in ended.values():
        if row is not original:
            assert (row.reused_from, row.risk, row.tags) == (original.question_id, "high", ("synthesis",))
            assert (row.attempts, row.billed, row.cost, row.asked_at) == (0, "no", 0.0, None)
            assert row.url != original.url


@pytest.mark.anyio
async def test_invariant_4_a_planned_copy_shares_the_call_of_its_original(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    first, second = put(tmp_path / "source", a=image("swap"), b=image("swap"))
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([[first, replace(second, copy_of=first.question_id)]]))
        ended = await rows(line, [first, second])

    assert len(emulators.calls("tencent")) == 1
    assert (ended["b"].outcome, ended["b"].reused_from) == (Outcome.REUSED, first.question_id)
    assert ended["b"].content_sha256 == ended["a"].content_sha256


@pytest.mark.anyio
async def test_a_planned_copy_that_is_none_gets_a_call_of_its_own(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Two objects with one ETag and other bytes: whoever is suspect must not borrow a good verdict."""
    first, second = put(tmp_path / "source", a=image("genuine"), b=image("swap"))
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([[first, replace(second, copy_of=first.question_id)]]))
        ended = await rows(line, [first, second])

    assert (ended["a"].risk, ended["b"].risk) == ("low", "high")
    assert (ended["b"].outcome, ended["b"].reused_from) == (Outcome.SCORED, None)


@pytest.mark.anyio
async def test_a_copy_of_a_refused_object_is_refused_without_a_call(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    questions = put(tmp_path / "source", a=image("noface"), b=image("noface"))
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        ended = await rows(line, questions)

    assert len(emulators.calls("tencent")) == 1
    assert {row.outcome for row in ended.values()} == {Outcome.REFUSED}
    assert sorted(row.attempts for row in ended.values()) == [0, 1]


@pytest.mark.anyio
async def test_a_copy_of_an_object_that_failed_is_asked_itself(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """A failure is no answer to repeat: whoever comes next makes a call of its own."""
    questions = put(tmp_path / "source", a=image("swap"), b=image("swap"))
    emulators.script("tencent", fault="answers_lost", times=2)
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        ended = await rows(line, questions)

    assert sorted(row.outcome for row in ended.values()) == ["failed", "scored"]
    assert len(emulators.calls("tencent")) == 3
    (failed,) = [row for row in ended.values() if row.outcome == Outcome.FAILED]
    assert (failed.attempts, failed.billed, failed.cost) == (2, "unknown", 1.0)


@pytest.mark.anyio
async def test_a_throttled_call_costs_no_attempt(tmp_path: Path, emulators: RunningEmulators) -> None:
    questions = put(tmp_path / "source", a=image("genuine"))
    emulators.script("tencent", fault="throttled", times=1)
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        row = (await rows(line, questions))["a"]

    assert (row.outcome, row.attempts, row.throttled, row.cost) == ("scored", 1, 1, 0.5)


@pytest.mark.anyio
async def test_invariant_5_a_refused_account_ends_the_shard_and_marks_no_question(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """What was answered before stays; what was not is pending, and free to be asked again."""
    questions = put(tmp_path / "source", **{f"f{number:02}": image(grey=number) for number in range(40)})
    emulators.script("tencent", fault="code", code="UnauthorizedOperation.Arrears", after=10, times=None)
    async with a_line(tmp_path, emulators) as line:
        with pytest.raises(Denied, match="Arrears"):
            await stream(line, iter([questions]))
        before = await rows(line, questions)
        assert {row.outcome for row in before.values()} == {"scored"}
        assert len(before) == 10
        assert line.under_way == {}

    emulators.reset()
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        after = await rows(line, questions)
    assert len(after) == 40
    assert {row.billed for row in after.values()} == {"yes"}
    assert len(emulators.calls("tencent")) == 30


@pytest.mark.anyio
async def test_a_line_that_is_stopped_waits_for_its_calls_and_keeps_their_answers(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    questions = put(tmp_path / "source", **{f"f{number:02}": image(grey=number) for number in range(40)})
    settled_rows: list[Verdict] = []

    async with a_line(tmp_path, emulators, lane=Lane(50)) as line:

        def stop_after_five(verdict: Verdict) -> None:
            settled_rows.append(verdict)
            if len(settled_rows) == 5:
                line.lane.close(Stopped("enough"))

        with pytest.raises(Stopped, match="enough"):
            await stream(replace(line, recorded=stop_after_five), iter([questions]))
        kept = await rows(line, questions)
        tally = (await line.journal.tallies())[Provider.TENCENT]

    calls = emulators.calls("tencent")
    assert len(kept) == len(calls) >= 5
    assert all(call["delivered"] for call in calls)
    assert tally.open_calls == 0


@pytest.mark.anyio
async def test_a_call_that_waited_for_its_turn_when_the_line_was_stopped_is_not_counted(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """It was announced, but never left: the provider has not seen it and nobody pays for it."""
    questions = put(tmp_path / "source", **{f"f{number:02}": image(grey=number) for number in range(20)})
    async with a_line(tmp_path, emulators, lane=Lane(1)) as line:
        stopping = replace(line, recorded=lambda _: line.lane.close(Stopped("enough")))
        with pytest.raises(Stopped):
            await stream(stopping, iter([questions]))
        tally = (await line.journal.tallies())[Provider.TENCENT]

    assert tally.calls == len(emulators.calls("tencent"))


@pytest.mark.anyio
async def test_invariant_6_a_budget_of_calls_is_used_to_the_last_one_and_no_further(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Throttled calls and retries count; every call that was announced leaves."""
    questions = put(tmp_path / "source", **{f"f{number:02}": image(grey=number) for number in range(40)})
    emulators.script("tencent", fault="throttled", times=3, after=4)
    emulators.script("tencent", fault="http_error", http_status=502, times=3, after=8)
    async with a_line(tmp_path, emulators, lane=Lane(50), budget=Budget(calls=20)) as line:
        with pytest.raises(BudgetSpent):
            await stream(line, iter([questions]))
        kept = await rows(line, questions)
        tally = (await line.journal.tallies())[Provider.TENCENT]

    calls = emulators.calls("tencent")
    assert len(calls) == tally.calls == 20
    assert {row.outcome for row in kept.values()} == {"scored"}
    assert len(kept) == sum(call["billed"] for call in calls)


@pytest.mark.anyio
async def test_invariant_6_a_budget_of_money_pays_for_answers_and_not_for_refusals(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """What a call on the way held back is spent by another one when the provider does not bill it."""
    questions = put(tmp_path / "source", **{f"f{number:02}": image(grey=number) for number in range(40)})
    emulators.settings("tencent", latency_ms=100)
    emulators.script("tencent", fault="code", code="FailedOperation.CoveredFace", times=7)
    async with a_line(tmp_path, emulators, budget=Budget(money=6.0)) as line:
        with pytest.raises(BudgetSpent, match=r"the budget of 6\.00 is spent$"):
            await stream(line, iter([questions]))
        kept = await rows(line, questions)
        spending = line.journal.spending

    calls = emulators.calls("tencent")
    assert sum(call["billed"] for call in calls) == 12
    assert len(calls) == 19
    assert Counter(row.outcome for row in kept.values()) == {Outcome.SCORED: 12, Outcome.REFUSED: 7}
    assert spending.money == sum(row.cost or 0.0 for row in kept.values()) == 6.0


@pytest.mark.anyio
async def test_a_lost_answer_counts_as_spent(tmp_path: Path, emulators: RunningEmulators) -> None:
    questions = put(tmp_path / "source", a=image(grey=1), b=image(grey=2), c=image(grey=3))
    emulators.script("tencent", fault="answers_lost", times=None)
    async with a_line(tmp_path, emulators, budget=Budget(money=2.0)) as line:
        with pytest.raises(BudgetSpent):
            await stream(line, iter([questions]))
    assert len(emulators.calls("tencent")) == 4


@pytest.mark.anyio
async def test_what_nobody_foresaw_leaves_its_call_in_doubt(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Nobody can say that it was not billed: it counts as spent, and its question is marked later."""

    class Broken:
        """A detector whose replies are read by code with a fault."""

        def __init__(self, detector: Any) -> None:
            self._detector = detector

        def __getattr__(self, name: str) -> Any:
            return getattr(self._detector, name)

        async def ask(self, *arguments: Any) -> Any:
            await self._detector.ask(*arguments)
            raise ZeroDivisionError("nobody foresaw this")

    questions = put(tmp_path / "source", a=image(grey=1))
    async with a_line(tmp_path, emulators, budget=Budget(money=1.0)) as line:
        with pytest.raises(ZeroDivisionError):
            await stream(replace(line, detector=Broken(line.detector)), iter([questions]))
        assert line.journal.spending.money == 0.5
    async with a_line(tmp_path, emulators, budget=Budget(money=1.0)) as line:
        await stream(line, iter([questions]))
        row = (await rows(line, questions))["a"]
    assert (row.billed, row.cost) == ("unknown", 1.0)


@pytest.mark.anyio
async def test_a_question_in_doubt_is_asked_again_and_its_billing_is_unknown(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """The journal knows a call whose answer a crash has swallowed: two calls may be billed."""
    questions = put(tmp_path / "source", a=image("genuine"), b=image(grey=9))
    async with a_line(tmp_path, emulators) as line:
        await line.journal.intend(questions[0].question_id, Provider.TENCENT, 1, "order", None)
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        ended = await rows(line, questions)

    assert (ended["a"].outcome, ended["a"].billed, ended["a"].cost) == ("scored", "unknown", 1.0)
    assert (ended["b"].outcome, ended["b"].billed, ended["b"].cost) == ("scored", "yes", 0.5)


@pytest.mark.anyio
async def test_a_question_in_doubt_whose_object_is_gone_is_of_unknown_billing_too(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """The call that a crash cut short may have been billed, whatever became of the object since."""
    questions = put(tmp_path / "source", a=image(grey=1))
    async with a_line(tmp_path, emulators) as line:
        await line.journal.intend(questions[0].question_id, Provider.TENCENT, 1, "fs1", "00" * 32)
    (tmp_path / "source" / "a.jpg").unlink()
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        row = await line.journal.answer_of(questions[0].question_id)
    assert isinstance(row, Verdict)
    assert (row.outcome, row.billed, row.cost) == ("unreadable", "unknown", 0.5)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls_of_each_process", "cost"),
    [([1, 1], 1.5), ([2, 1, 1], 2.5), ([7], 1.5)],
    ids=["two crashes", "three crashes", "turned away six times before the crash"],
)
async def test_every_call_that_crashes_cut_short_is_in_the_costs(
    tmp_path: Path, emulators: RunningEmulators, calls_of_each_process: list[int], cost: float
) -> None:
    """Of each process at most two: with the second call in doubt a question is over."""
    questions = put(tmp_path / "source", a=image("genuine"))
    for calls in calls_of_each_process:
        async with a_line(tmp_path, emulators) as line:
            for attempt in range(1, calls + 1):
                await line.journal.intend(questions[0].question_id, Provider.TENCENT, attempt, "order", None)
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        ended = await rows(line, questions)

    assert (ended["a"].outcome, ended["a"].billed, ended["a"].cost) == ("scored", "unknown", cost)


@pytest.mark.anyio
async def test_a_feed_leaves_out_what_is_settled_and_marks_what_is_in_doubt(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    questions = put(tmp_path / "source", a=image(grey=1), b=image(grey=2), c=image(grey=3))
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions[:1]]))
        await line.journal.intend(questions[1].question_id, Provider.TENCENT, 1, "order", None)
        feed = Feed(iter([questions[:1], questions[1:2], [], questions[2:]]), line.journal, line.policy)
        handed = [await feed.next() for _ in range(4)]

    assert handed == [(questions[1], 1), (questions[2], 0), None, None]


@pytest.mark.anyio
async def test_a_feed_hands_each_question_to_one_trip_however_many_ask(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    questions = put(tmp_path / "source", **{f"f{number:02}": b"%d" % number for number in range(30)})
    read: list[int] = []

    def batches() -> Iterator[list[Question]]:
        for start in range(0, 30, 5):
            read.append(start)
            yield questions[start : start + 5]

    async with a_line(tmp_path, emulators) as line:
        feed = Feed(batches(), line.journal, line.policy)
        first = await asyncio.gather(*(feed.next() for _ in range(3)))
        assert read == [0]
        rest = await asyncio.gather(*(feed.next() for _ in range(32)))

    handed = [taken[0].question_id for taken in [*first, *rest] if taken]
    assert handed == [question.question_id for question in questions]


@pytest.mark.anyio
async def test_what_nobody_foresaw_ends_the_shard_and_is_raised_as_it_is(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """No group of exceptions around it: whoever reports it finds the error itself."""
    questions = put(tmp_path / "source", a=image(grey=1), b=image(grey=2))

    def broken(_: Verdict) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    async with a_line(tmp_path, emulators) as line:
        with pytest.raises(ZeroDivisionError):
            await stream(replace(line, recorded=broken), iter([questions]))


@pytest.mark.anyio
@pytest.mark.parametrize("cap", [1, 2, 5, 50])
async def test_there_are_trips_enough_to_keep_the_lane_full(
    tmp_path: Path, emulators: RunningEmulators, cap: int
) -> None:
    async with a_line(tmp_path, emulators, lane=Lane(cap)) as line:
        assert line.trips == LEAST_READY + TRIPS_S * cap


@pytest.mark.anyio
async def test_an_empty_shard_is_over_at_once(tmp_path: Path, emulators: RunningEmulators) -> None:
    put(tmp_path / "source", a=image(grey=1))
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([]))
    assert emulators.calls("tencent") == []


@pytest.mark.anyio
async def test_untouched_media_pass_those_that_wait_to_be_decoded(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """Three bitmaps, two places for those who make ready, and one child, which is busy for an hour."""
    questions = put(
        tmp_path / "source",
        **{f"slow{number}": image(kind="BMP", grey=number) for number in range(3)},
        **{f"quick{number}": image(grey=100 + number) for number in range(2)},
    )
    settled: asyncio.Queue[Verdict] = asyncio.Queue()
    async with (
        MediaWorkers(processes=1) as workers,
        a_line(tmp_path, emulators, workers=workers, recorded=settled.put_nowait) as line,
    ):
        line.ready = Places(2)
        busy = asyncio.create_task(workers.run(time.sleep, 3600))
        shard = asyncio.create_task(stream(line, iter([questions])))
        assert {(await settled.get()).key for _ in range(2)} == {"quick0.jpg", "quick1.jpg"}
        busy.cancel()
        await shard
        assert {row.outcome for row in (await rows(line, questions)).values()} == {"scored"}


# --- several segments of one video ---


THREE = replace(TENCENT, video_segments=3)


@pytest.mark.anyio
async def test_several_segments_of_a_video_are_a_call_each_and_one_row(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    questions = put(tmp_path / "source", long=clip(seconds=30, gop=10), short=clip(seconds=2))
    async with a_line(tmp_path, emulators, limits=THREE) as line:
        await stream(line, iter([questions]))
        ended = await rows(line, questions)
        spent = line.journal.spending

    assert (ended["short"].attempts, ended["short"].preparation) == (1, "untouched")
    row = ended["long"]
    assert (row.outcome, row.attempts, row.billed, row.cost) == ("scored", 3, "yes", 1.5)
    assert (spent.calls, spent.money) == (4, 2.0)
    assert row.preparation is not None
    assert re.findall(r"segment ([\d.]+)\+5\.000 of 30\.000 s", row.preparation) == [
        "2.000",
        "12.000",
        "22.000",
    ]
    assert row.message is not None
    assert row.message.startswith("3 of 3 segments: ")
    asked = {call["media_sha256"] for call in emulators.calls("tencent")}
    assert len(asked) == 4
    assert row.sent_sha256 in asked


@pytest.mark.anyio
async def test_the_worst_segment_makes_the_row(tmp_path: Path, emulators: RunningEmulators) -> None:
    questions = put(tmp_path / "source", a=image("genuine"), b=image("swap"), c=image("noface"))
    async with a_line(tmp_path, emulators) as line:
        await stream(line, iter([questions]))
        low, high, refused = (await rows(line, questions)).values()
        tries = Tries(attempts=3)
        worst = row_module.worst_of(line, [low, high, refused], 3, tries)
        spoilt = row_module.worst_of(line, [refused, replace(refused, outcome=Outcome.FAILED)], 2, tries)
        half = row_module.worst_of(line, [low], 2, tries)

    assert (worst.risk, worst.request_id, worst.cost) == ("high", high.request_id, 1.0)
    assert worst.message == f"3 of 3 segments: low, high, refused ({refused.reason})"
    assert (spoilt.outcome, spoilt.billed, spoilt.cost) == ("failed", "no", 0.0), "and is asked again"
    assert (half.risk, half.message) == ("low", "1 of 2 segments: low")


@pytest.mark.anyio
async def test_invariant_6_segments_stay_within_the_budget_and_what_is_paid_for_is_kept(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    questions = put(tmp_path / "source", long=clip(seconds=30, gop=10))
    async with a_line(tmp_path, emulators, limits=THREE, budget=Budget(calls=2)) as line:
        await stream(line, iter([questions]))
        row = (await rows(line, questions))["long"]
        spent = line.journal.spending

    assert len(emulators.calls("tencent")) == spent.calls == 2
    assert (row.outcome, row.attempts, row.cost) == ("scored", 2, 1.0)
    assert row.message is not None
    assert row.message.startswith("2 of 3 segments: ")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Tripped, StoreDenied, Stopped])
async def test_whatever_ends_a_run_between_segments_what_is_answered_makes_the_row(
    tmp_path: Path, emulators: RunningEmulators, kind: type[FacesweepError]
) -> None:
    questions = put(tmp_path / "source", long=clip(seconds=30, gop=10))

    async def end_with_the_first_answer(_: Provider, is_simulated: bool) -> None:
        line.close(kind("another question ended the run"))

    async with a_line(tmp_path, emulators, limits=THREE, accept=end_with_the_first_answer) as line:
        await stream(line, iter([questions]))
        row = (await rows(line, questions))["long"]

    assert len(emulators.calls("tencent")) == 1
    assert (row.outcome, row.attempts, row.billed, row.cost) == ("scored", 1, "yes", 0.5)
    assert row.message is not None
    assert row.message.startswith("1 of 3 segments: ")


@pytest.mark.anyio
async def test_a_run_that_ends_before_any_segment_is_answered_leaves_the_question_open(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    questions = put(tmp_path / "source", long=clip(seconds=30, gop=10))
    emulators.script("tencent", fault="code", code="UnauthorizedOperation.Arrears", times=1)
    async with a_line(tmp_path, emulators, limits=THREE) as line:
        with pytest.raises(Denied):
            await stream(line, iter([questions]))
        assert await rows(line, questions) == {}
        assert line.journal.spending.money == 0.0


@pytest.mark.anyio
async def test_a_segment_that_is_refused_does_not_decide(tmp_path: Path, emulators: RunningEmulators) -> None:
    questions = put(tmp_path / "source", long=clip(seconds=30, gop=10))
    emulators.script("tencent", fault="code", code="FailedOperation.CoveredFace", times=1)
    async with a_line(tmp_path, emulators, limits=THREE) as line:
        await stream(line, iter([questions]))
        row = (await rows(line, questions))["long"]

    assert (row.outcome, row.attempts, row.cost) == ("scored", 3, 1.0)
    assert row.message is not None
    assert row.message.startswith("3 of 3 segments: refused (FailedOperation.CoveredFace), ")
