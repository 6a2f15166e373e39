"""`facesweep deploy` where it cannot: one sentence, exit 2."""

from pathlib import Path

import pytest

from tests.contract.store_servers import unused_url
from tests.flows.facesweep_process import Facesweep


def test_without_a_server_it_says_which_variable_names_one(tmp_path: Path) -> None:
    ended = Facesweep(tmp_path).run("deploy")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        "facesweep: no Prefect server is configured: set PREFECT_API_URL, such as http://127.0.0.1:4200/api\n"
    )


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    url = f"{unused_url()}/api"
    ended = Facesweep(tmp_path, url).run("deploy")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"facesweep: the Prefect server at {url} does not answer")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("whom", ["slack-webhook/nobody", "nobody"])
def test_a_block_that_is_not_there_cannot_be_told(tmp_path: Path, prefect_url: str, whom: str) -> None:
    ended = Facesweep(tmp_path, prefect_url).run("deploy", "--dry-run", "--notify", whom)
    assert ended.status == 2
    assert f"--notify {whom}: there is no such block" in ended.err
