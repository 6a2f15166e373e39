"""runs/<id>/control.json: what people want of a backfill. Commands write it, its processes look at it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from domain.errors import UsageError
from domain.runs import RUN_ID, Wanted
from tasks.records.home import Home

LOOK_EVERY_S = 10.0
"""How often whoever works on a backfill looks: a pause is felt within so long, and a look is one request."""


@dataclass(frozen=True, slots=True)
class Control:
    """What is wanted of a run, since when, and who said so."""

    wanted: Wanted
    at: datetime | None = None  # None: nobody ever said anything
    by: str | None = None  # user@host


def save(home: Home, run_id: str, control: Control) -> Path:
    """From now on this is wanted of the run.

    Raises:
        HomeUnwritable: names the path and why.
    """
    return home.write_json(
        _path(run_id), {"wanted": control.wanted, "at": control.at or datetime.now(UTC), "by": control.by}
    )


def load(home: Home, run_id: str) -> Control:
    """What is wanted of the run now; that it runs, where nobody said otherwise.

    Raises:
        UsageError: the file is damaged or cannot be read; names it.
    """
    document = home.find_json(_path(run_id))
    if document is None:
        return Control(Wanted.RUN)
    try:
        return Control(Wanted(document["wanted"]), datetime.fromisoformat(document["at"]), document.get("by"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{home.path(_path(run_id))} is not a backfill's control: {error!r}") from None


def _path(run_id: str) -> str:
    if RUN_ID.fullmatch(run_id) is None:
        raise UsageError(f"{run_id!r} is not a run id")
    return f"runs/{run_id}/control.json"
