"""The command in surroundings it did not choose: locales, encodings, proxies."""

from pathlib import Path

import pytest

from tests.flows.faces import emulated, folder_of_faces
from tests.flows.facesweep_process import Facesweep


@pytest.mark.parametrize(
    ("surroundings", "shown"),
    [
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "客户"),
        ({"PYTHONIOENCODING": "ascii"}, r"\u5ba2\u6237"),
    ],
)
def test_names_of_any_script_are_read_and_shown_whatever_the_locale(
    tmp_path: Path, surroundings: dict[str, str], shown: str
) -> None:
    """What the terminal's encoding lacks is shown by its number; no file is left out."""
    facesweep = Facesweep(tmp_path)
    facesweep.environment |= surroundings
    folder = tmp_path / "Größe" / "客户"
    folder.mkdir(parents=True)
    (folder / "自拍.jpg").write_bytes(b"not looked at by a plan")
    spec = facesweep.spec(source={"url": "Größe", "strata": "prefix:1"}, tencent={})

    ended = facesweep.run("plan", spec)

    assert ended.status == 0, ended.err
    assert "tencent: 1 listed, 1 to ask about" in ended.out
    assert shown in ended.out


NOBODY = "http://127.0.0.1:9"


def test_a_proxy_of_the_network_is_not_asked_for_what_runs_on_this_machine(
    tmp_path: Path, prefect_url: str
) -> None:
    """Prefect's own short-lived server and the demo's providers are reached there; so is any other one."""
    facesweep = Facesweep(tmp_path, prefect_url)
    facesweep.environment |= {"http_proxy": NOBODY, "HTTP_PROXY": NOBODY, "NO_PROXY": "intranet.example"}
    folder_of_faces(tmp_path / "source", 1)
    with emulated() as emulators:
        spec = facesweep.spec(source={"url": "source"}, tencent={"endpoint": emulators.tencent_url})
        ended = facesweep.run("audit", spec, "--yes")
    assert ended.status == 0, ended.err
    assert "1 asked = 1 scored" in ended.out


def test_a_prefect_server_that_cannot_be_reached_is_named_with_what_to_do(tmp_path: Path) -> None:
    facesweep = Facesweep(tmp_path, f"{NOBODY}/api")
    (tmp_path / "source").mkdir()
    ended = facesweep.run("audit", facesweep.spec(source={"url": "source"}, tencent={}), "--yes")
    assert ended.status == 2
    assert ended.err.splitlines()[-1] == (
        f"facesweep: the Prefect server at {NOBODY}/api cannot be reached: start it, or unset PREFECT_API_URL"
    )
