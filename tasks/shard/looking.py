"""Looking: what is read of an object's own bytes on its trip, and how much of the machine that may take."""

import asyncio
from dataclasses import dataclass, field, replace

from domain.errors import Unfit
from domain.objects import MediaKind
from domain.signals import SeenIn, Signals
from tasks.media.glimpse import Glimpse
from tasks.media.pdq import hash_picture
from tasks.media.signals import has_manifest, read_signals, verify_manifest
from tasks.media.sniff import Format, sniff
from tasks.media.workers import MediaWorkers

HASH_PATIENCE_S = 0.3
"""How long a trip waits for its picture's hash before it goes on to the lane. Objects are made ready a second
ahead of it, so that the wait costs no call of the cap."""

MOST_HASHING = 16
"""Pictures that wait for a worker, at most."""


class Hashing:
    """A picture being hashed beside its trip; whoever has the answer takes what there is, and never waits."""

    def __init__(self, content: bytes, form: Format, workers: MediaWorkers, turns: asyncio.Semaphore) -> None:
        self._content: bytes | None = content
        self._form, self._workers, self._turns = form, workers, turns
        self.task = asyncio.create_task(self._hash())

    async def _hash(self) -> tuple[str, int] | None:
        async with self._turns:
            content, self._content = self._content, None
            if content is None:  # its trip is over, and so is who would have wanted to know
                return None
            try:
                return await self._workers.run(hash_picture, content, self._form)
            except Unfit:
                return None

    def taken(self, signals: Signals) -> Signals:
        """The signals with the hash, if there is one by now; one that has not begun never will."""
        self._content = None
        found = self.task.result() if self.task.done() and not self.task.cancelled() else None
        if found is None:
            return signals
        return replace(signals, perceptual_hash=found[0], perceptual_quality=found[1])


@dataclass(slots=True)
class Looking:
    """What a spec's `[signals]` asks for. Belongs to one event loop."""

    perceptual_hash: bool = False
    verify_c2pa: bool = False
    skip_labelled: bool = False
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))  # who hashes at a time
    _running: set[asyncio.Task[tuple[str, int] | None]] = field(default_factory=set)

    def at(self, content: bytes) -> Signals:
        """What the object's bytes say, by themselves. Bounded in time; never raises for any bytes."""
        form = _form_of(content)
        return Signals() if form is None else replace(read_signals(content, form), signals_from=SeenIn.OBJECT)

    def at_parts(self, seen: Glimpse) -> Signals:
        """What those parts of an object say that were read to send it by url."""
        found = read_signals(seen.head, seen.form, seen.index)
        return replace(found, signals_from=SeenIn.PARTS)

    async def verified(self, content: bytes, signals: Signals, workers: MediaWorkers) -> Signals:
        """The signals with what the library of C2PA makes of a manifest, where that is wanted."""
        form = _form_of(content) if self.verify_c2pa and signals.c2pa is not None else None
        if form is None or not has_manifest(content, form):
            return signals
        try:
            state = await workers.run(verify_manifest, content, form)
        except Unfit:  # it is too much for the library: there is one, and that is all that is known
            return signals
        return replace(signals, c2pa=state or signals.c2pa)

    async def hashing(self, content: bytes, workers: MediaWorkers, *, is_behind: bool) -> Hashing | None:
        """The picture's hash, begun and mostly done; None where none is wanted or there is no picture.

        None too where the lane `is_behind` its cap: what hashing takes could be taken from calls.
        """
        form = _form_of(content) if self.perceptual_hash else None
        if form is None or form.kind is not MediaKind.IMAGE or is_behind:
            return None
        if len(self._running) >= MOST_HASHING:
            return None
        begun = Hashing(content, form, workers, self.turns)
        self._running.add(begun.task)
        begun.task.add_done_callback(self._running.discard)
        await asyncio.wait({begun.task}, timeout=HASH_PATIENCE_S)
        return begun

    async def close(self) -> None:
        """End what is still hashing; to be done before the workers end."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _form_of(content: bytes) -> Format | None:
    try:
        return sniff(content)
    except Unfit:
        return None
