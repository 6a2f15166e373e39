"""Where the books of an open run go: the seam between a run of one process and a shard of a backfill."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from domain.verdicts import Provider
from tasks.pacing.shares import Priority
from tasks.records import run_record
from tasks.records.home import Home
from tasks.records.part_numbers import ANY_NUMBER, PartNumbers
from tasks.records.run_record import RunRecord

if TYPE_CHECKING:
    from tasks.units.run import OpenRun


class Bookkeeping:
    """Of a run of one process: its record is the run's, and its parts have any number."""

    numbers: PartNumbers = ANY_NUMBER
    priority: Priority = Priority.AUDIT

    def check(self) -> None:
        """Return if this process may write into the home now; called before every part and record.

        Raises:
            Stopped: the work is somebody else's by now.
        """

    def leases_path(self, home: Home, run_id: str, provider: Provider) -> Path:
        """The file of the leases of whoever works on this, on this machine."""
        return home.leases_path(run_id, provider)

    def save(self, home: Home, record: RunRecord) -> None:
        """The books stand in the home. Raises HomeUnwritable: names the path and why."""
        run_record.save(home, record)

    async def attend(self, run: "OpenRun") -> None:  # noqa: ARG002 - a shard's looks after it
        """What is to be seen to while questions are asked; cancelled when that is over."""
        await asyncio.Event().wait()
