"""Putting files in place so that they survive a crash and appear whole or not at all."""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """The file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """The folder's entries (what was created, renamed or removed in it) are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(path: Path) -> None:
    """The folder and those above it exist, on disk."""
    missing = []
    folder = path
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


def sync_tree(path: Path) -> None:
    """Every file and folder below is on disk, the inner ones first."""
    if path.is_dir():
        for inner in path.iterdir():
            sync_tree(inner)
        sync_folder(path)
    else:
        sync_file(path)


def put_in_place(staged: Path, target: Path) -> None:
    """`staged` becomes `target`: on disk first, then renamed, and the rename on disk too.

    A reader sees the old file, or none, and from one moment on the whole new one. Both must lie on
    the same filesystem.

    Raises:
        OSError: as the operating system says; the target is then what it was.
    """
    sync_tree(staged)
    make_folders(target.parent)
    staged.replace(target)
    sync_folder(target.parent)
