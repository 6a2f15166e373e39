"""Putting audits on a Prefect server."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse
from pathlib import Path

from flows.consoles import OUT
from flows.options import Verbs


def register(verbs: Verbs) -> None:
    """Make this command known."""
    deploy_ = verbs.add(
        "deploy",
        deploy,
        "put audits, backfills and reports on the configured Prefect server; again changes nothing",
        "facesweep deploy kyc.toml --notify slack-webhook/ops",
    )
    deploy_.add_argument(
        "specs", nargs="*", type=Path, metavar="SPEC", help="spec files, where the workers find them too"
    )
    deploy_.add_argument(
        "--notify",
        metavar="BLOCK|URL",
        help="who is told of failed and stuck runs: a block of Prefect as type/name, or a webhook's url; "
        "`none`: nobody (default: as before, at first nobody)",
    )
    deploy_.add_argument("--dry-run", action="store_true", help="say what would be changed; change nothing")


async def deploy(options: argparse.Namespace) -> int:
    """Work pools, queues, the lanes' limits, deployments and automations are on the server as wanted."""
    from tasks.units.opening import quiet_prefect, read_spec

    quiet_prefect()
    from flows.deploying.put import put_everything
    from flows.deploying.server import configured_server
    from flows.deploying.wanted import SpecFile, read_wanted

    specs = [(path.resolve(), read_spec(path)) for path in options.specs]
    wanted = read_wanted([SpecFile(path, spec.audit.name) for path, spec in specs])
    changed = 0
    async with configured_server() as client:
        everything = put_everything(
            client, wanted, [spec for _, spec in specs], options.notify, dry_run=options.dry_run
        )
        async for change in everything:
            changed += change.done.is_change
            done = f"would be {change.done}" if options.dry_run and change.done.is_change else change.done
            detail = f" ({change.detail})" if change.detail else ""
            OUT.print(
                f"{change.kind} {change.name}: {done}{detail}", highlight=False, markup=False, soft_wrap=True
            )
    counted = "1 thing" if changed == 1 else f"{changed} things"
    OUT.print(
        (f"{counted} would change" if options.dry_run else f"{counted} changed")
        if changed
        else "nothing to change",
        highlight=False,
    )
    return 0
