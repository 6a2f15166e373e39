"""One compaction per home: a lock on this machine and, for a home in a bucket, a claim that others see."""

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from domain.errors import HomeBusy
from tasks.records.home import Home
from tasks.records.lock import ProcessLock

CLAIM_LAPSES = timedelta(hours=2)
"""A claim that was not renewed for so long is a dead process's.

Longer than one upload, and far longer than two machines' clocks can differ: S3 and OSS refuse requests whose
time is more than 15 minutes from theirs.
"""

RENEW_EVERY = timedelta(minutes=1)

_PREFIX = "verdicts/_compacting-"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@contextlib.contextmanager
def compacting_alone(home: Home, now: Callable[[], datetime] = _utc_now) -> Iterator[Callable[[], None]]:
    """Nobody else compacts the home inside the block. Call what it gives now and then, and before what
    cannot be taken back: it renews the claim, and raises HomeBusy if another took it for a dead one's.

    A lock ends with its process. A bucket has no such lock: each machine's compaction puts down its claim
    and then looks for those of others. Of two that begin together at least one sees the other's, and gives
    way; perhaps both do. A process that stands still for hours and then goes on between looking and acting
    is not held back.

    Raises:
        HomeBusy: a living process compacts the home; names it.
        HomeUnwritable: this process may not.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ProcessLock(home.compaction_lock_path, f"a compaction of {home.root}"))
        except OSError as error:
            raise home.unwritable("verdicts", error) from None
        if not home.is_in_bucket:
            yield lambda: None
            return
        claim = _Claim(home, now)
        try:
            claim.stake()
            yield claim.renew
        finally:
            claim.give_up()


def _mirror_id(home: Home) -> str:
    """Random digits that are this mirror's for ever: a claim of that name is our own, or of a dead process.

    Call it with the lock held.
    """
    path = home.compaction_lock_path.with_suffix(".id")
    known = path.read_text(encoding="ascii") if path.is_file() else ""
    if not known:
        known = secrets.token_hex(8)
        path.write_text(known, encoding="ascii")
    return known


class _Claim:
    """A file of the home that names its owner and when it last said that it lives."""

    def __init__(self, home: Home, now: Callable[[], datetime]) -> None:
        self._home, self._now = home, now
        self._name = f"{_PREFIX}{_mirror_id(home)}.json"
        self._renewed_at = now()

    def stake(self) -> None:
        self._write()
        for name in self._home.names("verdicts"):
            if not name.startswith(_PREFIX) or name == self._name:
                continue
            other = self._home.find_json(name)
            if other is None:
                continue
            lapses_at = datetime.fromisoformat(other["renewed_at"]) + CLAIM_LAPSES
            if self._now() < lapses_at:
                raise HomeBusy(
                    f"a compaction of {self._home.root} is being worked on by process {other['pid']} on "
                    f"{other['host']}: wait until it ends; if that one is dead, its claim lapses at "
                    f"{lapses_at:%Y-%m-%d %H:%M} UTC"
                )
            self._home.remove([name])

    def renew(self) -> None:
        if self._home.find_json(self._name) is None:
            raise HomeBusy(f"another process took this compaction of {self._home.root} for dead: try again")
        if self._now() - self._renewed_at >= RENEW_EVERY:
            self._write()

    def give_up(self) -> None:
        self._home.remove([self._name])

    def _write(self) -> None:
        self._renewed_at = self._now()
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "renewed_at": self._renewed_at}
        self._home.write_json(self._name, owner)
