"""The two consoles: what a command finds goes to one, what it says meanwhile to the other."""

import sys

from rich.console import Console

PLAIN_WIDTH = 140
"""Columns where output goes to a file or a log: wide enough that tables need no folding."""

OUT = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
ERR = Console(stderr=True, width=None if sys.stderr.isatty() else PLAIN_WIDTH)
