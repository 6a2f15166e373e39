"""The names of the limits whose one slot says who works on what."""

from domain.verdicts import Provider


def run_claim(run_id: str) -> str:
    """Of whoever coordinates a backfill."""
    return f"facesweep-run-{run_id}"


def shard_claim(run_id: str, provider: Provider, number: int) -> str:
    """Of whoever works on a shard of it."""
    return f"facesweep-shard-{run_id}-{provider}-{number}"
