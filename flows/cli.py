"""The `facesweep` command; also `python -m flows`."""

import argparse
import asyncio
import importlib.metadata
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from domain.errors import (
    BudgetSpent,
    Denied,
    FacesweepError,
    HomeBusy,
    Stopped,
    StoreDenied,
    Tripped,
    UsageError,
)
from flows.commands import audits, backfills, books, checks, demo, deploy, upkeep
from flows.options import Verbs

DONE, FAILED_LEFT, WRONG_USE, DENIED, OUT_OF_BUDGET, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""The exit statuses of the contract."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with the contract's status."""
    _speak_of_any_name()
    options = _parser().parse_args(arguments)
    sys.exit(run(options))


def _speak_of_any_name() -> None:
    """Names of files are UTF-8 whatever the locale says; what a terminal cannot show is no error."""
    if sys.getfilesystemencoding() != "utf-8":  # settled before any code runs: begin again
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr always is


def run(options: argparse.Namespace) -> int:  # noqa: PLR0911 - one for each status of the contract
    """The exit status of one command; errors for people go to stderr as one sentence."""
    try:
        status = int(asyncio.run(options.command(options)))
        sys.stdout.flush()  # while a reader that has gone can still be noticed
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        _write_no_more()
        return DONE
    except (KeyboardInterrupt, asyncio.CancelledError, Stopped) as stop:
        return _said(options, stop, INTERRUPTED, str(stop) or "interrupted")
    except (Denied, StoreDenied) as denied:
        return _said(options, denied, DENIED, f"{denied}: the run is stopped, its questions stay pending")
    except BudgetSpent as spent:
        return _said(options, spent, OUT_OF_BUDGET, str(spent))
    except Tripped as tripped:
        sentence = (
            f"{tripped}: the run is stopped; mend the cause, then `facesweep resume HOME` goes on and "
            "`facesweep retry HOME` asks again what failed"
        )
        return _said(options, tripped, FAILED_LEFT, sentence)
    except (UsageError, HomeBusy) as error:
        return _said(options, error, WRONG_USE, str(error))
    except FacesweepError as error:
        return _said(options, error, FAILED_LEFT, str(error))
    except Exception as error:
        sentence = f"unexpected {type(error).__name__}: {error}; --debug shows where"
        return _said(options, error, FAILED_LEFT, sentence)
    return status


def _write_no_more() -> None:
    """What is still to be printed goes nowhere; otherwise Python complains of it when it ends."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - no file of ours
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _said(options: argparse.Namespace, error: BaseException, status: int, sentence: str) -> int:
    if options.debug:
        traceback.print_exception(error)
    print(f"facesweep: {sentence}", file=sys.stderr)  # noqa: T201
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facesweep",
        description="Sweep buckets of face images and short videos for deepfakes.",
        epilog="first run, without any account: facesweep demo",
    )
    parser.add_argument(
        "--version", action="version", version=f"facesweep {importlib.metadata.version('facesweep')}"
    )
    verbs = Verbs(parser)
    for commands in (demo, audits, backfills, books, upkeep, checks, deploy):
        commands.register(verbs)
    return parser


if __name__ == "__main__":
    main()
