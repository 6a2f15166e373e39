"""Run after run over a bucket that changes: whatever was answered or left, the next plan adds up."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from domain.objects import ObjectRef, Store
from domain.questions import Question, question_id
from domain.verdicts import Outcome, Provider
from tasks.candidates import PlanTotals, Selection, plan, plan_again, read_shard, shard_path
from tests.properties.test_plan_properties import PROVIDERS, SCHEMAS, START, row_of

SHARDS = dict.fromkeys(PROVIDERS, 3)
OPEN = [Outcome.FAILED, Outcome.UNREADABLE]
ENDS = st.lists(st.sampled_from([None, *Outcome, *OPEN]), min_size=1, max_size=5)


class PlansOverRuns(RuleBasedStateMachine):
    """A bucket and a home that holds plans' questions and, part after part, the rows they ended in."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.bucket: dict[str, ObjectRef] = {}
        self.moment = START
        self.verdicts: list[Path] = []
        self.ended: dict[str, Outcome] = {}  # question → its last outcome, of all runs
        self.open_of: dict[str, dict[str, Outcome]] = {}  # run → question → outcome that is not final
        self.runs = 0
        self.put([0, 1, 2], "e1")
        self.put([3], "e2")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(keys=st.lists(st.integers(0, 5), min_size=1, max_size=4), etag=st.sampled_from(["e1", "e2", "e3"]))
    def put(self, keys: list[int], etag: str) -> None:
        """New objects, and others in the place of old ones; those of one ETag are copies."""
        for number in keys:
            key = f"{number}.jpg"
            self.bucket[key] = ObjectRef(
                url=f"s3://kyc/{key}",
                store=Store.S3,
                bucket="kyc",
                key=key,
                version_id=None,
                etag=etag,
                size_bytes=1,
                last_modified=START,
            )

    @rule(number=st.integers(0, 5))
    def remove(self, number: int) -> None:
        self.bucket.pop(f"{number}.jpg", None)

    @rule(limit=st.none() | st.integers(1, 4), sample=st.none() | st.integers(1, 5), ends=ENDS)
    def audit(self, limit: int | None, sample: int | None, ends: list[Outcome | None]) -> None:
        """A run over what the bucket holds, worked on for a while; a larger sample is one of them."""
        run_id, folder = self._new_run()
        listing = folder / "listing.parquet"
        rows = [row_of(ref) for ref in self.bucket.values()]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMAS["listing"]), listing)
        selection = Selection(include=("*",), limit=limit, sample_size=sample)
        totals = plan([listing], self.verdicts, SHARDS, selection, folder / "plan")
        asked = self._check(totals, folder / "plan")
        for provider, questions in asked.items():
            still_open = {each for each in self._ids(provider) if not self._is_final(each)}
            assert {each.question_id for each in questions} <= still_open
            if limit is None and sample is None:
                assert {each.question_id for each in questions} == still_open
        self._work(run_id, folder, asked, ends)

    @precondition(lambda self: self.open_of)
    @rule(data=st.data(), outcomes=st.sampled_from([OPEN, OPEN[:1], OPEN[1:]]), ends=ENDS)
    def retry(self, data: st.DataObject, outcomes: list[Outcome], ends: list[Outcome | None]) -> None:
        """What ended so in one of the runs is asked again, but not what a later run has answered."""
        earlier = data.draw(st.sampled_from(sorted(self.open_of)))
        run_id, folder = self._new_run()
        totals = plan_again(self.verdicts, earlier, outcomes, SHARDS, folder / "plan")
        asked = self._check(totals, folder / "plan")
        ended_so = {each for each, outcome in self.open_of[earlier].items() if outcome in outcomes}
        found = {each.question_id for questions in asked.values() for each in questions}
        assert found == {each for each in ended_so if not self._is_final(each)}
        self._work(run_id, folder, asked, ends)

    def _ids(self, provider: Provider) -> list[str]:
        return [question_id(ref.url, ref.version, provider) for ref in self.bucket.values()]

    def _is_final(self, question: str) -> bool:
        return question in self.ended and self.ended[question].is_final

    def _new_run(self) -> tuple[str, Path]:
        self.runs += 1
        folder = self.root / f"run-{self.runs}"
        folder.mkdir()
        return folder.name, folder

    def _check(self, totals: PlanTotals, folder: Path) -> dict[Provider, list[Question]]:
        """The plan's questions: none twice, none that has a final row, and the books balance."""
        asked: dict[Provider, list[Question]] = {}
        for provider, own in totals.providers.items():
            asked[provider] = [
                question
                for shard in own.shards
                for batch in read_shard(shard_path(folder, shard))
                for question in batch
            ]
            ids = [each.question_id for each in asked[provider]]
            assert len(set(ids)) == len(ids) == own.asked
            assert not [each for each in ids if self._is_final(each)]
            assert own.balance.is_balanced
            assert own.listed == own.asked + sum(own.skipped.values())
        return asked

    def _work(
        self,
        run_id: str,
        folder: Path,
        asked: dict[Provider, list[Question]],
        ends: list[Outcome | None],
    ) -> None:
        """Questions end as the ends say, in turns; one without an end stays pending: the run is given up."""
        self.moment += timedelta(seconds=1)
        rows: list[dict[str, Any]] = []
        for provider, questions in asked.items():
            for question, end in zip(questions, ends * len(questions), strict=False):
                if end is None:
                    continue
                rows.append(
                    row_of(question.object)
                    | {"provider": provider, "outcome": end, "run_id": run_id}
                    | {"question_id": question.question_id, "settled_at": self.moment}
                )
                self.ended[question.question_id] = end
                if not end.is_final:
                    self.open_of.setdefault(run_id, {})[question.question_id] = end
        part = folder / "part.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMAS["verdicts"]), part)
        self.verdicts.append(part)


TestPlans = PlansOverRuns.TestCase
TestPlans.settings = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
