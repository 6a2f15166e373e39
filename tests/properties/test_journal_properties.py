"""Whatever is announced, settled, given up and published, and whenever the process dies: it adds up."""

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.verdicts import Outcome, Provider, Verdict
from tasks.records import parts
from tasks.records.encoding import from_bytes, to_bytes
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.ledger import AlreadySettled
from tasks.records.queries import PublishedIn
from tasks.records.schema import table_of
from tests.spec.test_journal import RUN, TENCENT, a_verdict, content, question

NUMBERS = st.integers(0, 3)
CONTENTS = st.integers(0, 1)
STEPS = ("assigned", "written", "adopted", "marked", "pruned")
IN_DOUBT = 1  # calls of one question that a process leaves in doubt at most: the fewer, the more it matters


class Killed(Exception):
    """The process was killed here."""


class JournalAgainstBooks(RuleBasedStateMachine):
    """The journal and its home, and beside them plain dictionaries that say what they should hold."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Home.local(Path(self.folder.name))
        self.path = self.home.journal_path(RUN)
        self.settled: dict[int, Verdict] = {}
        self.waiting: list[int] = []  # settled and not published, oldest first
        self.calls: dict[int, list[tuple[int, int | None]]] = {}  # attempt, content
        self.attempts: Counter[int] = Counter()  # of this process
        self.claims: dict[int, int] = {}
        self.made = 0
        self.assigned: tuple[int, list[int]] | None = None  # a part's number and rows
        self.published: dict[int, int] = {}  # marked so
        self.in_home: dict[int, int] = {}  # whatever the journal knows of it
        self.read: dict[tuple[int, int, int], list[dict[str, Any]]] = {}
        self._enter()

    def _enter(self) -> None:
        self.journal = Journal(self.path, RUN, window_s=0)
        self.loop.run(self.journal.__aenter__())

    def _leave(self) -> None:
        self.loop.run(self.journal.__aexit__(None, None, None))

    def _forget_the_process(self) -> None:
        self.attempts.clear()
        self.claims = {at: who for at, who in self.claims.items() if who in self.settled}

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self._leave()
            self.loop.close()
            self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        """A restart drops the claims of whoever had no answer."""
        self._leave()
        self._enter()
        self._forget_the_process()

    @rule()
    def kill(self) -> None:
        """The next process finds the database and its log as they lie there, nothing closed or folded."""
        aside = Path(self.folder.name, ".journal", "left")
        aside.mkdir()
        for each in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            if each.exists():
                shutil.copy(each, aside)
        self._leave()
        for each in aside.iterdir():
            each.rename(self.path.with_name(each.name))
        aside.rmdir()
        self._enter()
        self._forget_the_process()

    @rule()
    def lose(self) -> None:
        """Another machine takes over: it knows what is published, and nothing else."""
        self._leave()
        shutil.rmtree(self.path.parent)
        self._enter()
        self._forget_the_process()
        rows = dict(self.in_home)
        assert self.loop.run(parts.restore(self.journal, self.home)) == len(rows)
        self.settled = {number: self.settled[number] for number in rows}
        self.published, self.waiting, self.assigned = rows, [], None
        self.calls, self.made = {}, sum(each.attempts for each in self.settled.values())
        shared = (Outcome.SCORED, Outcome.REFUSED)
        self.claims = {each: each for each in rows if self.settled[each].outcome in shared}

    @rule(number=NUMBERS, about=st.none() | CONTENTS, times=st.integers(1, 3))
    def intend(self, number: int, about: int | None, times: int) -> None:
        """A question is announced, and again after each call that was turned away."""
        for _ in range(times):
            self._intend(number, about)

    def _intend(self, number: int, about: int | None) -> None:
        sha256 = None if about is None else content(about)
        attempt = self.attempts[number] + 1
        call = self.journal.intend(question(number), TENCENT, attempt, "order", sha256)
        if number in self.settled:
            try:
                self.loop.run(call)
            except AlreadySettled:
                return
            raise AssertionError("a settled question was announced again")
        owner = number if about is None else self.claims.setdefault(about, number)
        assert self.loop.run(call) == question(owner)
        if owner == number:
            self.calls.setdefault(number, []).append((attempt, about))
            self.attempts[number] = attempt
            self.made += 1

    def _drop_claims(self, number: int) -> None:
        for _, about in self.calls.get(number, []):
            if about is not None and self.claims.get(about) == number:
                del self.claims[about]

    @rule(number=NUMBERS, outcome=st.sampled_from(Outcome))
    def settle(self, number: int, outcome: Outcome) -> None:
        verdict = a_verdict(number, outcome=outcome)
        is_first = number not in self.settled
        assert self.loop.run(self.journal.settle(verdict)) is is_first
        if is_first:
            if not outcome.is_final:
                self._drop_claims(number)
            self.calls.pop(number, None)
            self.settled[number] = verdict
            self.waiting.append(number)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), in_doubt=st.booleans(), never_left=st.integers(0, 2))
    def release(self, data: st.DataObject, in_doubt: bool, never_left: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.calls)))
        never_left = min(never_left, self.attempts[number])
        self.loop.run(self.journal.release(question(number), in_doubt=in_doubt, never_left=never_left))
        self._drop_claims(number)
        calls = self.calls.pop(number, [])
        gone = min(never_left, len(calls))
        self.made -= gone
        if in_doubt and calls[: len(calls) - gone]:
            self.calls[number] = calls[: len(calls) - gone]

    @rule(
        max_rows=st.integers(1, 4),
        killed_at=st.none() | st.tuples(st.sampled_from(STEPS), st.integers(1, 2)),
    )
    def publish(self, max_rows: int, killed_at: tuple[str, int] | None) -> None:
        """Parts of so many rows, one left unfinished first; perhaps killed at a step of one of them."""
        seen: Counter[str] = Counter()

        def at_step(step: str) -> None:
            self._book(step, max_rows)
            seen[step] += 1
            if killed_at == (step, seen[step]):
                raise Killed

        with contextlib.suppress(Killed):
            self.loop.run(parts.publish(self.journal, self.home, TENCENT, max_rows=max_rows, at_step=at_step))
            assert self.waiting == []
            assert self.assigned is None
            return
        self.kill()

    def _book(self, step: str, max_rows: int) -> None:
        """What a step of publishing changes."""
        if step == "assigned" and self.assigned is None:
            number = max([*self.in_home.values(), *self.published.values()], default=0) + 1
            self.assigned = (number, self.waiting[:max_rows])
            self.waiting = self.waiting[max_rows:]
        assert self.assigned is not None or step == "pruned"
        if step == "adopted" and self.assigned:
            self.in_home |= dict.fromkeys(self.assigned[1], self.assigned[0])
        if step == "marked" and self.assigned:
            self.published |= dict.fromkeys(self.assigned[1], self.assigned[0])
            self.assigned = None

    @rule()
    def prune(self) -> None:
        self.loop.run(self.journal.prune(TENCENT))
        for number, part in self.published.items():
            found = self.loop.run(self.journal.answer_of(question(number)))
            assert found == PublishedIn(TENCENT, part)

    @invariant()
    def adds_up(self) -> None:
        if not hasattr(self, "journal"):
            return
        everything = [question(number) for number in range(4)]
        settled = {question(number) for number in self.settled}
        assert self.loop.run(self.journal.settled_among(everything)) == settled
        doubtful = {
            question(number): sum(attempt <= IN_DOUBT for attempt, _ in calls)
            for number, calls in self.calls.items()
        }
        found_doubtful = self.loop.run(self.journal.in_doubt_among(everything, IN_DOUBT))
        assert found_doubtful == {each: count for each, count in doubtful.items() if count}
        for number, verdict in self.settled.items():
            found = self.loop.run(self.journal.answer_of(question(number)))
            assert found == verdict or (
                number in self.published and found == PublishedIn(TENCENT, self.published[number])
            )
        tally = self.loop.run(self.journal.tallies()).get(TENCENT)
        if tally is not None:
            assert tally.outcomes == Counter(each.outcome for each in self.settled.values())
            assert tally.calls == self.made
            assert tally.open_calls == sum(map(len, self.calls.values()))
            assert (tally.cost or 0.0) == sum(each.cost or 0.0 for each in self.settled.values())
        else:
            assert not self.settled
            assert self.made == 0

    @invariant()
    def readers_see_each_published_row_once(self) -> None:
        if not hasattr(self, "journal"):
            return
        seen = []
        for path in self.home.paths("verdicts/**/*.parquet"):
            part, stat = int(path.stem.removeprefix("part-")), path.stat()
            file = (part, stat.st_ino, stat.st_mtime_ns)
            if file not in self.read:
                self.read[file] = pq.read_table(path, partitioning=None).to_pylist()
            seen += [(row["question_id"], part, row["outcome"]) for row in self.read[file]]
        assert sorted(seen) == sorted(
            (question(number), part, self.settled[number].outcome) for number, part in self.in_home.items()
        )


TestJournal = JournalAgainstBooks.TestCase
TestJournal.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


TEXTS = st.text(max_size=20)
verdicts = st.builds(
    a_verdict,
    st.integers(0, 10_000),
    key=TEXTS,
    message=st.none() | TEXTS,
    tags=st.lists(TEXTS, max_size=3).map(tuple),
    scores=st.dictionaries(TEXTS, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    size_bytes=st.integers(0, 2**62),
    latency_ms=st.none() | st.floats(0, 1e9),
    provider=st.sampled_from([each.value for each in Provider]),
)


@settings(max_examples=60, deadline=None)
@given(verdict=verdicts)
def test_every_verdict_survives_the_journal_and_parquet(verdict: Verdict) -> None:
    """Bytes and back, and columns and back, are the same verdict."""
    again = from_bytes(to_bytes(verdict))
    assert again == verdict
    row = table_of([again]).to_pylist()[0]
    assert row == {
        **{name: getattr(verdict, name) for name in row},
        "tags": list(verdict.tags),
        "tags_raw": list(verdict.tags_raw),
        "scores": list(verdict.scores.items()),
    }
