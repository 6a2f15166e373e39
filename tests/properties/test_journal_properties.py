"""Whatever is announced, settled, given up and published, in whatever order: the journal adds up."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.verdicts import Outcome, Provider, Verdict
from tasks.records.encoding import from_bytes, to_bytes
from tasks.records.journal import Journal
from tasks.records.ledger import AlreadySettled, Part
from tasks.records.parts import write_part
from tasks.records.queries import PublishedIn
from tasks.records.schema import table_of
from tests.spec.test_journal import RUN, TENCENT, a_verdict, content, question

NUMBERS = st.integers(0, 7)
CONTENTS = st.integers(0, 2)


class JournalAgainstBooks(RuleBasedStateMachine):
    """The journal, and beside it plain dictionaries that say what it should hold."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "run.sqlite"
        self.settled: dict[int, Verdict] = {}
        self.order: list[int] = []
        self.calls: dict[int, list[int | None]] = {}
        self.claims: dict[int, int] = {}
        self.made = 0
        self.part: Part | None = None
        self.published: dict[int, int] = {}
        self._enter()

    def _enter(self) -> None:
        self.journal = Journal(self.path, RUN, window_s=0)
        self.loop.run(self.journal.__aenter__())

    def _leave(self) -> None:
        self.loop.run(self.journal.__aexit__(None, None, None))

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
        self.claims = {at: who for at, who in self.claims.items() if who in self.settled}

    @rule(number=NUMBERS, about=st.none() | CONTENTS)
    def intend(self, number: int, about: int | None) -> None:
        sha256 = None if about is None else content(about)
        call = self.journal.intend(question(number), TENCENT, 1, "order", sha256)
        if number in self.settled:
            try:
                self.loop.run(call)
            except AlreadySettled:
                return
            raise AssertionError("a settled question was announced again")
        owner = number if about is None else self.claims.setdefault(about, number)
        assert self.loop.run(call) == question(owner)
        if owner == number:
            self.calls.setdefault(number, []).append(about)
            self.made += 1

    def _drop_claims(self, number: int) -> None:
        for about in self.calls.get(number, []):
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
            self.order.append(number)

    @rule(number=NUMBERS, in_doubt=st.booleans())
    def release(self, number: int, in_doubt: bool) -> None:
        self.loop.run(self.journal.release(question(number), in_doubt=in_doubt))
        self._drop_claims(number)
        if not in_doubt:
            self.calls.pop(number, None)

    @rule(max_rows=st.integers(1, 4))
    def assign(self, max_rows: int) -> None:
        part = self.loop.run(self.journal.assign_part(TENCENT, max_rows=max_rows))
        if self.part is not None:
            assert part == self.part
            return
        waiting = self.order[len(self.published) :]
        if not waiting:
            assert part is None
            return
        assert part is not None
        assert part.number == max(self.published.values(), default=0) + 1
        assert part.row_count == min(max_rows, len(waiting))
        self.part = part

    @rule()
    def publish(self) -> None:
        if self.part is None:
            return
        staged = self.path.with_name("part.parquet")
        write_part(self.path, self.part, staged)
        for number in self.order[len(self.published) :][: self.part.row_count]:
            self.published[number] = self.part.number
        self.loop.run(self.journal.mark_published(self.part))
        self.part = None

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
        everything = [question(number) for number in range(8)]
        settled = {question(number) for number in self.settled}
        assert self.loop.run(self.journal.settled_among(everything)) == settled
        doubtful = {question(number): len(calls) for number, calls in self.calls.items()}
        assert self.loop.run(self.journal.in_doubt_among(everything, 1)) == doubtful
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
        else:
            assert not self.settled
            assert self.made == 0


TestJournal = JournalAgainstBooks.TestCase
TestJournal.settings = settings(
    max_examples=20,
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
