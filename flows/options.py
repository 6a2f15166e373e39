"""The options that commands share, and how a command is made known."""

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from domain.runs import RUN_ID

if TYPE_CHECKING:
    from tasks.units.opening import Home

Command = Callable[[argparse.Namespace], Awaitable[int]]

MOST = 10**15
"""Of what is counted: more objects than any store holds, more calls than anybody pays for."""

EXAMPLE_SPEC = """\
an example spec, kyc.toml:

  [audit]
  name = "kyc-nightly"

  [source]
  url = "s3://kyc-archive/selfies/"      # or oss://bucket/prefix, or a folder

  [providers.tencent]
  qps = 5

  [providers.aliyun]
  qps = 10
"""


class Verbs:
    """The commands of a command line; each gets the options that all of them have."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
        self._shared = argparse.ArgumentParser(add_help=False)
        self._shared.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def add(self, name: str, command: Command, does: str, example: str) -> argparse.ArgumentParser:
        """A command, what it does in half a sentence, and one line that calls it."""
        added = self._verbs.add_parser(
            name,
            parents=[self._shared],
            help=does,
            description=does[0].upper() + does[1:] + ".",
            epilog=f"example: {example}\n\n{EXAMPLE_SPEC if 'kyc.toml' in example else ''}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command)
        return added


def add_spec(parser: argparse.ArgumentParser) -> None:
    """The spec file a command takes."""
    parser.add_argument("spec", type=Path, metavar="SPEC", help="the audit's spec file (TOML)")


def add_home(parser: argparse.ArgumentParser, metavar: str = "HOME", also: str = "") -> None:
    """The home a command takes; `home_of` opens it. `also`: what may stand there instead."""
    parser.add_argument("home", metavar=metavar, help=f"the audit's home: a folder, s3://… or oss://…{also}")
    parser.add_argument(
        "--home-endpoint-url", metavar="URL", help="of the home's store, where it is not the usual one"
    )
    parser.add_argument("--home-region", metavar="REGION", help="of the home's bucket")


def home_of(options: argparse.Namespace) -> "Home":
    """The home that `add_home`'s options name.

    Raises:
        UsageError: it cannot be opened.
    """
    from tasks.units.opening import open_home  # noqa: PLC0415 - a command pays for its own imports only

    return open_home(options.home, options.home_endpoint_url, options.home_region)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Consent beforehand."""
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Figures for Prometheus while the command works."""
    parser.add_argument(
        "--metrics-port",
        metavar="[HOST:]PORT",
        help="serve figures for Prometheus there, or at the next free port (default: off; 0: any free port)",
    )


def add_run_id(parser: argparse.ArgumentParser, which: str = "which run (default: the newest)") -> None:
    """One run among a home's."""
    parser.add_argument("--run-id", type=run_id, help=which)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where rows go, and in which form."""
    parser.add_argument(
        "--format", choices=["table", "csv", "json", "parquet"], help="default: table on a terminal, else csv"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to the terminal")


def count(text: str) -> int:
    """A number of at least 1, as an option's type."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:20]) <= MOST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a count of at least 1 and at most {MOST:,}")
    return int(text)


def run_id(text: str) -> str:
    """A run's id, as an option's type."""
    if not RUN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a run id: letters, digits, '.', '_' and '-', 64 at most"
        )
    return text
