"""The control endpoints of a service, under /_emulator/, outside the API it emulates.

GET  health      {"service": name}
GET  calls       {"calls": [...]}; ?after=N leaves out the first N
GET  summary     totals and the busiest seconds
GET  under_way   how many calls arrived, how many wait for their reply, how many replies were delivered
GET  script      the rules and how often each was met;  POST script: one rule or a list of rules
GET  settings    qps, window, latency_ms, clock_offset_s, fetches;  PUT settings: any of them
GET  accounts    the keys, without secrets;  PUT accounts: one key, added or replaced
GET  public_keys  what bodies may be encrypted for, by algorithm, in PEM
POST reset       back to how the service started
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from emulators.listening import Reply
from emulators.media_limits import Objection

if TYPE_CHECKING:
    from emulators.service import Service

PREFIX = "/_emulator/"
Check = Callable[[bytes], Objection | None]


def answer(service: "Service", method: str, path: str, query: str, body: bytes) -> Reply:
    """The reply to one control call: 200, 400 with a sentence, or 404."""
    try:
        given = json.loads(body) if body else None
        return _json(200, _act(service, method, path.removeprefix(PREFIX), query, given))
    except LookupError:
        return _json(404, {"error": f"no {method} {path} here"})
    except (ValueError, TypeError) as error:
        return _json(400, {"error": str(error)})


def _act(service: "Service", method: str, what: str, query: str, given: Any) -> Any:
    actions: dict[str, Callable[[], Any]] = {
        "GET health": lambda: {"service": service.name},
        "GET calls": lambda: {"calls": service.log.after(_after(query))},
        "GET summary": service.log.summary,
        "GET under_way": service.log.under_way,
        "GET script": lambda: {"rules": service.script.listed()},
        "POST script": lambda: {"rules": _add_rules(service, given)},
        "GET settings": lambda: asdict(service.settings),
        "PUT settings": lambda: service.change(given),
        "GET accounts": lambda: {"accounts": service.accounts.listed()},
        "PUT accounts": lambda: service.accounts.put(given).as_json(),
        "GET public_keys": service.public_keys,
        "POST reset": service.reset,
    }
    return actions[f"{method} {what}"]()


def _after(query: str) -> int:
    return int(parse_qs(query).get("after", ["0"])[0])


def _add_rules(service: "Service", given: Any) -> list[dict[str, Any]]:
    rules = given if isinstance(given, list) else [given]
    return [asdict(service.script.add(rule)) for rule in rules]


def _json(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value).encode())
