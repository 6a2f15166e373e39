"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".facesweep-unfinished-"


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write to; `target` becomes it, on disk and at once, when the block ends well.

    When the block raises, `target` stays what it was and nothing is left. After a kill a file whose
    name starts with `UNFINISHED` may be left in the folder, which must exist. Raises: OSError.
    """
    unfinished = target.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
    try:
        yield unfinished
        _to_disk(unfinished)
        unfinished.replace(target)
        _to_disk(target.parent)  # without it a power cut may take the new name back
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
