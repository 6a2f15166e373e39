"""What is well before a run."""

# ruff: noqa: PLC0415 - a command pays for its own imports only

import argparse

from flows.consoles import OUT
from flows.options import Verbs, add_spec


def register(verbs: Verbs) -> None:
    """Make this command known."""
    doctor_ = verbs.add(
        "doctor",
        doctor,
        "check keys, clock, bucket and home without a billed call",
        "facesweep doctor kyc.toml",
    )
    add_spec(doctor_)


async def doctor(options: argparse.Namespace) -> int:
    """Check everything an audit needs, without a billed call."""
    from tasks.units.opening import quiet_prefect, read_spec

    quiet_prefect()
    from flows.terminal import show_check
    from tasks.units.doctor import examine

    is_well = True
    async for check in examine(read_spec(options.spec)):
        show_check(OUT, check)
        is_well = is_well and check.is_well
    return 0 if is_well else 1
