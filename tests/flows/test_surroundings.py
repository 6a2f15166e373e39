"""The command in surroundings it did not choose: locales, encodings, proxies."""

from pathlib import Path

import pytest

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
