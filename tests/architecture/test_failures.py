"""The table of failures survived names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
DEFINED = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}
NAMED = sorted(set(re.findall(r"`(test_\w+)`", TABLE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_failure_in_the_table_has_its_test(name: str) -> None:
    assert name in DEFINED


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", TABLE))))
def test_a_file_in_the_table_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


def test_most_failures_have_a_test_of_their_own() -> None:
    assert len(NAMED) > 40
