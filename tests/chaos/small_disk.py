"""A disk that can be filled to the last byte: a small tmpfs in a mount namespace of its own.

Where no namespace may be made, the size of every file is bounded instead, which the kernel refuses at
the same place with another error. Both are real; `way` says which one it is.
"""

import contextlib
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tests.flows.facesweep_process import ROOT

TMPFS, BOUND = "tmpfs", "file size"
PAGE_BYTES = 4096


class SmallDisk:
    """A folder on it, and the power to fill it and to make room again."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder, self.way = folder, way
        self._ballast = folder / "ballast"

    def fill(self, process_id: int, leave_pages: int = 0) -> None:
        """Leave room for so many pages of 4 KiB: in a bounded file of this process, or of its children.

        A bounded file has a page at least: the process has to say what went wrong.
        """
        if self.way == BOUND:
            self._bind(process_id, max(1, leave_pages) * PAGE_BYTES)
            return
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(PAGE_BYTES))
        os.truncate(self._ballast, self._ballast.stat().st_size - leave_pages * PAGE_BYTES)

    def make_room(self, process_id: int) -> None:
        """Let there be room again, for the process that files were bounded for."""
        if self.way == BOUND:
            self._bind(process_id, None)
        self._ballast.unlink(missing_ok=True)

    def _bind(self, process_id: int, size_bytes: int | None) -> None:
        _, most = resource.prlimit(process_id, resource.RLIMIT_FSIZE)
        soft = most if size_bytes is None else size_bytes
        resource.prlimit(process_id, resource.RLIMIT_FSIZE, (soft, most))


def told_on_a_small_disk(
    way: str, folder: Path, megabytes: int, story: str, *arguments: str
) -> dict[str, Any]:
    """What `module.function` tells, called with a `SmallDisk` in `folder` and the arguments.

    It runs in a process of its own, whose mounts nobody else sees.
    """
    folder.mkdir(parents=True)
    told = subprocess.run(
        [
            *((way_into_a_namespace() or ()) if way == TMPFS else ()),
            *(sys.executable, "-m", "tests.chaos.small_disk"),
            *(way, str(megabytes), str(folder), story, *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode != 0:
        raise AssertionError(f"{story} ended with status {told.returncode}:\n{told.stderr}")
    facts: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return facts


@cache
def way_into_a_namespace() -> tuple[str, ...] | None:
    """The command that may mount something for its children alone, or None where nobody may."""
    unshare = shutil.which("unshare")
    for options in ("-rm", "-m"):
        if unshare is None:
            break
        tried = subprocess.run(
            [unshare, options, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"],
            capture_output=True,
            check=False,
        )
        if tried.returncode == 0:
            return unshare, options
    return None


def main() -> None:
    way, megabytes, name, story, *arguments = sys.argv[1:]
    folder = Path(name)
    if way == TMPFS:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", name], check=True)
    module, _, function = story.rpartition(".")
    facts = getattr(importlib.import_module(module), function)(SmallDisk(folder, way), *arguments)
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
