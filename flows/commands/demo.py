"""A first run without any account."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse
import sys
from pathlib import Path

from flows.commands.audits import run_audit
from flows.consoles import ERR, OUT
from flows.options import Verbs


def register(verbs: Verbs) -> None:
    """Make this command known."""
    demo_ = verbs.add("demo", demo, "audit the sample media with emulated providers", "facesweep demo")
    demo_.add_argument(
        "--home", type=Path, default=Path("demo"), metavar="DIR", help="where it lies (default: demo)"
    )


async def demo(options: argparse.Namespace) -> int:
    """Audit the sample with emulated providers, then say where it lies and what to try next."""
    from flows.demo import clear, emulated_spec

    folder: Path = options.home.resolve()
    clear(folder)
    ERR.print("Auditing data/sample with both providers emulated on this machine: no account, no network.")
    with emulated_spec(folder) as spec:
        status = await run_audit(spec, is_approved=True)
    home = _short(folder / "home")
    OUT.print(
        f"\nEverything lies in {home}: verdicts/ as Parquet, runs/ with the books. Next:", soft_wrap=True
    )
    command = _command_as_typed()
    OUT.print(f"  {command} status {home}", highlight=False, soft_wrap=True)
    query = "SELECT provider, outcome, risk, count(*) FROM verdicts GROUP BY ALL ORDER BY ALL"
    OUT.print(f'  {command} verdicts {home} --sql "{query}"', highlight=False, soft_wrap=True)
    return status


def _command_as_typed() -> str:
    """This command, such as `.venv/bin/facesweep`, as one would type it again."""
    script = Path(sys.argv[0])
    return _short(script.absolute()) if script.stem == "facesweep" else "facesweep"


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
