"""An analyst who looks at the home again and again while a run works."""

import json
import threading
from pathlib import Path
from typing import Self

import pyarrow.parquet as pq


class Reader:
    """Opens every file a reader of the layout would find, until told; `damaged` names the torn."""

    def __init__(self, home: Path) -> None:
        self.damaged: list[str] = []
        self.opened = 0
        self._home = home
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for folder in ("listings", "plans", "verdicts", "runs"):
                for path in sorted((self._home / folder).rglob("*")):
                    try:
                        if path.suffix == ".parquet":
                            pq.read_table(path, partitioning=None)
                        elif path.suffix == ".json":
                            json.loads(path.read_text())
                        elif path.is_file():
                            self.damaged.append(f"{path}: no reader knows what this is")
                        self.opened += path.is_file()
                    except (OSError, ValueError) as error:
                        self.damaged.append(f"{path}: {error}")
