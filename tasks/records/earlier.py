"""Earlier answers: what a provider said of a content in the earlier runs of a home."""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from domain.objects import ObjectRef
from domain.verdicts import Provider, Verdict
from tasks.records.content_index import ContentIndex, Hash
from tasks.records.home import Home, HomeUnwritable
from tasks.records.part_numbers import ANY_NUMBER, PartNumbers
from tasks.records.parts_in_force import PartName, part_name, parts_in_force
from tasks.records.unpacked import Unpacked

_MD5 = re.compile("[0-9a-f]{32}")


def earlier_parts(home: Home, provider: Provider, run_id: str, own: PartNumbers = ANY_NUMBER) -> list[Path]:
    """The parts of the provider's verdicts in runs other than this one, on this machine.

    Of this run those are among them that have no number of its `own`: other shards published them.
    """
    home.refresh(f"verdicts/provider={provider}")
    named = [(name, part_name(name)) for name in parts_in_force(home)]
    return [
        home.path(name)
        for name, part in named
        if part is not None and part.provider == provider and not _is_own(part, run_id, own)
    ]


def _is_own(part: PartName, run_id: str, own: PartNumbers) -> bool:
    return part.run_id == run_id and (part.number is None or own.holds(part.number))


class EarlierAnswers:
    """What one provider said in the earlier runs, for whoever has the same bytes; an async context manager.

    Entering indexes the parts of the other runs, and those that other shards of this one have published so
    far: all but those of the run whose numbers are its `own`. What it makes lies in a staging folder of the
    home and hangs on nothing else than the parts: it goes when the block is left, or with the next staging
    of the home after a kill -9. Memory does not grow with the number of verdicts.

    Raises:
        PartDamaged: on entering: a part cannot be read.  HomeUnwritable: there is no room for the index.
    """

    def __init__(
        self,
        home: Home,
        provider: Provider,
        run_id: str,
        own: PartNumbers = ANY_NUMBER,
        *,
        by_etag: bool = False,
    ) -> None:
        """`by_etag`: objects may be looked up that are not to be fetched."""
        self._home, self._provider, self._run_id, self._own = home, provider, run_id, own
        self._kinds = (Hash.CONTENT, Hash.ETAG) if by_etag else (Hash.CONTENT,)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="earlier-answers")
        self._open = ExitStack()
        self._is_given_up = False

    async def __aenter__(self) -> Self:
        try:
            await asyncio.get_running_loop().run_in_executor(self._reading, self._start)
        except BaseException:
            self._is_given_up = True  # a thread cannot be cancelled: it looks here before each part
            self._reading.submit(self._open.close)
            self._reading.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(self._reading, self._open.close)
        self._reading.shutdown()

    async def answer_to(self, content: bytes) -> Verdict | None:
        """The provider's last answer about an object of these very bytes; None where it gave none.

        Raises:
            PartDamaged: the part that holds it cannot be read.  HomeUnwritable.
        """
        content_sha256 = await asyncio.to_thread(self._known, content)
        if content_sha256 is None:
            return None

        def is_same(verdict: Verdict) -> bool:
            return verdict.content_sha256 == content_sha256

        return await asyncio.get_running_loop().run_in_executor(
            self._reading, self._answer, Hash.CONTENT, content_sha256, is_same
        )

    async def alike(self, each: ObjectRef) -> Verdict | None:
        """The provider's last answer about an object of this size whose ETag is this MD5; None for others.

        It may be about other bytes: an MD5 can be forged. Whoever repeats it compares them first.

        Raises:
            As `answer_to`.
        """
        etag = (each.etag or "").lower()
        if Hash.ETAG not in self._kinds or not _MD5.fullmatch(etag):
            return None

        def is_alike(verdict: Verdict) -> bool:
            return (verdict.etag or "").lower() == etag and verdict.size_bytes == each.size_bytes

        return await asyncio.get_running_loop().run_in_executor(
            self._reading, self._answer, Hash.ETAG, etag, is_alike
        )

    def _start(self) -> None:
        try:
            self._folder = self._open.enter_context(self._home.staging())
            self._unpacked = Unpacked(self._folder)
            self._open.callback(self._unpacked.close)
            self._indexes = {kind: self._indexed(kind) for kind in self._kinds}
        except OSError as error:
            raise self._unwritable(error) from None

    def _indexed(self, kind: Hash) -> ContentIndex:
        """An index of the parts there are now."""
        while True:
            folder = Path(tempfile.mkdtemp(prefix="index-", dir=self._folder))
            parts = earlier_parts(self._home, self._provider, self._run_id, self._own)
            try:
                index = ContentIndex.build(parts, folder, self._go_on, kind)
            except FileNotFoundError:
                continue  # a part was merged into another one meanwhile
            self._open.callback(index.close)  # not before the end: somebody may be reading it
            return index

    def _known(self, content: bytes) -> str | None:
        """The content's hash where an answer may be had, else None."""
        content_sha256 = hashlib.sha256(content).hexdigest()
        return (
            content_sha256
            if any(True for _ in self._indexes[Hash.CONTENT].rows_about(content_sha256))
            else None
        )

    def _answer(self, kind: Hash, hex_hash: str, is_it: Callable[[Verdict], bool]) -> Verdict | None:
        try:
            try:
                return self._read(kind, hex_hash, is_it)
            except FileNotFoundError:  # the part was merged into another one since
                self._indexes[kind] = self._indexed(kind)
                return self._read(kind, hex_hash, is_it)
        except OSError as error:
            raise self._unwritable(error) from None

    def _read(self, kind: Hash, hex_hash: str, is_it: Callable[[Verdict], bool]) -> Verdict | None:
        for part, row in self._indexes[kind].rows_about(hex_hash):
            verdict = self._unpacked.verdict(part, row)
            if verdict.provider == self._provider and is_it(verdict):
                return verdict
        return None

    def _go_on(self, _: str) -> None:
        if self._is_given_up:
            raise _GivenUp

    def _unwritable(self, error: OSError) -> HomeUnwritable:
        return HomeUnwritable(f"{self._folder} cannot be written: {error.strerror or error}")


class _GivenUp(Exception):
    """Whoever wanted the index is gone."""
