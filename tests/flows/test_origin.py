"""Real and simulated verdicts never stand in one home: neither lends its answers to the other."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from domain.errors import UsageError
from tasks.units.draft import draft_audit
from tasks.units.opening import open_audit
from tasks.units.run import OpenRun
from tests.contract.emulator_process import RunningEmulators
from tests.flows import verdict_rows
from tests.flows.faces import face
from tests.flows.in_process import asked_about, go_on, put, sweep, write_spec

pytestmark = pytest.mark.anyio

LOW = {"Response": {"AttackRiskLevel": "Low", "AttackRiskDetailList": [], "RequestId": "r"}}


class Real:
    """A service that answers as Tencent does, and does not say that it is an emulator."""

    def __init__(self) -> None:
        self.calls = 0
        self.looks = 0
        self.url = ""


@contextmanager
def running_service() -> Iterator[Real]:
    real = Real()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            real.calls += 1
            body = json.dumps(LOW).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            real.looks += 1
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            real.url = f"http://127.0.0.1:{server.server_address[1]}"
            yield real
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def real() -> Iterator[Real]:
    with running_service() as running:
        yield running


def spec_for(folder: Path, name: str, url: str) -> Path:
    return write_spec(folder / f"{name}.toml", source={"url": "source"}, tencent={"qps": 50, "endpoint": url})


async def test_the_real_service_is_not_asked_in_a_home_of_simulated_verdicts(
    tmp_path: Path,
    emulators: RunningEmulators,
    real: Real,
) -> None:
    """Not even where the plan would find everything answered: that is how it would lend itself for real."""
    put(tmp_path / "source", a=face(1))
    await sweep(spec_for(tmp_path, "tried", emulators.tencent_url), "tried")
    for_real = spec_for(tmp_path, "real", real.url)

    with pytest.raises(UsageError, match=r"are an emulator's, and http://127\.0\.0\.1:\d+ is none: choose"):
        await sweep(for_real, "real")
    found = open_audit(for_real)
    with pytest.raises(UsageError, match="are an emulator's"):
        async with draft_audit(found.home, found.spec, only_to_look=True):
            pass

    assert (real.calls, real.looks) == (0, 2)
    assert [record["run_id"] for record in verdict_rows.records(tmp_path / "home")] == ["tried"]


async def test_an_emulator_goes_on_in_a_home_of_simulated_verdicts(
    tmp_path: Path,
    emulators: RunningEmulators,
) -> None:
    """Looking who is there is no call, and a run that only repeats simulated verdicts is simulated too."""
    put(tmp_path / "source", a=face(1))
    spec = spec_for(tmp_path, "tried", emulators.tencent_url)
    assert (await sweep(spec, "first")).simulated
    put(tmp_path / "source", b=face(1))
    assert (await sweep(spec, "second")).simulated
    assert len(asked_about(emulators)) == 1


async def test_an_emulators_answer_is_not_recorded_in_a_home_of_real_verdicts(
    tmp_path: Path,
    emulators: RunningEmulators,
    real: Real,
) -> None:
    put(tmp_path / "source", a=face(1))
    await sweep(spec_for(tmp_path, "real", real.url), "real")
    put(tmp_path / "source", b=face(2), c=face(3, "noface"))
    tried = spec_for(tmp_path, "tried", emulators.tencent_url)

    with pytest.raises(UsageError, match=r"an emulator answered for tencent, and .* are real"):
        await sweep(tried, "tried")

    assert {row["run_id"] for row in verdict_rows.rows(tmp_path / "home")} == {"real"}
    record = verdict_rows.records(tmp_path / "home")[-1]
    assert (record["run_id"], record["status"], record["simulated"]) == ("tried", "broken", False)
    assert "an emulator answered" in record["stop_reason"]
    assert verdict_rows.books(record)["pending"] == 2
    assert real.looks == 0


async def test_an_emulators_refusal_is_not_recorded_in_a_home_of_real_verdicts(
    tmp_path: Path,
    emulators: RunningEmulators,
    real: Real,
) -> None:
    put(tmp_path / "source", a=face(1))
    await sweep(spec_for(tmp_path, "real", real.url), "real")
    put(tmp_path / "source", b=face(2, "noface"))

    with pytest.raises(UsageError, match="an emulator answered"):
        await sweep(spec_for(tmp_path, "tried", emulators.tencent_url), "tried")

    assert {row["run_id"] for row in verdict_rows.rows(tmp_path / "home")} == {"real"}


async def test_a_run_that_met_the_other_kind_can_go_on_with_its_own(
    tmp_path: Path,
    emulators: RunningEmulators,
    real: Real,
) -> None:
    """Resumed, and the address is the real service's again: nothing stands in the way of real answers."""
    put(tmp_path / "source", a=face(1))
    await sweep(spec_for(tmp_path, "real", real.url), "first")
    put(tmp_path / "source", b=face(2))
    with pytest.raises(UsageError):
        await sweep(spec_for(tmp_path, "tried", emulators.tencent_url), "second")
    path = tmp_path / "home" / "runs" / "second.json"
    record = json.loads(path.read_text())
    record["spec"]["providers"]["tencent"]["endpoint"] = real.url
    path.write_text(json.dumps(record))

    assert (await go_on(tmp_path / "real.toml", "second")).status == "done"
    assert {row["run_id"] for row in verdict_rows.rows(tmp_path / "home")} == {"first", "second"}


async def test_the_record_says_simulated_before_the_first_answer_is_kept(
    tmp_path: Path,
    emulators: RunningEmulators,
) -> None:
    """A kill between the two would leave simulated answers in a home that counts as real."""
    put(tmp_path / "source", a=face(1))
    seen = []

    def watch(run: OpenRun) -> None:
        (line,) = run.lines.values()
        line.recorded = lambda _: seen.append(verdict_rows.records(tmp_path / "home")[0]["simulated"])

    await sweep(spec_for(tmp_path, "tried", emulators.tencent_url), "first", watch=watch)
    assert seen == [True]
