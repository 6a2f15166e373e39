"""runs/<id>.json: what a run was asked to do, with what, and how its books stand."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from domain.budgets import Budget, BudgetChange
from domain.errors import UsageError
from domain.runs import RUN_ID, Balance, RunKind, RunStatus
from domain.verdicts import Billed, Outcome, Provider
from tasks.records.balance import Tally, balance_of
from tasks.records.home import Home

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class ProviderBooks:
    """One provider's share of a run."""

    balance: Balance
    calls: int = 0  # calls announced, whatever became of them
    charged: int = 0  # of these, calls that are, or may be, billed: what a budget of money counts
    throttled: int = 0
    billed: Mapping[Billed, int] = field(default_factory=dict)  # questions settled, by billing
    cost: float | None = None  # in the currency of the spec's price; None where no price is given
    cap_per_s: int | None = None  # the lane's, when the record was written
    rate_per_s: float | None = None  # calls that left in the ten seconds before it was written


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. `spec` is free of credentials; `spec_sha256` is the hash of `spec` as it stands."""

    run_id: str
    audit: str
    status: RunStatus
    spec: Mapping[str, Any]
    spec_sha256: str  # of its canonical JSON, hex
    versions: Mapping[str, str | int]  # facesweep, python, prefect, schema, mapping
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    books: tuple[ProviderBooks, ...] = ()
    simulated: bool = False  # an emulator answered: nothing here is a real verdict
    processing_record: Mapping[str, Any] | None = None  # why this processing is allowed
    stop_reason: str | None = None  # one sentence, when the run did not end by itself
    budget: Budget | None = None  # in force, over all resumes; None where nothing bounds the run
    budget_history: tuple[BudgetChange, ...] = ()  # who set which budget when, the spec's first
    retry_of: str | None = None  # the run whose failed questions this one asks again
    handed_over: str | None = None  # one sentence: why the second provider took over from the first
    reask: str | None = None  # why what has a final verdict already was asked again
    kind: RunKind = RunKind.AUDIT
    worker: str | None = None  # who saved it last while it was worked on, such as `process 4711 on host`
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields of newer versions, kept


def books_of(planned: Balance, tally: Tally) -> ProviderBooks:
    """One provider's share from what the plan promised and what the journal holds."""
    return ProviderBooks(
        balance=balance_of(planned, tally),
        calls=tally.calls,
        charged=tally.charged,
        throttled=tally.throttled,
        billed={name: count for name, count in tally.billed.items() if count},
        cost=tally.cost,
    )


