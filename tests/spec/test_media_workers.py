"""Media: child processes that decode foreign bytes are bounded, replaceable, and gone when we are."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.errors import Unfit
from tasks.media.workers import MediaWorkers

pytestmark = pytest.mark.anyio


@pytest.fixture
async def workers() -> AsyncIterator[MediaWorkers]:
    async with MediaWorkers(processes=1) as workers:
        yield workers


def is_running(pid: int) -> bool:
    """Whether the process still does anything; one that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    """Returns once the process is gone; a test that never returns is ended by its timeout."""
    while is_running(pid):
        time.sleep(0.01)


async def test_a_child_serves_many_jobs(workers: MediaWorkers) -> None:
    pids = {await workers.run(os.getpid) for _ in range(5)}
    assert len(pids) == 1
    assert os.getpid() not in pids


async def test_a_child_yields_to_the_process_that_keeps_the_pace(workers: MediaWorkers) -> None:
    assert await workers.run(os.nice, 0) == min(os.nice(0) + 10, 19)


async def test_a_job_that_hangs_is_ended_and_its_file_is_unfit(workers: MediaWorkers) -> None:
    pid = await workers.run(os.getpid)
    workers.timeout_s = 0.1
    with pytest.raises(Unfit) as refusal:
        await workers.run(time.sleep, 3600)
    assert refusal.value.reason == "too_slow"
    wait_until_gone(pid)
    workers.timeout_s = 60.0
    assert await workers.run(os.getpid) != pid


async def test_a_job_that_takes_too_much_memory_is_unfit_and_its_child_lives_on() -> None:
    async with MediaWorkers(processes=1, memory_bytes=64 * 1024**2) as workers:
        pid = await workers.run(os.getpid)
        with pytest.raises(Unfit) as refusal:
            await workers.run(bytearray, 128 * 1024**2)
        assert refusal.value.reason == "out_of_memory"
        assert len(await workers.run(bytearray, 1024)) == 1024
        assert await workers.run(os.getpid) == pid


async def test_a_file_that_kills_its_decoder_is_unfit(workers: MediaWorkers) -> None:
    with pytest.raises(Unfit) as refusal:
        await workers.run(os._exit, 1)
    assert refusal.value.reason == "crashed_decoder"
    assert await workers.run(abs, -1) == 1


async def test_a_child_that_dies_while_idle_is_no_objects_fault(workers: MediaWorkers) -> None:
    pid = await workers.run(os.getpid)
    os.kill(pid, signal.SIGKILL)
    assert await workers.run(os.getpid) != pid


async def test_what_a_job_raises_arrives_as_it_is(workers: MediaWorkers) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await workers.run(int, "twelve")


async def test_credentials_do_not_reach_the_children(
    workers: MediaWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "not-for-children")
    assert await workers.run(os.getenv, "TENCENTCLOUD_SECRET_KEY") is None


async def test_ctrl_c_is_left_to_the_parent(workers: MediaWorkers) -> None:
    """Children stand in a process group of their own, so a terminal's signals pass them by."""
    assert await workers.run(os.getpgrp) == await workers.run(os.getpid)


async def test_children_end_with_the_block_that_uses_them() -> None:
    async with MediaWorkers(processes=1) as workers:
        pid = await workers.run(os.getpid)
    assert not is_running(pid)


def test_children_end_when_the_parent_is_killed() -> None:
    """They read the end of their input: nothing has to be cleaned up after a kill -9."""
    script = (
        "import asyncio, os, time\n"
        "from tasks.media.workers import MediaWorkers\n"
        "async def main():\n"
        "    workers = MediaWorkers(processes=1)\n"
        "    print(await workers.run(os.getpid), flush=True)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_until_gone(pid)


def test_the_main_module_is_not_run_again_in_the_children(tmp_path: Path) -> None:
    """A script without a guard on its last line works, and what it imports costs the children nothing."""
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, json, sys\n"
        f"sys.path[:] = {json.dumps(sys.path)}\n"
        "from tasks.media.workers import MediaWorkers\n"
        "async def main():\n"
        "    async with MediaWorkers(processes=1) as workers:\n"
        "        print(await workers.run(abs, -1))\n"
        "asyncio.run(main())\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")
