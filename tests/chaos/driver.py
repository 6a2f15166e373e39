"""A process that works on a run by the units the flows use, without Prefect, which takes seconds to load.

It says `ready` when everything is imported, reads what to do as one line of JSON, and does it:

{"do": "begin", "spec": …, "run_id": …}   list and plan; adopt the plan as a run
{"do": "go on", "home": …, "run_id": …}   the run to its end
"""

import asyncio
import json
import sys
from pathlib import Path

from domain.errors import FacesweepError
from tasks.records.home import Home
from tasks.units import draft
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


def main() -> int:
    # A shard is ten minutes of calls; here it is a fraction of a second, so that many parts are published.
    draft.SHARD_S, draft.LEAST_SHARD = 0.2, 10
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        return 0
    task = json.loads(line)
    try:
        if task["do"] == "begin":
            asyncio.run(begin(Path(task["spec"]), task["run_id"]))
        else:
            asyncio.run(go_on(Path(task["home"]), task["run_id"]))
    except FacesweepError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
