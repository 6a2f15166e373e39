"""The world of a chaos campaign: small faces in a folder, both providers emulated, a spec, a home."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.emulated_media import image
from tests.contract.emulator_process import RunningEmulators
from tests.flows.facesweep_process import Facesweep

PROVIDERS = ("tencent", "aliyun")
PRICE = 0.5  # a call, so that the costs of any number of calls are exact in binary

# The emulated engines find something else in each; nobody has a verdict on `noface`.
LABELS = ("genuine", "swap", "generated", "recapture", "composite", "noface", "watermark", "template")
COPY_EVERY = 10  # one object in ten has the bytes of the one before


@dataclass(frozen=True)
class World:
    """One folder with everything a run needs, and one run in it."""

    folder: Path
    emulators: RunningEmulators
    objects: int
    spec: Path
    providers: tuple[str, ...] = PROVIDERS

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def journal(self, run_id: str) -> Path:
        return self.home / ".journal" / f"{run_id}.sqlite"

    def record(self, run_id: str) -> Path:
        return self.home / "runs" / f"{run_id}.json"

    def begun(self) -> str | None:
        """The id of the run that exists, if one does."""
        found = sorted(self.home.glob("runs/*.json"))
        return found[0].stem if found else None


def make_world(
    folder: Path,
    emulators: RunningEmulators,
    facesweep: Facesweep,
    objects: int,
    qps: int,
    providers: tuple[str, ...] = PROVIDERS,
) -> World:
    """A new world in `folder`, to be asked about by these providers."""
    source = folder / "source"
    source.mkdir(parents=True)
    for number in range(objects):
        (source / f"{number:04}.jpg").write_bytes(face_of(number))
    (source / "no-picture.jpg").write_text("nothing a provider could look at")
    tables: dict[str, dict[str, Any]] = {
        "tencent": {"qps": qps, "endpoint": emulators.tencent_url, "price_per_call": PRICE},
        "aliyun": {"qps": qps, "endpoints": [emulators.aliyun_url], "price_per_call": PRICE},
    }
    spec = facesweep.spec(
        name=folder.name,
        audit={"name": folder.name, "home": str(folder / "home")},
        source={"url": str(source)},
        **{name: tables[name] for name in providers},
    )
    return World(folder, emulators, objects + 1, spec, providers)


_drawn: dict[str, bytes] = {}


def face_of(number: int) -> bytes:
    """The picture of that number: unlike any other's, but for the copies."""
    number -= number % COPY_EVERY == COPY_EVERY - 1
    label = LABELS[number % len(LABELS)]
    drawn = _drawn.setdefault(label, image(label))
    comment = f"number {number}".encode()
    return drawn[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + drawn[2:]


@dataclass(frozen=True)
class JournalState:
    """What a journal holds at a moment."""

    announced: int  # calls, ever
    open_calls: dict[str, int]  # announced and unsettled, by question
    settled: list[str]  # questions
    parts: list[tuple[str, int, bool, int]]  # provider, number, published, bodies still there


EMPTY = JournalState(0, {}, [], [])


def read_journal(path: Path) -> JournalState:
    """What a journal holds now; nothing where it has no tables yet. By plain SQL, not by the product."""
    if not path.exists():
        return EMPTY
    sql = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return _state(sql)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
            return EMPTY
        raise
    finally:
        sql.close()


def _state(sql: sqlite3.Connection) -> JournalState:
    open_calls = {
        question.hex(): calls
        for question, calls in sql.execute("SELECT question, count(*) FROM calls GROUP BY 1")
    }
    (booked,) = sql.execute("SELECT coalesce(sum(calls), 0) FROM books").fetchone()
    (withdrawn,) = sql.execute("SELECT coalesce(sum(calls), 0) FROM withdrawn").fetchone()
    settled = [question.hex() for (question,) in sql.execute("SELECT question FROM answers")]
    parts = [
        (provider, number, bool(published), bodies)
        for provider, number, published, bodies in sql.execute(
            "SELECT provider, number, published, (SELECT count(*) FROM bodies WHERE "
            "bodies.provider = parts.provider AND seq BETWEEN first_seq AND last_seq) FROM parts"
        )
    ]
    return JournalState(booked + withdrawn + sum(open_calls.values()), open_calls, settled, parts)


def books_of(record: Path) -> dict[str, dict[str, Any]]:
    """The books in a run's record, by provider, and its status under `status`."""
    document = json.loads(record.read_text())
    return {each["provider"]: each for each in document["books"]} | {"status": document["status"]}
