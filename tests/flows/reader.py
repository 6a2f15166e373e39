"""An analyst who looks at the home again and again while a run works: a process of its own."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
LOOK_EVERY_S = 0.02


class Reader:
    """Opens every file a reader of the layout would find, until told.

    `damaged` names the torn and the changed ones, and the parts that hold a question of another part;
    `opened` counts what was read.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.damaged: list[str] = []
        self.opened = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.reader", str(self._home)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._process.communicate()
        if self._process.returncode != 0:
            raise AssertionError(f"the reader ended with status {self._process.returncode}")
        found = json.loads(said)
        self.damaged, self.opened = found["damaged"], found["opened"]


class Eye:
    """What one reader has seen so far."""

    def __init__(self, home: Path) -> None:
        self.damaged: list[str] = []
        self.opened = 0
        self._home = home
        self._known: dict[Path, tuple[int, int, int]] = {}  # inode, bytes, time of change when it was read
        self._rows: dict[Path, dict[str, Any]] = {}  # of each part: question → request

    def look(self) -> None:
        """Read every file that is new or was changed since the last look."""
        for folder in ("listings", "plans", "verdicts", "runs"):
            for path in sorted((self._home / folder).rglob("*")):
                try:
                    self._read(path)
                except (OSError, ValueError) as error:
                    self.damaged.append(f"{path}: {error}")

    def _read(self, path: Path) -> None:
        try:
            stat = path.stat()
        except FileNotFoundError:
            if path.suffix != ".json":  # a record is replaced, nothing else goes away
                raise
            return
        now = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if path.is_dir() or self._known.get(path) == now:
            return
        if path.suffix == ".parquet":
            self._check(path, pq.read_table(path, partitioning=None))
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            self.damaged.append(f"{path}: no reader knows what this is")
        self.opened += 1
        self._known[path] = now

    def _check(self, path: Path, table: Any) -> None:
        """A part's rows are the same for ever, and no other part of its run has them."""
        if "verdicts" not in path.relative_to(self._home).parts:
            return
        questions = table.column("question_id").to_pylist()
        rows = dict(zip(questions, table.column("request_id").to_pylist(), strict=True))
        if len(rows) < len(questions) or rows != self._rows.setdefault(path, rows):
            self.damaged.append(f"{path}: a row is there twice, or was changed")
        for other, others in self._rows.items():
            if other != path and other.parent == path.parent and rows.keys() & others.keys():
                self.damaged.append(f"{path}: has a question of {other}")


def main() -> None:
    """Look until stdin ends, then say what was seen."""
    eye, over = Eye(Path(sys.argv[1])), threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    while not over.wait(LOOK_EVERY_S):
        eye.look()
    eye.look()
    with contextlib.suppress(BrokenPipeError):
        json.dump({"damaged": eye.damaged, "opened": eye.opened}, sys.stdout)


if __name__ == "__main__":
    main()
