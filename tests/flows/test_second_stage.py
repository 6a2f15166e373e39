"""The second stage of a run, in trouble."""

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.records.home import HomeUnwritable
from tasks.units.draft import adopt, draft_audit
from tasks.units.lifetime import open_run
from tasks.units.opening import open_audit
from tasks.units.run import OpenRun
from tasks.units.stages import plan_second
from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import both, face
from tests.flows.in_process import put, write_spec

pytestmark = pytest.mark.anyio


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """The kernel refuses larger files to this process, as a full disk would."""
    ours, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ours, most))


async def test_no_room_for_the_second_plan_is_a_sentence_and_the_run_goes_on_once_there_is(
    tmp_path: Path, emulators: RunningEmulators
) -> None:
    """What the first provider said is not lost, and nobody is asked twice."""
    put(tmp_path / "source", swap=face(1, "swap"), genuine=face(2))
    spec = write_spec(
        tmp_path / "kyc.toml", source={"url": "source"}, strategy={"kind": "cascade"}, **both(emulators)
    )
    found = open_audit(spec)
    async with draft_audit(found.home, found.spec, "r1") as draft:
        adopt(draft)

    async def find_no_room() -> None:
        async with open_run(found.home, "r1") as run:
            await run.detect(OpenRun.detect_shard)
            await run.publish()
            with files_of_at_most(1_000):
                await plan_second(run)

    place = rf"{re.escape(str(found.home.root))}/\.staging/\w+/plan cannot be written: "
    with pytest.raises(HomeUnwritable, match=place):
        await find_no_room()

    async with open_run(found.home, "r1") as run:
        await run.detect(OpenRun.detect_shard)
        assert await plan_second(run)
        await run.detect(OpenRun.detect_shard)
        record = await run.finish()
    assert record.status == "done"
    assert sorted((row["provider"], row["key"]) for row in verdict_rows.rows(found.home.root)) == [
        ("aliyun", "swap.jpg"),
        ("tencent", "genuine.jpg"),
        ("tencent", "swap.jpg"),
    ]
    assert [len(emulators.calls(each)) for each in ("tencent", "aliyun")] == [2, 1]
