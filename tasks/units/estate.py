"""What a killed process leaves behind at Prefect's server: leases that nobody renews and nobody gives back.

They would come back by themselves after `TTL_S` and the server's next look. Whoever goes on with the same
work on the same machine holds its lock, and so knows that the former process is dead: it frees them at once.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from domain.errors import ServerAway
from tasks.units.limits import Grant, Limits


class Estate:
    """A file that names the leases of the process at work. To be used by whoever holds the work's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: frozenset[UUID] = frozenset()

    async def settle(self, limits: Limits) -> None:
        """Free what a dead process held. No error is raised: what is not freed now lapses by itself."""
        for lease_id in self._left():
            grant = Grant(lease_id, ())
            # Only a lease that was just renewed is given back: of one that is about to lapse the server
            # might count the slots twice.
            with contextlib.suppress(ServerAway):
                if await limits.renew(grant):
                    await limits.release(grant)
        self.note(())

    def note(self, leases: Iterable[UUID]) -> None:
        """These are ours from now on. A full disk loses nothing: the leases lapse by themselves."""
        held = frozenset(leases)
        if held == self._noted and self._path.exists() == bool(held):
            return
        self._noted = held
        with contextlib.suppress(OSError):
            if not held:
                self._path.unlink(missing_ok=True)
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(f".{os.getpid()}.part")
            beside.write_text(json.dumps(sorted(map(str, held))), encoding="utf-8")
            beside.replace(self._path)

    def _left(self) -> list[UUID]:
        try:
            return [UUID(each) for each in json.loads(self._path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError, AttributeError):
            return []
