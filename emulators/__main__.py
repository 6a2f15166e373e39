"""The emulated services as one process: `python -m emulators`.

Each service is an object with `name`, `async start(port) -> url` and `async stop()`; another one joins
as one more option and one more pair in `composed`.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import Protocol

from emulators.accounts import ALIYUN_KEYS, TENCENT_KEYS
from emulators.aliyun import Aliyun
from emulators.oss import Oss
from emulators.service import Settings
from emulators.tencent import Tencent

_EXAMPLE = """\
example:
  python -m emulators --tencent-port 0 --aliyun-port 0 --qps 50 --latency-ms 150-800
prints one line for each service once it listens, such as
  tencent http://127.0.0.1:43121
Control endpoints are under /_emulator/ on the same port: health, calls, summary, under_way,
script, settings, accounts, reset. Keys: see emulators/accounts.py; for the OSS, emulators/oss_server.py.
Ends on SIGTERM or Ctrl-C.
"""


class Emulated(Protocol):
    """What this process needs of a service."""

    name: str

    async def start(self, port: int) -> str: ...
    async def stop(self) -> None: ...


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(
        prog="python -m emulators",
        description="Local Tencent and Aliyun detection services, and an OSS: on 127.0.0.1 only.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_argument("--tencent-port", type=int, default=8801, help="0: a free one (default 8801)")
    cli.add_argument("--aliyun-port", type=int, default=8802, help="0: a free one (default 8802)")
    cli.add_argument("--qps", type=int, help="calls a second of both services; 0: no limit")
    cli.add_argument("--tencent-qps", type=int, default=5, help="default 5, as documented")
    cli.add_argument("--aliyun-qps", type=int, default=10, help="default 10, as documented")
    cli.add_argument(
        "--window",
        choices=("fixed", "sliding"),
        default="fixed",
        help="how a second is counted: by the calendar (default, as Tencent documents) or any second",
    )
    cli.add_argument(
        "--latency-ms",
        default="20",
        help="time of an examined call: 20 (default), or 150-800 for a lognormal spread whose 5th "
        "and 95th percentiles these are",
    )
    cli.add_argument("--oss-port", type=int, help="also run an OSS here; 0: a free one")
    cli.add_argument("--oss-root", type=Path, help="a folder whose folders are the OSS's buckets")
    cli.add_argument("--seed", type=int, default=0, help="of the latencies (default 0)")
    return cli


def composed(options: argparse.Namespace) -> list[tuple[Emulated, int]]:
    """The services these options ask for, each with its port. Raises ValueError."""

    def settings(qps: int) -> Settings:
        asked = qps if options.qps is None else options.qps
        return Settings(asked, options.window, options.latency_ms)

    services: list[tuple[Emulated, int]] = [
        (Tencent(settings(options.tencent_qps), TENCENT_KEYS, options.seed), options.tencent_port),
        (Aliyun(settings(options.aliyun_qps), ALIYUN_KEYS, options.seed), options.aliyun_port),
    ]
    if options.oss_port is not None:
        services.append((Oss(options.oss_root), options.oss_port))
    return services


async def serve(services: list[tuple[Emulated, int]]) -> None:
    """Run until SIGTERM or SIGINT. Raises OSError: a port is taken."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    started: list[Emulated] = []
    try:
        for service, port in services:
            url = await service.start(port)
            started.append(service)
            sys.stdout.write(f"{service.name} {url}\n")
            sys.stdout.flush()
        await ended.wait()
    finally:
        for service in started:
            await service.stop()


def main() -> int:
    """Exit status: 0 ended by a signal, 2 wrong options or a port that is taken."""
    cli = parser()
    options = cli.parse_args()
    try:
        services = composed(options)
    except ValueError as error:
        cli.error(str(error))
    try:
        asyncio.run(serve(services))
    except OSError as error:
        sys.stderr.write(f"cannot listen: {error.strerror}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
