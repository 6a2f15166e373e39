"""Fixtures every chapter of the specification uses."""

import logging

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _logs_are_heard() -> None:
    """A command that an earlier test ran in this process has turned them off, for its terminal."""
    logging.disable(logging.NOTSET)
