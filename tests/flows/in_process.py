"""A whole audit in the process of the test: everything but Prefect and the command line."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_credentials.utils import auth_util

from domain.runs import Shard
from domain.verdicts import Outcome
from tasks.records.run_record import RunRecord
from tasks.units.draft import adopt, draft_audit, draft_retry
from tasks.units.lifetime import open_run
from tasks.units.opening import open_audit
from tasks.units.run import OpenRun
from tests.contract.emulator_process import RunningEmulators
from tests.flows.faces import know_keys
from tests.flows.facesweep_process import ALIYUN_KEY, ALIYUN_SECRET, KEYS


def set_keys(environment: pytest.MonkeyPatch) -> None:
    """This process has the keys that `Facesweep` gives its commands, and moto takes any.

    Aliyun's own chain reads the environment once, when it is imported: by whichever test came first.
    """
    for name, value in (KEYS | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        environment.setenv(name, value)
    environment.setattr(auth_util, "environment_access_key_id", ALIYUN_KEY)
    environment.setattr(auth_util, "environment_access_key_secret", ALIYUN_SECRET)
    environment.setattr(auth_util, "environment_security_token", None)


def write_spec(path: Path, **tables: dict[str, Any]) -> Path:
    """A spec of these tables whose home is `home` beside it; `tencent` and `aliyun` are providers."""
    lines = []
    for table, keys in {"audit": {"name": "kyc", "home": "home"}, **tables}.items():
        dotted = f"providers.{table}" if table in ("tencent", "aliyun") else table
        lines += [f"[{dotted}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


async def sweep(
    spec: Path, run_id: str, reask: str | None = None, watch: Callable[[OpenRun], None] = lambda _: None
) -> RunRecord:
    """List, plan, ask and publish; the record of a run that is done. `watch` sees the run before it asks."""
    found = open_audit(spec)
    async with draft_audit(found.home, found.spec, run_id, reask=reask) as draft:
        adopt(draft)
    return await go_on(spec, run_id, watch)


async def sweep_again(spec: Path, run_id: str, outcomes: Collection[Outcome]) -> RunRecord:
    """Ask again what ended so in that run."""
    async with draft_retry(open_audit(spec).home, run_id, outcomes) as draft:
        adopt(draft)
    return await go_on(spec, draft.run_id)


async def go_on(spec: Path, run_id: str, watch: Callable[[OpenRun], None] = lambda _: None) -> RunRecord:
    """Go on with a run of the spec's home."""

    async def detect_shard(run: OpenRun, shard: Shard) -> None:
        await run.detect_shard(shard)

    async with open_run(open_audit(spec).home, run_id) as run:
        watch(run)
        await run.detect(detect_shard)
        return await run.finish()


def asked_about(emulators: RunningEmulators, provider: str = "tencent") -> list[str]:
    """The media of each call since the last look, by hash; the log is empty again."""
    found = [each["media_sha256"] for each in emulators.calls(provider)]
    emulators.reset()
    know_keys(emulators)
    return found


def put(folder: Path, **files: bytes) -> None:
    """Write `<name>.jpg` for each into the folder."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.jpg").write_bytes(content)
