"""`python -m flows`: the `facesweep` command."""

from flows.cli import main

main()
