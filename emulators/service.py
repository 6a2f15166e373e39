"""What both emulated services do alike: take a call, have it answered, meet trouble, deliver, log."""

import asyncio
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import log
from typing import Any, Literal
from urllib.parse import urlsplit

from aiohttp import web

from emulators import control, listening
from emulators.accounts import Account, Accounts
from emulators.calls import Call, CallLog
from emulators.listening import Reply
from emulators.media_limits import Examined, Objection
from emulators.quota import Quota, Window
from emulators.trouble import Script, Trouble


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be changed while a service runs."""

    qps: int  # calls a second for each owner of keys; 0 for no limit
    window: Window = "fixed"
    latency_ms: str = "0"  # "20", or "150-800": lognormal with 5 % below and 5 % above the range
    clock_offset_s: float = 0.0  # added to the machine's clock: a client's clock that is off
    fetches: bool = True  # Aliyun's FaceUrl; False: every store lets in its own network only

    def __post_init__(self) -> None:
        latency_range(self.latency_ms)
        Quota(self.qps, self.window)


def latency_range(text: str) -> tuple[float, float]:
    """Both ends of `20` or `150-800`, in milliseconds. Raises ValueError with a sentence."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", str(text))
    if match is None:
        raise ValueError(f"latency is milliseconds such as 20 or 150-800, not {text!r}")
    low = float(match[1])
    high = float(match[2]) if match[2] else low
    if high < low or (match[2] and low == 0):
        raise ValueError(f"a latency range goes from above 0 upwards, not {text!r}")
    return low, high


def drawn_latency_ms(low: float, high: float, source: random.Random) -> float:
    """One latency: `low` where there is no range, else lognormal with 5 % beyond either end."""
    if high == low:
        return low
    # A normal variable has 5 % of its values above mean + 1.645 sigma.
    middle, sigma = (log(low) + log(high)) / 2, (log(high) - log(low)) / (2 * 1.645)
    return source.lognormvariate(middle, sigma)


@dataclass(slots=True)
class Request:
    """One call as it came in."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]  # case-insensitive
    header_bytes: int
    body: bytes | None  # None when it was above listening.BODY_LIMIT
    now: float  # arrival, unix seconds by the service's clock


@dataclass(slots=True)
class Outcome:
    """What a provider made of a call."""

    reply: Reply
    examined: bool  # the engine was reached: this takes the engine's time, errors before it do not
    trouble: Trouble | None = None


class Service(ABC):
    """One emulated API on one port, with its own keys, quota, log and script."""

    name: str

    def __init__(self, settings: Settings, known: Iterable[Account], seed: int = 0) -> None:
        self._start, self._seed = settings, seed
        self.accounts = Accounts(known)
        self.log = CallLog()
        self.script = Script(self.name)
        self.examined = Examined()
        self._listener = listening.Listener(self._handle)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take new settings from now on; the quota starts to count anew."""
        self.settings = settings
        self.quota = Quota(settings.qps, settings.window)
        self._latency_ms = latency_range(settings.latency_ms)
        self._random = random.Random(self._seed)  # noqa: S311  # latencies, not secrets

    def reset(self) -> None:
        """Back to how the service started: empty log, no script, first settings and keys."""
        self.log = CallLog()
        self.script.reset()
        self.accounts.reset()
        self.configure(self._start)

    def change(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change some settings. Raises ValueError with a sentence."""
        try:
            self.configure(replace(self.settings, **changes))
        except TypeError:
            raise ValueError(f"settings are {', '.join(asdict(self.settings))}") from None
        return asdict(self.settings)

    def public_keys(self) -> dict[str, str]:
        """What bodies may be encrypted for, by algorithm, in PEM."""
        return {}

    async def start(self, port: int) -> str:
        """Listen and return the url. Raises OSError when the port is taken."""
        return await self._listener.start(port)

    async def stop(self) -> None:
        await self._listener.stop()

    @abstractmethod
    async def answer(self, request: Request, call: Call) -> Outcome:
        """Decide on one call and note in `call` what was decided. Never raises for bad calls."""

    async def _handle(self, web_request: web.BaseRequest) -> web.StreamResponse:
        arrived_at, arrived_monotonic = listening.arrival(web_request)
        now = arrived_at + self.settings.clock_offset_s
        target = urlsplit(web_request.raw_path)
        if target.path.startswith(control.PREFIX):
            body = await web_request.read()
            reply = control.answer(self, web_request.method, target.path, target.query, body)
            return (await listening.deliver(web_request, reply, now))[0]
        if web_request.method == "HEAD":
            # Somebody looks who is there: no call of the API, so none in the log.
            return (await listening.deliver(web_request, Reply(200, b""), now))[0]
        call = self.log.open(now, arrived_monotonic, web_request.method)
        try:
            body_read: bytes | None = await listening.read_body(web_request)
        except listening.TooLarge:
            body_read = None
        except listening.Lost:
            call.code = "incomplete_request"
            return web.Response()
        header_bytes = sum(len(name) + len(value) + 4 for name, value in web_request.raw_headers)
        request = Request(
            web_request.method,
            target.path,
            target.query,
            web_request.headers,
            header_bytes + len(web_request.raw_path),
            body_read,
            now,
        )
        outcome = await self.answer(request, call)
        await self._wait(outcome, arrived_monotonic)
        loop_time = asyncio.get_running_loop().time
        call.replied_monotonic = loop_time()
        call.http_status = 0 if outcome.reply.cut == "before" else outcome.reply.status
        call.code = call.code or (f"http_{outcome.reply.status}" if call.http_status else "cut")
        response, call.delivered = await listening.deliver(
            web_request, outcome.reply, now + loop_time() - arrived_monotonic
        )
        return response

    async def _wait(self, outcome: Outcome, arrived_monotonic: float) -> None:
        latency_ms = 0.0
        if outcome.trouble is not None and outcome.trouble.latency_ms is not None:
            latency_ms = outcome.trouble.latency_ms
        elif outcome.examined:
            latency_ms = drawn_latency_ms(*self._latency_ms, self._random)
        left_s = latency_ms / 1000 - (asyncio.get_running_loop().time() - arrived_monotonic)
        if left_s > 0:
            await asyncio.sleep(left_s)

    async def judge(
        self, kind: str, media: bytes, media_sha256: str, check: control.Check
    ) -> Objection | None:
        """The objection to the media, remembered by hash; videos are read in a thread."""
        if kind == "video" and not self.examined.known(kind, media_sha256):
            return await asyncio.to_thread(self.examined.judge, kind, media_sha256, media, check)
        return self.examined.judge(kind, media_sha256, media, check)


def spoil(reply: Reply, trouble: Trouble | None) -> Reply:
    """What the faults that are alike for all providers make of a served reply."""
    kind: dict[str, Literal["before", "middle"]] = {
        "answers_lost": "before",
        "cut_mid_reply": "middle",
    }
    if trouble is None:
        return reply
    if trouble.fault == "malformed_json":
        return replace(reply, body=reply.body[:-2] + b",}")
    return replace(reply, cut=kind.get(trouble.fault, ""))


def broken_way(trouble: Trouble | None) -> Reply | None:
    """The reply where the way to the service is broken, before anything was served."""
    if trouble is None:
        return None
    if trouble.fault == "cut_before_reply":
        return Reply(200, b"", cut="before")
    if trouble.fault == "http_error":
        status = trouble.http_status or 502
        page = b"" if trouble.body == "empty" else f"<html><h1>{status}</h1></html>".encode()
        return Reply(status, page, content_type="text/html")
    return None
