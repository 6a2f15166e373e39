"""The two consoles: what a command finds goes to one, what it says meanwhile to the other."""

import sys

from rich.console import Console

PLAIN_WIDTH = 140
"""Columns where output goes to a file or a log: wide enough that tables need no folding."""


class _Out(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which knows the exit status; rich's is that of a failure."""
        raise BrokenPipeError


OUT = _Out(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
ERR = Console(stderr=True, width=None if sys.stderr.isatty() else PLAIN_WIDTH)
