"""The `facesweep` command; also `python -m flows`."""

import argparse
import asyncio
import importlib.metadata
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from domain.errors import Denied, FacesweepError, HomeBusy, Stopped, StoreDenied, UsageError
from domain.runs import RUN_ID
from domain.verdicts import Outcome
from flows import commands

DONE, FAILED_LEFT, WRONG_USE, DENIED, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit statuses of the contract; 4, stopped by the budget, comes with budgets."""

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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with the contract's status."""
    options = _parser().parse_args(arguments)
    sys.exit(run(options))


def run(options: argparse.Namespace) -> int:  # noqa: PLR0911 - one for each status of the contract
    """The exit status of one command; errors for people go to stderr as one sentence."""
    try:
        return int(asyncio.run(options.command(options)))
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        sys.stderr.close()
        return DONE
    except (KeyboardInterrupt, asyncio.CancelledError, Stopped) as stop:
        return _said(options, stop, INTERRUPTED, str(stop) or "interrupted")
    except (Denied, StoreDenied) as denied:
        return _said(options, denied, DENIED, f"{denied}: the run is stopped, its questions stay pending")
    except (UsageError, HomeBusy) as error:
        return _said(options, error, WRONG_USE, str(error))
    except FacesweepError as error:
        return _said(options, error, FAILED_LEFT, str(error))
    except Exception as error:
        sentence = f"unexpected {type(error).__name__}: {error}; --debug shows where"
        return _said(options, error, FAILED_LEFT, sentence)


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
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def verb(name: str, command: object, does: str, example: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            parents=[shared],
            help=does,
            description=does[0].upper() + does[1:] + ".",
            epilog=f"example: {example}\n\n{EXAMPLE_SPEC if 'kyc.toml' in example else ''}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command)
        return added

    demo = verb("demo", commands.demo, "audit the sample media with emulated providers", "facesweep demo")
    demo.add_argument(
        "--home", type=Path, default=Path("demo"), metavar="DIR", help="where it lies (default: demo)"
    )

    plan = verb("plan", commands.plan, "list and plan, asking nobody", "facesweep plan kyc.toml --limit 1000")
    _add_spec(plan)
    _add_limit(plan)

    audit = verb(
        "audit", commands.audit, "plan an audit, show the plan, run it", "facesweep audit kyc.toml --yes"
    )
    _add_spec(audit)
    _add_limit(audit)
    audit.add_argument(
        "--run-id", type=_run_id, help="the run's id (default: the time and some random digits)"
    )
    _add_yes(audit)

    resume = verb(
        "resume", commands.resume, "go on with an unfinished run", "facesweep resume audits/kyc-nightly"
    )
    _add_home(resume)
    resume.add_argument("--run-id", type=_run_id, help="which run (default: the newest unfinished one)")

    retry = verb(
        "retry",
        commands.retry,
        "ask again, in a new run, what ended in failed or unreadable",
        "facesweep retry audits/kyc-nightly --outcome failed,unreadable",
    )
    _add_home(retry)
    retry.add_argument("--run-id", type=_run_id, help="which run (default: the newest)")
    retry.add_argument(
        "--outcome",
        type=_outcomes,
        default=[Outcome.FAILED, Outcome.UNREADABLE],
        metavar="OUTCOME,…",
        help="failed, unreadable or both (default: both)",
    )
    _add_yes(retry)

    abandon = verb(
        "abandon",
        commands.abandon,
        "give up an unfinished run, publishing what it settled",
        "facesweep abandon audits/kyc-nightly --run-id 20261120T180712Z-3f9a",
    )
    _add_home(abandon)
    abandon.add_argument("--run-id", type=_run_id, required=True, help="which run")

    status = verb("status", commands.status, "the books of each run", "facesweep status audits/kyc-nightly")
    _add_home(status)
    status.add_argument("--json", action="store_true", help="run records as JSON")

    report = verb("report", commands.report, "what a run found", "facesweep report audits/kyc-nightly")
    _add_home(report)
    report.add_argument("--run-id", type=_run_id, help="which run (default: the newest)")

    verdicts = verb(
        "verdicts",
        commands.verdicts,
        "query the verdicts with SQL (DuckDB; view `verdicts`)",
        "facesweep verdicts audits/kyc-nightly --sql \"SELECT url, tags FROM verdicts WHERE risk = 'high'\"",
    )
    _add_home(verdicts)
    verdicts.add_argument("--sql", required=True, help="one SELECT")
    verdicts.add_argument("--run-id", type=_run_id, help="of this run only (default: all)")
    verdicts.add_argument(
        "--format", choices=["table", "csv", "json", "parquet"], help="default: table on a terminal, else csv"
    )
    verdicts.add_argument(
        "--output", type=Path, metavar="FILE", help="write there instead of to the terminal"
    )

    doctor = verb(
        "doctor",
        commands.doctor,
        "check keys, clock, bucket and home without a billed call",
        "facesweep doctor kyc.toml",
    )
    _add_spec(doctor)
    return parser


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, metavar="SPEC", help="the audit's spec file (TOML)")


def _add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("home", metavar="HOME", help="the audit's home: a folder, s3://… or oss://…")
    parser.add_argument(
        "--home-endpoint-url", metavar="URL", help="of the home's store, where it is not the usual one"
    )
    parser.add_argument("--home-region", metavar="REGION", help="of the home's bucket")


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=_count, metavar="N", help="ask about N objects at most, chosen at random"
    )


def _add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count of at least 1")
    return int(text)


def _run_id(text: str) -> str:
    if not RUN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a run id: letters, digits, '.', '_' and '-', 64 at most"
        )
    return text


def _outcomes(text: str) -> list[Outcome]:
    open_outcomes = [each for each in Outcome if not each.is_final]
    named = [each.strip() for each in text.split(",")]
    if not set(named) <= set(open_outcomes):
        raise argparse.ArgumentTypeError(f"{text!r}: only {' and '.join(open_outcomes)} can be asked again")
    return [Outcome(each) for each in named]


if __name__ == "__main__":
    main()
