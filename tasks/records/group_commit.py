"""Many callers, one commit: a thread that gathers what arrives within a window and writes it at once."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from domain.errors import FacesweepError
from tasks.records.ledger import Ledger


class JournalFailed(FacesweepError):
    """The journal cannot be written or read any more: the run must stop before another paid call."""


class GroupCommit:
    """Steps put in by coroutines of one event loop are carried out by one thread, in order.

    A step's future is done when the step is on disk; those of one commit are resolved by one call
    into the loop. After the first error of the disk every waiting future has `JournalFailed`, and
    every later `put` raises it at once. The queue holds at most one step for each waiting caller.
    """

    def __init__(
        self,
        ledger: Ledger,
        window_s: float,
        batch: int,
        on_done: Callable[[bytes], None],
        on_failure: Callable[[JournalFailed], None],
    ) -> None:
        self._ledger, self._window_s, self._batch = ledger, window_s, batch
        self._on_done, self._on_failure = on_done, on_failure
        self._loop = asyncio.get_running_loop()
        self._gate = threading.Condition()
        self._inbox: list[tuple[Callable[[Ledger], object], asyncio.Future[Any], bytes | None]] = []
        self._closing = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._thread.start()

    def put(self, step: Callable[[Ledger], object], question: bytes | None = None) -> "asyncio.Future[Any]":
        """The future of the step's result; `question` is handed to `on_done` once it is on disk.

        Raises:
            JournalFailed: an earlier commit failed, or the journal is closed.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        with self._gate:
            self._check()
            if self._closing:
                raise JournalFailed(f"the journal {self._ledger.path} is closed")
            self._inbox.append((step, future, question))
            # The writer has to look up twice: when there is work, and when a batch is full.
            if len(self._inbox) in (1, self._batch):
                self._gate.notify()
        return future

    def check(self) -> None:
        """Raises JournalFailed once a commit has failed."""
        with self._gate:
            self._check()

    def close(self) -> None:
        """What is queued is written, then the thread ends. Blocks; safe from any thread."""
        with self._gate:
            self._closing = True
            self._gate.notify()
        self._thread.join()

    def _check(self) -> None:
        if self._failure is not None:
            raise JournalFailed(self._failure)

    def _write(self) -> None:
        while entries := self._gather():
            try:
                results = self._ledger.commit([step for step, _, _ in entries])
            except Exception as error:  # whatever it is, nobody may be left waiting
                self._fail(entries, error)
                return
            self._call_loop(self._resolve, entries, results)

    def _gather(self) -> list[Any]:
        with self._gate:
            while not self._inbox and not self._closing:
                self._gate.wait()
            deadline = time.monotonic() + self._window_s
            while self._inbox and len(self._inbox) < self._batch and not self._closing:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._gate.wait(left)
            entries, self._inbox = self._inbox, []
            return entries

    def _fail(self, entries: list[Any], error: Exception) -> None:
        sentence = f"the journal {self._ledger.path} cannot be written: {error}"
        with self._gate:
            self._failure = sentence
            entries = entries + self._inbox
            self._inbox = []
        self._call_loop(self._reject, entries, sentence)

    def _call_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        # A loop that is gone has taken everybody who waited with it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _resolve(self, entries: list[Any], results: list[object]) -> None:
        for (_, future, question), result in zip(entries, results, strict=True):
            if question is not None:
                self._on_done(question)
            if future.done():  # its caller was cancelled
                continue
            if isinstance(result, FacesweepError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _reject(self, entries: list[Any], sentence: str) -> None:
        for _, future, _ in entries:
            if not future.done():
                future.set_exception(JournalFailed(sentence))
        self._on_failure(JournalFailed(sentence))
