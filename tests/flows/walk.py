"""The commands of deployments/README.md, run as they stand there."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.store_servers import unused_url
from tests.flows.facesweep_process import FOREIGN, ROOT

GUIDE = ROOT / "deployments" / "README.md"
PORT = "4200"  # the guide's, and Prefect's own

_WALKED = re.compile(
    r"<!-- walked(?P<apart>: a terminal of its own)? -->\n```sh\n(?P<commands>.*?)```", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of commands."""

    commands: str
    is_apart: bool  # it keeps running, in a terminal of its own


def walked_blocks() -> list[Block]:
    """The guide's blocks that are marked as walked, in their order."""
    found = _WALKED.finditer(GUIDE.read_text())
    return [Block(each["commands"], each["apart"] is not None) for each in found]


class Walker:
    """Somebody who sits in front of a clone, in `folder`, and types what the guide says.

    The clone is a folder with links to this one's parts. The port alone is another than the guide's.
    """

    def __init__(self, folder: Path, terminals: ExitStack) -> None:
        self.folder = folder
        self._terminals = terminals
        self._apart = 0
        self.port = unused_url().rpartition(":")[2]
        (folder / ".venv").symlink_to(sys.prefix)
        for name in ("flows", "tasks", "domain"):
            (folder / name).symlink_to(ROOT / name)
        deployments = folder / "deployments"
        deployments.mkdir()
        for path in (ROOT / "deployments").iterdir():
            if path.is_file():
                (deployments / path.name).write_text(self._here(path.read_text()))
        self._exported = folder / "exported"
        home = folder / "person"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.environment = kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def type(self, commands: str, timeout_s: float = 200) -> str:
        """Run commands in the one terminal that keeps its variables; what they print.

        Raises AssertionError when one of them fails.
        """
        script = f"[ ! -e '{self._exported}' ] || . '{self._exported}'\n{self._here(commands)}\n"
        script += f"export -p > '{self._exported}'\n"
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, (
            f"{commands}\nended with {done.returncode}:\n{done.stdout}{self.said_apart()}"
        )
        return done.stdout

    def type_apart(self, commands: str) -> subprocess.Popen[bytes]:
        """Run commands in a terminal of their own, until the walk is over."""
        self._apart += 1
        log = self._terminals.enter_context((self.folder / f"terminal-{self._apart}").open("wb"))
        process = subprocess.Popen(
            ["bash", "-euc", self._here(commands)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._terminals.callback(_end, process)
        return process

    def said_apart(self) -> str:
        """The last words of the other terminals."""
        said = [path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("terminal-*"))]
        return "".join(f"\n--- another terminal:\n{each}" for each in said)

    def _here(self, text: str) -> str:
        return text.replace(PORT, self.port)


@contextmanager
def walker(folder: Path) -> Iterator[Walker]:
    """A walker whose terminals are closed at the end of the block."""
    with ExitStack() as terminals:
        yield Walker(folder, terminals)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
