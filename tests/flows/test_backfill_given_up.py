"""A backfill that is given up after a worker died on this machine: what it had settled is published."""

from pathlib import Path

import pytest

from domain.errors import HomeBusy, UsageError
from domain.runs import RunStatus, Wanted
from tasks.records import control, run_record
from tasks.units.backfill.stopping import give_up, pause_if_begun, want
from tasks.units.opening import open_audit
from tests.contract.emulator_process import RunningEmulators
from tests.flows.patience import until
from tests.flows.shard_process import Task, working
from tests.flows.test_shard_processes import FACES, RUN, a_backfill, published, settled_in

pytestmark = pytest.mark.anyio


async def test_what_a_dead_worker_of_this_machine_settled_is_published_when_the_run_is_given_up(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    spec, environment = await a_backfill(tmp_path, emulators, qps=10)
    home = open_audit(spec).home
    with working(environment, Task(str(tmp_path / "home"), RUN, 1)):
        until(lambda: len(settled_in(home, 1)), lambda count: count >= 8)
    acknowledged = settled_in(home, 1)

    record = await give_up(home, RUN)

    (books,) = record.books
    assert record.status is RunStatus.ABANDONED
    assert run_record.load(home, RUN) == record
    assert published(tmp_path / "home") == acknowledged
    assert books.balance.outcomes == {"scored": len(acknowledged)}
    assert (books.balance.is_balanced, books.balance.pending) == (True, FACES - len(acknowledged))


async def test_whoever_is_still_at_work_is_named_and_the_run_stays_to_be_given_up(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    spec, environment = await a_backfill(tmp_path, emulators, qps=10)
    home = open_audit(spec).home
    emulators.settings("tencent", latency_ms=20_000)
    with working(environment, Task(str(tmp_path / "home"), RUN, 1)) as worker:
        until(lambda: home.path(f"runs/{RUN}/shards/tencent-00001.json").exists(), bool)

        with pytest.raises(HomeBusy, match=f"process {worker.pid} on .* still works on shard 1 of tencent"):
            await give_up(home, RUN, within_s=0)

    with pytest.raises(UsageError, match="being given up"):
        await want(home, RUN, Wanted.PAUSE)
    assert control.load(home, RUN).wanted is Wanted.CANCEL


async def test_a_cancelled_flow_run_pauses_its_home_s_unfinished_backfill_and_nothing_else(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    spec, _ = await a_backfill(tmp_path, emulators)
    home = open_audit(spec).home

    await pause_if_begun(home, None, "whoever cancelled its flow run")
    paused = control.load(home, RUN)
    await give_up(home, RUN)
    await pause_if_begun(home, None, "somebody")

    assert (paused.wanted, paused.by) == (Wanted.PAUSE, "whoever cancelled its flow run")
    assert control.load(home, RUN).wanted is Wanted.CANCEL
