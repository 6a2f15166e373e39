"""runs/<id>/shards/<provider>-<number>.json: where one shard of a backfill stands, by whoever works on it."""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from domain.errors import UsageError
from domain.runs import RUN_ID, ShardStatus
from domain.verdicts import Provider
from tasks.records.home import Home
from tasks.records.run_record import RECORD_VERSION, ProviderBooks, books_from_json, books_to_json

STALE_AFTER = timedelta(minutes=2)
"""A record is written every 15 s while its shard is worked on: after eight times that its process is gone."""

READS_AT_ONCE = 16  # of a bucket: thousands of records, a round trip each


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard. Written by whoever holds its claim and nobody else.

    In `books.balance` everything listed is asked: what the run skipped is the run's. `books.cap_per_s` is the
    whole lane's cap, `share_per_s` what this process has of it.
    """

    run_id: str
    provider: Provider
    number: int
    status: ShardStatus
    attempt: int  # 1, 2, …: how often the shard was given to a process
    worker: str  # such as `process 4711 on host`
    started_at: datetime  # of this attempt
    updated_at: datetime
    books: ProviderBooks  # of the whole shard, all attempts
    ended_at: datetime | None = None  # of this attempt
    share_per_s: int | None = None  # calls a second; 0: it waits for some; None: its process ended
    simulated: bool = False  # an emulator answered
    stop_reason: str | None = None  # one sentence, when the attempt did not end by itself
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields of newer versions, kept

    def is_stale(self, now: datetime) -> bool:
        """Whether its process is at work by the record, and has not been heard of for too long."""
        return self.status is ShardStatus.WORKING and now - self.updated_at > STALE_AFTER


def save(home: Home, record: ShardRecord) -> Path:
    """The record appears whole, in the place of what it said before.

    Raises:
        HomeUnwritable: names the path and why.
    """
    return home.write_json(_path(record.run_id, record.provider, record.number), to_json(record))


def load(home: Home, run_id: str, provider: Provider, number: int) -> ShardRecord | None:
    """The shard's record; None where nobody has begun it.

    Raises:
        UsageError: it is damaged, or a newer facesweep wrote it; names the file.
    """
    return _load(home, _path(run_id, provider, number))


def list_shards(home: Home, run_id: str) -> list[ShardRecord]:
    """The records of all shards of a run that were begun, by provider and number.

    In a bucket each is a request, but those of shards that are done are fetched once.

    Raises:
        UsageError: as `load`.
    """
    names = [name for name in home.names(f"{_folder(run_id)}") if name.endswith(".json")]
    with ThreadPoolExecutor(READS_AT_ONCE if home.is_in_bucket else 1) as threads:
        records = list(threads.map(lambda name: _load(home, name), names))
    found = [record for record in records if record is not None]
    return sorted(found, key=lambda record: (record.provider, record.number))


def to_json(record: ShardRecord) -> dict[str, Any]:
    """The record as a JSON document; what is None is there too."""
    plain = {
        each.name: getattr(record, each.name)
        for each in dataclasses.fields(record)
        if each.name not in ("books", "extra")
    }
    books = books_to_json(record.books)
    return {**record.extra, "record_version": RECORD_VERSION, **plain, "books": books}


def from_json(document: Mapping[str, Any]) -> ShardRecord:
    """The record a JSON document holds; fields it does not know are kept aside, missing ones default.

    Raises:
        UsageError: written by a newer, incompatible version.
        KeyError, TypeError, ValueError: not a shard's record.
    """
    version = document["record_version"]
    if version > RECORD_VERSION:
        raise UsageError(f"record version {version} is newer than this facesweep ({RECORD_VERSION}): upgrade")
    known = {each.name for each in dataclasses.fields(ShardRecord)}
    given = {name: value for name, value in document.items() if name in known}
    for name in ("started_at", "updated_at", "ended_at"):
        if given.get(name) is not None:
            given[name] = datetime.fromisoformat(given[name])
    given["provider"] = Provider(given["provider"])
    given["status"] = ShardStatus(given["status"])
    given["books"] = books_from_json(given["books"])
    given["extra"] = {
        name: value for name, value in document.items() if name not in known and name != "record_version"
    }
    return ShardRecord(**given)


def _load(home: Home, relative: str) -> ShardRecord | None:
    document = home.find_json(relative, _is_final)
    if document is None:
        return None
    try:
        return from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{home.path(relative)} is not a shard's record: {error!r}") from None
    except UsageError as error:
        raise UsageError(f"{home.path(relative)}: {error}") from None


def _is_final(document: Any) -> bool:
    return isinstance(document, dict) and document.get("status") == ShardStatus.DONE


def _folder(run_id: str) -> str:
    if RUN_ID.fullmatch(run_id) is None:
        raise UsageError(f"{run_id!r} is not a run id")
    return f"runs/{run_id}/shards"


def _path(run_id: str, provider: Provider, number: int) -> str:
    return f"{_folder(run_id)}/{provider}-{number:05d}.json"
