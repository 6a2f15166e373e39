"""`python -m tests.chaos --kills 200 --seed N`: exit status 1 if any promise was broken."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

from tests.chaos.backfills import besieged
from tests.chaos.campaign import Plan, campaign, table
from tests.flows.prefect_server import shared_server


def say(stream: TextIO, *lines: str) -> None:
    stream.write("\n".join((*lines, "")))
    stream.flush()


def main() -> int:
    cli = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill runs; see what is left.")
    cli.add_argument("--kills", type=int, default=200)
    cli.add_argument("--seed", type=int, default=int(time.time()))
    cli.add_argument("--commands", type=int, help="kills of the whole command (default: one in ten)")
    cli.add_argument("--backfills", type=int, default=1, help="backfills under fire (some ten minutes each)")
    options = cli.parse_args()
    commands = options.kills // 10 if options.commands is None else options.commands
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        with shared_server(folder / "server") as prefect_url:
            result = campaign(
                folder,
                Plan(options.kills, options.seed, commands),
                prefect_url,
                tell=lambda line: say(sys.stderr, line),
            )
            sieges = [
                besieged(folder / f"siege-{seed}", prefect_url, seed, lambda line: say(sys.stderr, line))
                for seed in range(options.seed, options.seed + options.backfills)
            ]
    broken = [*result.account.broken, *(sentence for siege in sieges for sentence in siege.broken)]
    say(
        sys.stdout,
        table(result),
        *(str(siege) for siege in sieges),
        *(f"broken: {sentence}" for sentence in broken),
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
