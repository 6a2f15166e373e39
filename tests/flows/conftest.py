"""What the stories share: a folder, a Prefect server, faces to look at."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.emulator_process import RunningEmulators, running_emulators
from tests.flows.faces import know_keys
from tests.flows.in_process import set_keys
from tests.flows.prefect_server import shared_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A story runs several commands one after the other, each of which takes seconds to load Prefect."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder all test processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "stories"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def prefect_url(shared: Path) -> Iterator[str]:
    """A Prefect server that is there already: a command need not start one of its own."""
    with shared_server(shared / "server") as url:
        yield url


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[RunningEmulators]:
    """Both providers for the audits that are made in the process of the test."""
    with running_emulators() as running:
        yield running


@pytest.fixture
def emulators(emulator_process: RunningEmulators, monkeypatch: pytest.MonkeyPatch) -> RunningEmulators:
    """The same, as if they had just started; this process has keys for them."""
    set_keys(monkeypatch)
    emulator_process.reset()
    know_keys(emulator_process)
    return emulator_process
