"""Tables: what a benchmark prints, and keeps in `results/` with date, machine and command."""

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Page:
    """One benchmark's page, printed as it grows."""

    name: str
    title: str
    _lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.say(f"# {self.title}")
        self.say(
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{self.command}`, {machine()}, "
            f"load {os.getloadavg()[0]:.1f} at the start (this benchmark's own not included)."
        )

    @property
    def command(self) -> str:
        """What was typed."""
        return " ".join(("python -m", f"benchmarks.{self.name}", *sys.argv[1:]))

    def say(self, text: str) -> None:
        """A paragraph."""
        self._lines += [text, ""]
        print(text, end="\n\n", flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of markdown."""
        lines = [columns, ["---"] * len(columns), *rows]
        self.say("\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines))

    def keep(self) -> None:
        """Write the page to `results/`."""
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.md").write_text("\n".join(self._lines), encoding="utf-8")


def machine() -> str:
    """Processor, cores and Python; nothing that names the machine."""
    cpus = len(os.sched_getaffinity(0))
    return f"{cpus} cores of {_processor()}, Python {platform.python_version()}, {platform.system()}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`median [least-most]`, or the one value."""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
