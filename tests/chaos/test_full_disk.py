"""A disk that is full to the last byte: the run stops with a sentence, and goes on once there is room."""

import json
import re
from pathlib import Path

import pytest

from tests.chaos.small_disk import BOUND, TMPFS, told_on_a_small_disk, way_into_a_namespace
from tests.flows.faces import emulated

pytestmark = pytest.mark.long

DISK_MB = 6

JOURNAL_SHUT = r"the journal .*/r1\.sqlite cannot be opened .*make room"
SAID = {
    "while_asking": (1, r"the journal .*/r1\.sqlite cannot be written: "),
    # Which of the two meets the last free page first is the filesystem's to say.
    "while_publishing": (
        (1, 2),
        r"(/verdicts/provider=\w+/run=r1/part-00001\.parquet|/r1\.sqlite) cannot be written: ",
    ),
    "for_the_record": (2, r"/runs/r1\.json cannot be written: "),
    "for_the_journal": (2, JOURNAL_SHUT),
    "for_a_claim": (2, JOURNAL_SHUT),
    "for_the_listing": (2, r"/home/\.staging/\w+/listing cannot be written: "),
    "for_the_plan": (2, r"/home/\.staging/\w+/plan cannot be written: "),
}
# A bound on files is felt by the journal before it is by what is small: its index takes 32 KiB.
SAID_OF_BOUNDED_FILES = SAID | {
    "while_publishing": (2, r"the journal .*/r1\.sqlite cannot be written: "),
    "for_the_record": (2, JOURNAL_SHUT),
}

BEST_WAY = TMPFS if way_into_a_namespace() else BOUND
# The other way is kept in use, for the machines that have no other.
CASES = [(BEST_WAY, story) for story in SAID]
CASES += [(BOUND, story) for story in ("while_asking", "for_the_listing") if BEST_WAY != BOUND]


@pytest.mark.parametrize(("way", "story"), CASES)
def test_invariant_3_a_full_disk_stops_the_run_with_a_sentence_and_loses_nothing(
    way: str, story: str, tmp_path: Path, prefect_url: str
) -> None:
    """Once there is room the run goes on to its end: every answer is there once, the books balance."""
    with emulated(latency_ms=50) as emulators:
        told = told_on_a_small_disk(
            *(way, tmp_path / "disk", DISK_MB, "tests.chaos.full_disk.tell"),
            *(story, json.dumps(emulators.urls), prefect_url),
        )
    status, said = (SAID if way == TMPFS else SAID_OF_BOUNDED_FILES)[story]
    (sentence,) = told["said"].splitlines()[-1:]
    assert re.search(said, sentence), told["said"]
    assert "Traceback" not in told["said"]
    assert told["status"] in (status if isinstance(status, tuple) else (status,))
    assert told["broken"] == []
