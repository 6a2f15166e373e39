"""What became of each thing a server must hold."""

from dataclasses import dataclass
from enum import StrEnum


class Done(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    LEFT = "left alone"  # the server's own word counts here, or nobody asked for it

    @property
    def is_change(self) -> bool:
        return self in (Done.CREATED, Done.UPDATED)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing on the server, and what was done about it; of a dry run, what would be."""

    kind: str  # work pool, queue, limit, deployment, automation, webhook
    name: str
    done: Done
    detail: str = ""  # what differed, or why it was left alone
