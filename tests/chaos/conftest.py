"""What the kills share with the flows: a folder of this session, a Prefect server that runs, patience."""

from pathlib import Path

import pytest

from tests.flows.conftest import prefect_url, shared

__all__ = ["prefect_url", "shared"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A story here starts and kills many processes one after the other."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))
