"""A process that calls an emulated provider as often as its share of the cap allows:

python -m tests.flows.lane_caller SPEC audit|backfill

Says `calling` once its first call has left, and ends with its standard input.
"""

import asyncio
import contextlib
import hashlib
import sys
from pathlib import Path

from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Provider
from tasks.pacing.deadline import Deadline
from tasks.pacing.shares import Priority
from tasks.units.lanes import open_lane
from tasks.units.opening import open_detector, open_session, read_spec
from tests.flows.faces import face

CALLERS = 20


async def main() -> None:
    spec, content = read_spec(Path(sys.argv[1])), face(1)
    digest = hashlib.sha256(content).hexdigest()
    media = PreparedMedia(content, MediaKind.IMAGE, digest, digest, "untouched")
    async with (
        open_session() as session,
        open_lane(Provider.TENCENT, spec, Deadline(None), Priority(sys.argv[2])) as lane,
    ):
        detector = open_detector(Provider.TENCENT, spec, session)

        async def call() -> None:
            while True:
                async with lane.gate:
                    await lane.admit()
                if lane.admitted == 1:
                    sys.stdout.write("calling\n")
                    sys.stdout.flush()
                await detector.ask(detector.compose(media))

        callers = [asyncio.create_task(call()) for _ in range(CALLERS)]
        await asyncio.to_thread(sys.stdin.read)
        for each in callers:
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*callers)


if __name__ == "__main__":
    asyncio.run(main())
