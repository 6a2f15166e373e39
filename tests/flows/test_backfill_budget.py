"""A budget that the workers of a backfill keep together, and that somebody raises."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.backfills import OBJECTS, begin, calls
from tests.flows.faces import emulated, folder_of_many_faces
from tests.flows.facesweep_process import Facesweep
from tests.flows.once import Telling, told_once
from tests.flows.workers import Pool, pool

pytestmark = pytest.mark.long

CALLS = 130


def story_of(prefect_url: str) -> Any:
    def story(folder: Path) -> dict[str, Any]:
        folder_of_many_faces(folder / "source", OBJECTS)
        with emulated(latency_ms=50) as emulators:
            facesweep = Facesweep(folder, prefect_url)
            with pool("budget", facesweep.environment, folder) as workers:
                workers.start(2)
                return budgeted_and_raised(facesweep, emulators, workers)

    return story


def budgeted_and_raised(facesweep: Facesweep, emulators: RunningEmulators, workers: Pool) -> dict[str, Any]:
    """A budget that does not cover the plan, and then a larger one."""
    home, before = facesweep.folder / "budgeted", calls(emulators)
    with begin(facesweep, emulators, workers, "budgeted", budget={"calls": CALLS}) as coordinator:
        spent = coordinator.ended(300)
    record, made = verdict_rows.records(home)[0], calls(emulators) - before
    raised = facesweep.run("resume", home, "--calls", OBJECTS + 50, timeout_s=300)
    return {
        "spent": spent.as_json(),
        "calls": made,
        "record": record,
        "raised": raised.as_json(),
        "done": verdict_rows.records(home)[0],
        "rows": len(verdict_rows.rows(home)),
    }


@pytest.fixture(scope="module")
def budgeted(shared: Path, prefect_url: str) -> Telling:
    return told_once(shared, "backfill-budget", story_of(prefect_url))


def test_workers_keep_a_budget_together_and_a_larger_one_goes_on(budgeted: Telling):
    books = verdict_rows.books(budgeted["record"])

    assert budgeted["spent"]["status"] == 4, budgeted["spent"]["err"]
    assert budgeted["calls"] == books["calls"] == CALLS
    assert (books["outcomes"]["scored"], books["over_budget"]) == (CALLS, OBJECTS - CALLS)
    assert budgeted["raised"]["status"] == 0, budgeted["raised"]["err"]
    assert (budgeted["done"]["status"], budgeted["rows"]) == ("done", OBJECTS)
