"""A story told once: the first test that needs it lets it happen, all others read how it went.

Under xdist the tests of one module run in several processes; what a story left behind lies in a folder
they share, so that nobody waits for a second telling.
"""

import fcntl
import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """One process at a time inside."""
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Telling:
    """What a story left behind: its folder, and the facts it noted."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self.facts = folder, facts

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    @property
    def home(self) -> Path:
        return self.folder / "home"


def told_once(shared: Path, name: str, story: Callable[[Path], dict[str, Any]]) -> Telling:
    """Let the story happen in a folder of its name, unless it has happened already."""
    folder = shared / name
    facts, failure = shared / f"{name}.json", shared / f"{name}.failure"
    with alone(shared / f"{name}.lock"):
        if failure.exists():
            pytest.fail(failure.read_text(), pytrace=False)
        if not facts.exists():
            folder.mkdir()
            try:
                facts.write_text(json.dumps(story(folder)))
            except BaseException:
                failure.write_text(traceback.format_exc())
                raise
    return Telling(folder, json.loads(facts.read_text()))
