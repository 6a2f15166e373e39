"""A small OSS in memory: buckets and objects behind OSS's own signatures and XML.

    python -m emulators.oss --port 0        prints one line of JSON with the port

Speaks PUT, GET, HEAD and DELETE of objects and buckets and both listings, path style
(`/bucket/key`) and virtual host style (`bucket.<domain>`). What OSS has beyond that is refused with
NotImplemented, never ignored. Made for tests: `/_emulator/` scripts faults and moves the clock.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from emulators.oss_server import DEFAULT_ACCOUNT, OssServer
from emulators.oss_signature import Account

DEFAULT_REGION = "cn-shanghai"
DEFAULT_DOMAIN = "oss.localhost"


async def start_oss(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    accounts: Sequence[Account] = (DEFAULT_ACCOUNT,),
    region: str = DEFAULT_REGION,
    domain: str = DEFAULT_DOMAIN,
    root: Path | None = None,
) -> tuple[web.ServerRunner, int]:
    """A running server and the port it listens on; `await runner.cleanup()` ends it.

    Args:   port: 0 takes a free one.  root: each of its folders becomes a bucket, each file below
            an object; without it the server starts with no buckets.
    """
    oss = OssServer(accounts, region, domain)
    if root is not None:
        oss.load(root)
    runner = web.ServerRunner(web.Server(oss.handle))
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, runner.addresses[0][1]


class Oss:
    """The server as a service of `python -m emulators`: a name, a start and a stop."""

    name = "oss"

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._runner: web.ServerRunner | None = None

    async def start(self, port: int) -> str:
        """Listen on 127.0.0.1; returns the url. Raises OSError: the port is taken."""
        self._runner, port = await start_oss(port=port, root=self._root)
        return f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()


async def _serve(options: argparse.Namespace) -> None:
    runner, port = await start_oss(
        options.host,
        options.port,
        accounts=options.account or (DEFAULT_ACCOUNT,),
        region=options.region,
        domain=options.domain,
        root=options.root,
    )
    sys.stdout.write(json.dumps({"oss": f"http://{options.host}:{port}", "port": port}) + "\n")
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _account(text: str) -> Account:
    key_id, _, rest = text.partition(":")
    secret, _, token = rest.partition(":")
    if not key_id or not secret:
        raise argparse.ArgumentTypeError("an account is id:secret or id:secret:token")
    return Account(key_id, secret, token or None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m emulators.oss", description="An emulated OSS.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--region", default=DEFAULT_REGION, help="what version 4 must sign for")
    parser.add_argument("--domain", default=DEFAULT_DOMAIN, help="buckets are hosts below it")
    parser.add_argument("--account", type=_account, action="append", help="id:secret[:token]")
    content = parser.add_mutually_exclusive_group()
    content.add_argument("--root", type=Path, help="each folder in it becomes a bucket")
    content.add_argument("--root-less", action="store_true", help="start empty (the default)")
    try:
        asyncio.run(_serve(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
