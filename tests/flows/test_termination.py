"""SIGTERM to a flow run that nobody attends, as whoever ends a worker or cancels a run sends it."""

import signal
import subprocess
import sys
from pathlib import Path

from domain.runs import RunStatus
from tasks.records import run_record
from tasks.records.home import Home
from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import folder_of_faces
from tests.flows.facesweep_process import ROOT, SECRETS, Facesweep
from tests.flows.in_process import asked_about, write_spec
from tests.flows.patience import until

FLOW = """
import asyncio, sys
from flows.audit import audit

asyncio.run(audit(sys.argv[1], "nightly"))
"""


def test_an_audit_of_a_worker_that_is_told_to_end_keeps_the_answers_on_the_way(
    tmp_path: Path, emulators: RunningEmulators, prefect_url: str
) -> None:
    """It ends interrupted, with every call that left answered and published, as with Ctrl-C at a terminal."""
    folder_of_faces(tmp_path / "source", 40)
    tencent = {"qps": 2, "endpoint": emulators.tencent_url}
    spec = write_spec(tmp_path / "kyc.toml", source={"url": "source"}, tencent=tencent)
    with subprocess.Popen(
        [sys.executable, "-c", FLOW, str(spec)],
        cwd=ROOT,
        env=Facesweep(tmp_path, prefect_url).environment | {"PREFECT_LOGGING_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        until(lambda: emulators.summary("tencent")["total"], lambda total: int(total) >= 4)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
    assert not any(secret in said for secret in SECRETS)
    record = run_record.load(Home.local(tmp_path / "home"), "nightly")
    assert (record.status, record.stop_reason) == (RunStatus.INTERRUPTED, "the run was asked to stop")
    rows = verdict_rows.rows(tmp_path / "home")
    assert 4 <= len(rows) < 40
    assert len(asked_about(emulators)) == len(rows)  # nothing that left went unanswered
