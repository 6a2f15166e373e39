"""What a run promises over any number of kills, checked against the emulators' own logs."""

import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.chaos.world import PRICE, World, books_of, read_journal
from tests.flows import verdict_rows


@dataclass(frozen=True)
class Kill:
    """One kill -9, and what the journal held then."""

    moment: str
    kind: str  # units | command
    at: float  # unix seconds
    open_calls: dict[str, int]  # calls announced and unsettled, by question
    settled: list[str]  # questions


def seen(world: World, run_id: str, moment: str, kind: str) -> Kill:
    """A kill just now, and what it left.

    The journal is read from a copy: the next process must find its files as they were left.
    """
    at = time.time()
    journal = world.journal(run_id)
    with tempfile.TemporaryDirectory() as folder:
        for each in journal.parent.glob(f"{journal.name}*"):
            shutil.copy(each, folder)
        state = read_journal(Path(folder) / journal.name)
    return Kill(moment, kind, at, state.open_calls, state.settled)


@dataclass
class Account:
    """Counts of one run, or the sums of several; `broken` says which promises were not kept."""

    runs: int = 0
    questions: int = 0
    rows: int = 0
    calls: int = 0  # that arrived at the providers
    repeated_calls: int = 0  # about media the provider had served before
    most_repeated: int = 0  # what the kills allow: calls announced and unsettled at them
    answers_delivered: int = 0
    answers_journaled: int = 0  # when something was killed, summed over the kills
    unknown_billing: int = 0  # rows
    answers_lost: int = 0
    rows_twice: int = 0
    rows_missing: int = 0
    unmarked: int = 0  # repeated calls whose row does not say that billing is unknown
    files_opened: int = 0
    partial_files: int = 0
    broken: list[str] = field(default_factory=list)

    def __add__(self, other: "Account") -> "Account":
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        return Account(**sums)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Log:
    """What one provider saw of one content."""

    served: list[dict[str, Any]]  # calls the engine was reached by
    troubled: int  # calls a scripted fault met

    @property
    def answers(self) -> list[dict[str, Any]]:
        """Calls whose reply, a verdict or a final refusal, was delivered."""
        return [
            each for each in self.served if each["delivered"] and not each["trouble"] and each["http_status"]
        ]

    @property
    def billed(self) -> int:
        return sum(each["billed"] for each in self.served)


def examine(world: World, run_id: str, kills: list[Kill], opened: int, damaged: list[str]) -> Account:
    """Hold a finished run against the emulators' logs and what stood in its journal at each kill."""
    found = Account(runs=1, files_opened=opened, partial_files=len(damaged), broken=list(damaged))
    rows = verdict_rows.rows(world.home, run_id)
    found.rows, found.questions = len(rows), world.objects * len(world.providers)
    found.unknown_billing = sum(row["billed"] == "unknown" for row in rows)
    times = Counter(row["question_id"] for row in rows)
    found.rows_twice = sum(count > 1 for count in times.values())
    found.rows_missing = found.questions - len(times)
    found.answers_journaled = sum(len(kill.settled) for kill in kills)
    for provider in world.providers:
        log = _log_of(world.emulators.calls(provider))
        found.calls += sum(len(each.served) for each in log.values())
        own = [row for row in rows if row["provider"] == provider]
        _compare(found, log, own, kills)
    found.broken += _sentences(found)
    found.broken += _unbalanced(world, run_id)
    found.broken += _rewritten(rows, kills)
    return found


def _log_of(calls: list[dict[str, Any]]) -> dict[str, Log]:
    by_media: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in calls:
        by_media[call["media_sha256"]].append(call)
    return {
        media: Log(some, sum(bool(each["trouble"]) for each in some))
        for media, some in by_media.items()
        if media
    }


def _compare(found: Account, log: dict[str, Log], rows: list[dict[str, Any]], kills: list[Kill]) -> None:
    """One provider's log against its rows, content by content: copies share their calls."""
    by_media: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_media[row["sent_sha256"] or row["content_sha256"]].append(row)
    for media, seen in log.items():
        own = by_media[media]
        questions = {row["question_id"] for row in own}
        is_marked = any(row["billed"] == "unknown" for row in own)
        at_kills = sum(kill.open_calls.get(each, 0) > 0 for kill in kills for each in questions)
        found.most_repeated += at_kills
        repeated = len(seen.served) - 1 - seen.troubled
        if repeated > 0:
            found.repeated_calls += repeated
            found.unmarked += not is_marked
            if repeated > at_kills:
                found.broken.append(
                    f"{media[:12]} was asked about {repeated + 1} times, {at_kills} in flight"
                )
        found.answers_delivered += len(seen.answers)
        requests = {row["request_id"] for row in own}
        for answer in seen.answers:
            is_another = answer["verdict"] and answer["verdict"] not in {row["risk"] for row in own}
            is_unknown = answer["request_id"] not in requests and not is_marked
            found.answers_lost += bool(is_another or is_unknown)
        cost = sum(row["cost"] for row in own)
        if cost < seen.billed * PRICE:
            found.broken.append(f"{media[:12]} was billed {seen.billed} times and costs {cost} in the books")


def _sentences(found: Account) -> Iterator[str]:
    """The promises that counts alone can break."""
    for count, what in (
        (found.answers_lost, "answers lost"),
        (found.rows_twice, "questions with two rows"),
        (found.rows_missing, "questions without a row"),
        (found.unmarked, "contents asked about again and not marked"),
        (max(0, found.repeated_calls - found.most_repeated), "calls repeated that no kill cut short"),
    ):
        if count:
            yield f"{count} {what}"


def _unbalanced(world: World, run_id: str) -> Iterator[str]:
    """Done, balanced, nothing pending, and never fewer calls than the providers counted."""
    books = books_of(world.record(run_id))
    if books["status"] != "done":
        yield f"the run is {books['status']}"
    for provider in world.providers:
        own = books[provider]
        if not own["balanced"] or own["pending"]:
            yield f"the books of {provider} do not balance: {own}"
        arrived = world.emulators.under_way(provider)["arrived"]
        if own["calls"] < arrived:
            yield f"{provider} saw {arrived} calls, the books say {own['calls']}"


def _rewritten(rows: list[dict[str, Any]], kills: list[Kill]) -> Iterator[str]:
    """What was settled when a process was killed is what was published in the end."""
    settled_at = {row["question_id"]: row["settled_at"].timestamp() for row in rows}
    for kill in kills:
        for question in kill.settled:
            if settled_at.get(question, float("inf")) > kill.at:
                yield f"question {question} was settled at a kill {kill.moment}, and again afterwards"
