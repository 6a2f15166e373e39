"""Staging folders: each belongs to one living process; what a killed one left is cleared away."""

import fcntl
import os
import secrets
import shutil
from pathlib import Path

from tasks.records.durable import make_folders


def claim_folder(workshop: Path) -> tuple[Path, int]:
    """An empty folder in `workshop`, and a descriptor whose lock keeps others from clearing it away.

    Whoever is done with the folder removes it and closes the descriptor; a killed process is done with it.

    Raises:
        OSError: as the operating system says.
    """
    make_folders(workshop)
    _clear_away_orphans(workshop)
    while True:
        folder = workshop / secrets.token_hex(8)
        folder.mkdir()
        # Between these two lines another process may take it for an orphan: then try again.
        claim = _claim(folder)
        if claim is not None:
            return folder, claim


def _clear_away_orphans(workshop: Path) -> None:
    for folder in workshop.iterdir():
        claim = _claim(folder)
        if claim is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(claim)


def _claim(folder: Path) -> int | None:
    """A lock on the folder that ends with this process; None if it is taken or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not folder.exists():
        os.close(descriptor)
        return None
    return descriptor
