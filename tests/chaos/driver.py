"""A process that works on runs by the units the flows use, without Prefect, which takes seconds to load.

It imports everything once and then forks a child for each task it reads, one JSON object a line:

{"do": "begin", "spec": …, "run_id": …, "said": …}   list and plan, in small shards unless `one_shard` is
                                                     true; adopt the plan as a run
{"do": "go on", "home": …, "run_id": …, "said": …}   the run to its end
{"do": "reap", "child": …}                           say how the child ended, as os.waitpid does

It answers each with a line: the child's process id, or its status. A child has a session of its own,
and writes what goes wrong to the file `said`.
"""

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from domain.errors import FacesweepError
from tasks.records.home import Home
from tasks.units import draft, stages
from tasks.units.lifetime import open_run
from tasks.units.opening import open_audit
from tasks.units.run import OpenRun


async def begin(spec: Path, run_id: str) -> None:
    found = open_audit(spec)
    async with draft.draft_audit(found.home, found.spec, run_id) as drafted:
        draft.adopt(drafted)


async def go_on(home: Path, run_id: str) -> None:
    async with open_run(Home.local(home), run_id) as run:
        await run.detect(OpenRun.detect_shard)
        await run.finish()


def work(task: dict[str, Any]) -> int:
    """What a child does; its exit status."""
    if not task.get("one_shard"):
        # A shard is ten minutes of calls; here it is a fraction of a second: many parts are published.
        stages.SHARD_S, stages.LEAST_SHARD = 0.2, 10
    try:
        if task["do"] == "begin":
            asyncio.run(begin(Path(task["spec"]), task["run_id"]))
        else:
            asyncio.run(go_on(Path(task["home"]), task["run_id"]))
    except FacesweepError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    return 0


def start(task: dict[str, Any]) -> int:
    """A child for the task, in its own session already."""
    settled, settling = os.pipe()
    child = os.fork()
    if child:
        os.close(settling)
        os.read(settled, 1)
        os.close(settled)
        return child
    status = 70
    try:
        os.setsid()
        nothing, said = os.open(os.devnull, os.O_RDWR), os.open(task["said"], os.O_WRONLY | os.O_CREAT)
        for descriptor, target in ((nothing, 0), (nothing, 1), (said, 2)):
            os.dup2(descriptor, target)
        os.write(settling, b".")
        os.close(settling)
        os.close(settled)
        status = work(task)
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        answer = os.waitpid(task["child"], 0)[1] if task["do"] == "reap" else start(task)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
