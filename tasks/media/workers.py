"""Workers: child processes that decode foreign bytes, niced, bounded in time and memory, and killable.

Decoding 12 MP takes 25 to 150 ms, and decoding hostile bytes may take for ever, all of memory, or the whole
process down. In the process that keeps the pace this would cost the account's cap: two decoding threads
spread the arrival of calls by 22 ms (p99) where an idle loop has 2 ms.

Why not a ready-made pool: `concurrent.futures` cannot end a job that hangs. `anyio.to_process` can, but it
imports the main module into each child (here the whole of Prefect), hands it the parent's environment
with the credentials in it, lets Ctrl-C reach it, and leaves a warning on stderr when the event loop closes.
"""

import asyncio
import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple, cast

from domain.errors import FacesweepError, Unfit
from tasks.media import decoder

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")

_REPLY_BUFFER_BYTES = 1024**2  # most prepared images in one piece; asyncio's 64 KiB stops and starts
_GRACE_S = 5.0  # a child outlives the parent's patience by this much, and only when the parent is gone
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from tasks.media.decoder import serve; serve()"
)


class _Died(Exception):
    """The child went away before it answered."""


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None and not self.reader.at_eof()

    async def ask(self, request: bytes) -> tuple[object, Exception | None]:
        """The child's answer: a result, or the error in its place."""
        try:
            self.writer.write(len(request).to_bytes(decoder.LENGTH_BYTES))
            self.writer.write(request)
            await self.writer.drain()
            length = int.from_bytes(await self.reader.readexactly(decoder.LENGTH_BYTES))
            reply = await self.reader.readexactly(length)
        except (OSError, EOFError) as error:
            raise _Died from error
        answer: tuple[object, Exception | None] = pickle.loads(reply)  # noqa: S301 -- our child
        return answer

    def end(self) -> None:
        self.writer.close()
        self.process.kill()
        self.process.wait()


class MediaWorkers:
    """Runs jobs in child processes, at most `processes` at a time. Belongs to one event loop.

    Children start with the first jobs, are used again and again, and end with the `async with` block. When
    the parent is killed they read the end of their input and leave; one that is busy is ended by its alarm.

    Args:
        processes: jobs at a time; one less than the CPUs this process may use, and at least one, so that a
            core is left to the event loop.
        timeout_s: wall time of one job, the start of a child included, waiting for a free one not.
        environment: all the environment the children get: nothing that a hostile file should find.
        memory_bytes: address space a job may take beyond what its child needs for itself.
    """

    def __init__(
        self,
        processes: int | None = None,
        timeout_s: float = 60.0,
        memory_bytes: int = 2 * 1024**3,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = dict(environment or {})
        self.processes = processes or max(1, _cpus() - 1)
        self.timeout_s = timeout_s
        self.memory_bytes = memory_bytes
        self._slots = asyncio.Semaphore(self.processes)
        self._idle: list[_Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the children. Jobs still running are the caller's to cancel first."""
        while self._idle:
            child = self._idle.pop()
            child.end()
            with contextlib.suppress(OSError):
                await child.writer.wait_closed()

    async def run(self, job: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """What `job(*args)` returns; job, arguments, result and errors travel by pickle.

        A child that dies is replaced and the job tried once more: the kernel may have chosen it when memory
        ran short elsewhere, and an unfit object is never asked about again.

        Raises:
            Unfit: too_slow, out_of_memory, crashed_decoder, or what the job raised.
            FacesweepError: this machine cannot start children at all.
        """
        async with self._slots:
            for _ in range(2):
                with contextlib.suppress(_Died):
                    return await self._attempt(job, *args)
            try:
                await self._attempt(decoder.answer)
            except _Died:
                raise FacesweepError("the child processes that decode media do not start") from None
        raise Unfit("crashed_decoder", "the decoder died of this file, twice")

    async def _attempt(self, job: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        alarm_s = self.timeout_s + _GRACE_S
        request = pickle.dumps((self.memory_bytes, alarm_s, job, args), pickle.HIGHEST_PROTOCOL)
        child = None
        try:
            async with asyncio.timeout(self.timeout_s):
                child = self._take() or await self._start()
                result, error = await child.ask(request)
        except TimeoutError:
            _end(child)
            raise Unfit("too_slow", f"decoding took longer than {self.timeout_s:g} s") from None
        except BaseException:
            # Died, or its caller was cancelled: a child still busy with this job must not meet the next
            _end(child)
            raise
        self._idle.append(child)
        if error is not None:
            raise error
        return cast("_Result", result)

    def _take(self) -> _Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            child.end()  # what killed it while it was idle is no object's fault
        return None

    async def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603, ASYNC220 -- ourselves; returns in milliseconds
                    [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # C libraries write past sys.stderr
                    env=self._environment,
                    process_group=0,  # Ctrl-C is for the parent, who decides about its children
                )
            except OSError as error:
                ours.close()
                raise FacesweepError(f"no child process to decode media: {error.strerror}") from error
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=_REPLY_BUFFER_BYTES)
        except BaseException:
            ours.close()
            process.kill()
            process.wait()
            raise
        return _Child(process, reader, writer)


def _end(child: _Child | None) -> None:
    if child is not None:
        child.end()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