def clean_spec(spec: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The spec as JSON may hold it, and its SHA-256 in hex.

    Moments become ISO 8601. A user name or password in a url, and the query of an http url (a
    presigned one is a credential), are left out.
    """
    cleaned = _cleaned(spec)
    canonical = json.dumps(cleaned, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return cleaned, hashlib.sha256(canonical.encode("utf-8", "backslashreplace")).hexdigest()


def save(home: Home, record: RunRecord) -> Path:
    """The record appears whole at runs/<id>.json, in the place of what it said before.

    Raises:
        HomeUnwritable: names the path and why.
    """
    return home.write_json(_path(record.run_id), to_json(record))


def load(home: Home, run_id: str) -> RunRecord:
    """The run's record.

    Raises:
        UsageError: there is none, it is damaged, or a newer facesweep wrote it; names the file.
    """
    relative = _path(run_id)
    document = home.read_json(relative)
    try:
        return from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{home.path(relative)} is not a run record: {error!r}") from None
    except UsageError as error:
        raise UsageError(f"{home.path(relative)}: {error}") from None


def list_runs(home: Home) -> list[RunRecord]:
    """Every run of the home, oldest first.

    Raises:
        UsageError: a record is damaged or newer than this facesweep; names the file.
    """
    names = (name.removeprefix("runs/") for name in home.names("runs"))
    ids = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    records = [load(home, each) for each in ids if RUN_ID.fullmatch(each)]
    return sorted(records, key=lambda record: (record.started_at, record.run_id))


def to_json(record: RunRecord) -> dict[str, Any]:
    """The record as a JSON document; what is None or empty is there too, so that readers may rely on it."""
    plain = {
        each.name: getattr(record, each.name)
        for each in dataclasses.fields(record)
        if each.name not in ("books", "budget", "budget_history", "extra")
    }
    return {
        **record.extra,
        "record_version": RECORD_VERSION,
        **plain,
        "budget": None if record.budget is None else _budget_to_json(record.budget),
        "budget_history": [
            {"set_at": each.set_at, "set_by": each.set_by, **_budget_to_json(each.budget)}
            for each in record.budget_history
        ],
        "books": [books_to_json(each) for each in record.books],
    }


def from_json(document: Mapping[str, Any]) -> RunRecord:
    """The record a JSON document holds; fields it does not know are kept aside, missing ones default.

    Raises:
        UsageError: written by a newer, incompatible version.
        KeyError, TypeError, ValueError: not a run record.
    """
    version = document["record_version"]
    if version > RECORD_VERSION:
        raise UsageError(f"record version {version} is newer than this facesweep ({RECORD_VERSION}): upgrade")
    known = {each.name: each for each in dataclasses.fields(RunRecord)}
    given = {name: value for name, value in document.items() if name in known}
    for name in ("started_at", "updated_at", "ended_at"):
        if given.get(name) is not None:
            given[name] = datetime.fromisoformat(given[name])
    given["status"] = RunStatus(given["status"])
    given["kind"] = RunKind(given.get("kind", RunKind.AUDIT))
    given["books"] = tuple(books_from_json(each) for each in document.get("books", ()))
    if document.get("budget") is not None:
        given["budget"] = _budget_from_json(document["budget"])
    given["budget_history"] = tuple(
        BudgetChange(datetime.fromisoformat(each["set_at"]), each["set_by"], _budget_from_json(each))
        for each in document.get("budget_history", ())
    )
    given["extra"] = {
        name: value for name, value in document.items() if name not in known and name != "record_version"
    }
    return RunRecord(**given)


def books_to_json(books: ProviderBooks) -> dict[str, Any]:
    """One provider's books as they stand in a record."""
    balance = books.balance
    return {
        "provider": balance.provider,
        "listed": balance.listed,
        "skipped": dict(balance.skipped),
        "asked": balance.asked,
        "over_budget": balance.over_budget,
        "outcomes": dict(balance.outcomes),
        "handed_over": balance.handed_over,
        "pending": balance.pending,
        "balanced": balance.is_balanced,
        "calls": books.calls,
        "charged": books.charged,
        "throttled": books.throttled,
        "billed": dict(books.billed),
        "cost": books.cost,
        "cap_per_s": books.cap_per_s,
        "rate_per_s": books.rate_per_s,
    }


def books_from_json(document: Mapping[str, Any]) -> ProviderBooks:
    """As `books_to_json` wrote them. Raises KeyError, TypeError, ValueError: they are no books."""
    return ProviderBooks(
        balance=Balance(
            provider=Provider(document["provider"]),
            listed=document["listed"],
            skipped=dict(document["skipped"]),
            asked=document["asked"],
            outcomes={Outcome(name): count for name, count in document["outcomes"].items()},
            handed_over=document.get("handed_over", 0),
            over_budget=document.get("over_budget", 0),
        ),
        calls=document.get("calls", 0),
        charged=document.get("charged", 0),
        throttled=document.get("throttled", 0),
        billed={Billed(name): count for name, count in document.get("billed", {}).items()},
        cost=document.get("cost"),
        cap_per_s=document.get("cap_per_s"),
        rate_per_s=document.get("rate_per_s"),
    )


def _budget_to_json(budget: Budget) -> dict[str, Any]:
    return {"calls": budget.calls, "money": budget.money, "until": budget.until}


def _budget_from_json(document: Mapping[str, Any]) -> Budget:
    until = document.get("until")
    return Budget(
        document.get("calls"),
        document.get("money"),
        None if until is None else datetime.fromisoformat(until),
    )


_USER_INFO = re.compile(r"(?<=://)[^/?#@]*@")
_HTTP_QUERY = re.compile(r"^(https?://[^?#]*)[?#].*$", re.IGNORECASE | re.DOTALL)


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(inner) for inner in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, str):
        return _HTTP_QUERY.sub(r"\1", _USER_INFO.sub("", value))
    return value


def _path(run_id: str) -> str:
    if RUN_ID.fullmatch(run_id) is None:
        raise UsageError(f"{run_id!r} is not a run id")
    return f"runs/{run_id}.json"
