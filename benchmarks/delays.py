"""A line that takes its time: passes what it is sent on to a local port, each piece some milliseconds later.

python -m benchmarks.delays --to 9000 --ms 50        prints the port it listens on
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.processes import ROOT


@contextmanager
def delayed(port: int, delay_ms: int) -> Iterator[int]:
    """The port of such a line, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.delays", "--to", str(port), "--ms", str(delay_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def _serve(port: int, delay_s: float) -> None:
    async def connected(near: asyncio.StreamReader, near_end: asyncio.StreamWriter) -> None:
        far, far_end = await asyncio.open_connection("127.0.0.1", port)

        async def asks() -> None:
            while piece := await near.read(65536):
                await asyncio.sleep(delay_s)  # a request of a listing is one piece
                far_end.write(piece)
            far_end.close()

        async def answers() -> None:
            while piece := await far.read(65536):
                near_end.write(piece)
                await near_end.drain()
            near_end.close()

        with suppress(OSError):
            await asyncio.gather(asks(), answers())

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delays")
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--ms", type=int, required=True)
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.to, options.ms / 1000))


if __name__ == "__main__":
    main()
