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
"""How long a trip waits for a worker that hashes. Objects are made ready a second ahead of the lane: whoever
gives up by then does not come late, so hashing costs no call of the cap. The column stays empty then."""


@dataclass(slots=True)
class Looking:
    """What a spec's `[signals]` asks for. Belongs to one event loop."""

    perceptual_hash: bool = False
    verify_c2pa: bool = False
    skip_labelled: bool = False
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))  # who hashes at a time

    def at(self, content: bytes) -> Signals:
        """What the object's bytes say, by themselves. Bounded in time; never raises for any bytes."""
        form = _form_of(content)
        return Signals() if form is None else replace(read_signals(content, form), signals_from=SeenIn.OBJECT)

    def at_parts(self, seen: Glimpse) -> Signals:
        """What those parts of an object say that were read to send it by url."""
        found = read_signals(seen.head, seen.form, seen.index)
        return replace(found, signals_from=SeenIn.PARTS)

    async def closely(self, content: bytes, signals: Signals, workers: MediaWorkers) -> Signals:
        """What takes a worker: whether a manifest is valid, and the picture's hash. Never raises `Unfit`."""
        form = _form_of(content)
        if form is None:
            return signals
        if self.verify_c2pa and signals.c2pa is not None and has_manifest(content, form):
            try:
                state = await workers.run(verify_manifest, content, form)
            except Unfit:  # it is too much for the library: there is one, and that is all that is known
                state = None
            signals = replace(signals, c2pa=state or signals.c2pa)
        if self.perceptual_hash and form.kind is MediaKind.IMAGE:
            signals = await self._hashed(content, form, signals, workers)
        return signals

    async def _hashed(self, content: bytes, form: Format, signals: Signals, workers: MediaWorkers) -> Signals:
        try:
            async with asyncio.timeout(HASH_PATIENCE_S):
                await self.hashing.acquire()
        except TimeoutError:
            return signals
        try:
            found, quality = await workers.run(hash_picture, content, form)
        except Unfit:
            return signals
        finally:
            self.hashing.release()
        return replace(signals, perceptual_hash=found, perceptual_quality=quality)


def _form_of(content: bytes) -> Format | None:
    try:
        return sniff(content)
    except Unfit:
        return None
