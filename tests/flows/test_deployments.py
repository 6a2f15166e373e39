"""deployments/: whoever does what its guide says gets audits on a schedule, and is told when one fails."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.contract.emulator_process import RunningEmulators
from tests.flows.faces import both, emulated, folder_of_faces
from tests.flows.facesweep_process import KEYS
from tests.flows.in_process import write_spec
from tests.flows.patience import until
from tests.flows.walk import Walker, walked_blocks, walker

FACES = 12


@pytest.fixture(scope="module")
def emulators() -> Iterator[RunningEmulators]:
    with emulated() as running:
        yield running


@pytest.fixture(scope="module")
def walk(
    tmp_path_factory: pytest.TempPathFactory, emulators: RunningEmulators
) -> Iterator[tuple[Walker, str]]:
    """The guide, walked to its end; what was printed on the way."""
    folder = tmp_path_factory.mktemp("clone")
    folder_of_faces(folder / "faces", FACES)
    write_spec(
        folder / "kyc.toml", audit={"name": "kyc"}, source={"url": str(folder / "faces")}, **both(emulators)
    )
    folder_of_faces(folder / "archive", FACES)
    write_spec(
        folder / "years.toml",
        audit={"name": "years"},
        source={"url": str(folder / "archive")},
        tencent=both(emulators)["tencent"],
    )
    printed = ""
    with walker(folder) as person:
        for block in walked_blocks():
            if block.is_apart:
                person.type_apart(block.commands)
                if "server start" in block.commands:
                    until(lambda: _answers(person), bool, 100)
            else:
                printed += person.type(block.commands)
            if "keys.env" in block.commands and not block.is_apart and "cp " in block.commands:
                with (folder / "keys.env").open("a") as keys:  # what a person fills in
                    keys.writelines(f"{name}={value}\n" for name, value in KEYS.items())
        yield person, printed


def test_the_guide_leads_to_a_finished_audit(walk: tuple[Walker, str], emulators: RunningEmulators) -> None:
    """Server, keys, deploy, worker, first run: the commands as they stand, in their order."""
    person, printed = walk

    (record,) = [json.loads(path.read_text()) for path in (person.folder / "audits/kyc/runs").glob("*.json")]

    assert record["status"] == "done"
    assert {each["provider"]: each["outcomes"] for each in _books(record)} == {
        "tencent": {"scored": FACES},
        "aliyun": {"scored": FACES},
    }
    assert "deployment audit/nightly: created" in printed
    created = r"^limit facesweep-tencent-default-127\.0\.0\.1\S*: created \(50 calls per second\)$"
    assert re.search(created, printed, re.MULTILINE)


def test_the_guide_leads_to_a_finished_backfill(
    walk: tuple[Walker, str], emulators: RunningEmulators
) -> None:
    """Its coordinator takes its place in one pool, its shards in the other; nobody is asked twice."""
    person, _ = walk

    (record,) = [
        json.loads(path.read_text()) for path in (person.folder / "audits/years/runs").glob("*.json")
    ]

    assert (record["kind"], record["status"]) == ("backfill", "done")
    assert _books(record) == [{"provider": "tencent", "outcomes": {"scored": FACES}}]
    assert emulators.summary("tencent")["billed"] == 2 * FACES  # the night's, and the archive's


def test_the_next_nights_are_on_the_servers_calendar(walk: tuple[Walker, str]) -> None:
    """Each at half past one in Shanghai. The server's own scheduler puts them there."""
    person, _ = walk
    nightly = _asked(person, "deployments/name/audit/nightly")["id"]

    def planned() -> list[dict[str, Any]]:
        found = {
            "deployments": {"id": {"any_": [nightly]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        return list(_asked(person, "flow_runs/filter", "POST", found))

    runs = until(planned, lambda found: len(found) > 1)

    assert {each["expected_start_time"][11:19] for each in runs} == {"17:30:00"}  # UTC


def test_keys_stay_out_of_what_the_server_holds(walk: tuple[Walker, str]) -> None:
    person, _ = walk
    held = b"".join(path.read_bytes() for path in (person.folder / "person").rglob("*") if path.is_file())
    assert b"weekly-sample" in held
    assert not [name for name, value in KEYS.items() if "SECRET" in name and value.encode() in held]


def test_somebody_is_told_of_a_run_that_failed(walk: tuple[Walker, str]) -> None:
    """By a webhook that is given once."""
    person, _ = walk
    with _webhook() as (url, told):
        printed = person.type(f".venv/bin/facesweep deploy kyc.toml --notify {url}")
        assert "block webhook/facesweep: created" in printed

        person.type(
            ".venv/bin/prefect deployment run audit/nightly -p spec_path=/nowhere.toml --watch || true"
        )

        assert "/nowhere.toml: no such spec file" in json.loads(told.get(timeout=60))["text"]


def test_deploying_again_changes_nothing(walk: tuple[Walker, str]) -> None:
    """Whom to tell neither, though nobody says it again."""
    person, _ = walk
    before = _state(person)

    printed = person.type(".venv/bin/facesweep deploy kyc.toml")

    assert _state(person) == before
    assert printed.splitlines()[-1] == "nothing to change"
    assert all(line.endswith(": unchanged") for line in printed.splitlines()[:-1]), printed


def test_a_dry_run_says_what_would_change_and_changes_nothing(walk: tuple[Walker, str]) -> None:
    person, _ = walk
    write_spec(
        person.folder / "other.toml", audit={"name": "other"}, source={"url": "faces"}, tencent={"qps": 1}
    )
    kyc = (person.folder / "kyc.toml").read_text()
    (person.folder / "faster.toml").write_text(
        kyc.replace('"kyc"', '"faster"').replace("qps = 50", "qps = 60")
    )
    before = _state(person)

    printed = person.type(".venv/bin/facesweep deploy other.toml faster.toml --dry-run")

    assert _state(person) == before
    assert "deployment audit/nightly-other: would be created" in printed
    assert "deployment audit/nightly: left alone" in printed
    assert "limit facesweep-tencent-default: would be created (1 calls per second)" in printed
    assert "50 calls per second holds, a spec says 60; `facesweep cap` changes it" in printed


def test_a_schedule_that_somebody_paused_stays_paused(walk: tuple[Walker, str]) -> None:
    person, _ = walk
    found = _asked(person, "deployments/name/audit/weekly-sample")
    schedule = found["schedules"][0]["id"]
    _asked(person, f"deployments/{found['id']}/schedules/{schedule}", "PATCH", {"active": False})
    _asked(person, f"deployments/{found['id']}", "PATCH", {"description": "somebody's own words"})

    printed = person.type(".venv/bin/facesweep deploy kyc.toml")

    assert "deployment audit/weekly-sample: updated (description)" in printed
    (schedule_now,) = _asked(person, "deployments/name/audit/weekly-sample")["schedules"]
    assert not schedule_now["active"]


def test_what_prefect_deploys_from_the_same_file_is_the_same(walk: tuple[Walker, str]) -> None:
    person, _ = walk
    before = _state(person)

    person.type(
        'FACESWEEP_CLONE="$PYTHONPATH" FACESWEEP_SPEC="$PWD/kyc.toml" PREFECT_LOGGING_LEVEL=ERROR'
        " .venv/bin/prefect --no-prompt deploy --name nightly"
        ' --prefect-file "$PYTHONPATH/deployments/prefect.yaml"'
    )

    assert _state(person) == before


def test_the_report_of_a_month_lies_in_the_home_and_names_no_object(walk: tuple[Walker, str]) -> None:
    person, _ = walk
    (record,) = (person.folder / "audits/kyc/runs").glob("*.json")
    month = json.loads(record.read_text())["started_at"][:7]

    person.type(f".venv/bin/prefect deployment run report/monthly-report -p month={month} --watch")

    kept = (person.folder / f"audits/kyc/reports/{month}/report.md").read_text()
    assert "**Simulated**" in kept
    assert f"| tencent | {FACES} | {FACES} |" in kept  # scored, calls
    assert ".jpg" not in kept
    (artifact,) = _asked(person, "artifacts/filter", "POST", {"artifacts": {"key": {"any_": ["report-kyc"]}}})
    assert artifact["data"] == kept


def _answers(person: Walker) -> bool:
    try:
        with urlopen(f"{person.server_url}/api/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _asked(person: Walker, path: str, method: str = "GET", body: object = None) -> Any:
    """What the server's API says."""
    request = Request(
        f"{person.server_url}/api/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as reply:
        content = reply.read()
    return json.loads(content) if content else None


def _state(person: Walker) -> dict[str, Any]:
    """Everything `deploy` looks after, without what changes by itself: ids of schedules, polls, states."""

    def told(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
        return sorted(({name: row[name] for name in names} for row in rows), key=str)

    deployments = _asked(person, "deployments/filter", "POST", {})
    return {
        "pools": told(
            _asked(person, "work_pools/filter", "POST", {}), "id", "name", "type", "concurrency_limit"
        ),
        "queues": told(
            _asked(person, "work_queues/filter", "POST", {}), "id", "name", "priority", "concurrency_limit"
        ),
        "deployments": told(
            deployments,
            "id",
            "name",
            "parameters",
            "entrypoint",
            "pull_steps",
            "work_pool_name",
            "work_queue_name",
            "job_variables",
            "tags",
            "description",
            "concurrency_options",
            "parameter_openapi_schema",
        ),
        "schedules": told(
            [each for row in deployments for each in row["schedules"]], "deployment_id", "schedule", "active"
        ),
        "automations": _asked(person, "automations/filter", "POST", {}),
        "limits": told(_asked(person, "v2/concurrency_limits/filter", "POST", {}), "id", "name", "limit"),
    }


def _books(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "provider": each["provider"],
            "outcomes": {name: count for name, count in each["outcomes"].items() if count},
        }
        for each in record["books"]
    ]


class _Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    told: "Queue[bytes]"

    def do_POST(self) -> None:
        self.told.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def _webhook() -> Iterator[tuple[str, "Queue[bytes]"]]:
    """A receiver on this machine: its url, and the bodies it is sent."""
    told: Queue[bytes] = Queue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Receiver", (_Receiver,), {"told": told}))
    listening = threading.Thread(target=server.serve_forever)
    listening.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", told
    finally:
        server.shutdown()
        server.server_close()
        listening.join()
