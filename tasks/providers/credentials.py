"""Keys from the providers' official chains, cached, renewed in time and never shown.

What the chains do (tencentcloud-sdk-python-common 3.1, alibabacloud-credentials 1.0), and why they
stand behind `KeySource`:

- Both block, and Tencent's asks its metadata service without a timeout: they run in a daemon thread
  with a time limit, so that neither the loop nor the end of the process waits for them.
- Both keep their role's keys and renew them by themselves (Tencent 5 to 12 minutes, Alibaba 15
  minutes before they end) but tell nobody when that is: temporary keys are read again every minute.
- Tencent's reads TENCENTCLOUD_SECRET_ID and _KEY but not TENCENTCLOUD_SESSION_TOKEN: that comes in
  as a value. Its errors are of many classes, and a parser's error quotes the file with the secret.
- Alibaba's reads the environment once, when it is imported: it is imported when keys are first
  needed. Its logger prints replies that hold keys: it is silenced.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from domain.errors import Denied
from domain.verdicts import Provider

REREAD_S = 60.0  # the chains renew at least 5 minutes ahead, so a minute is never too late
RENEW_AHEAD_S = 300.0  # signatures are good for 5 minutes at Tencent
CHAIN_TIMEOUT_S = 30.0  # three metadata services, one after another, of some seconds each

TENCENT_ADVICE = (
    "set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY (with TENCENTCLOUD_SESSION_TOKEN for"
    " temporary keys), or run where a Tencent Cloud role is attached"
)
ALIYUN_ADVICE = (
    "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET (with"
    " ALIBABA_CLOUD_SECURITY_TOKEN for temporary keys), or run where a RAM role is attached"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """An account's key pair; `repr` shows the id only."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)  # of temporary keys
    expires_at_s: float | None = None  # Unix time, where it is known


# Something that finds keys; may block. Given True, it forgets what it has cached.
Chain = Callable[[bool], Keys]


class KeySource:
    """The keys of one account, from a chain that may be slow, blocking and temporary.

    Renewals that are wanted at the same time share one. A renewal that fails while keys are still
    at hand leaves those in use: a hiccup of a metadata service does not end a run of weeks.
    """

    def __init__(
        self,
        provider: Provider,
        chain: Chain,
        advice: str = "",
        clock: Callable[[], float] = time.time,
        timeout_s: float = CHAIN_TIMEOUT_S,
    ) -> None:
        """`advice` completes the sentence for people when there are no keys."""
        self._provider, self._chain, self._advice = provider, chain, advice
        self._clock, self._timeout_s = clock, timeout_s
        self._keys: Keys | None = None
        self._read_at_s = 0.0
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<KeySource {self._provider}: {self._keys!r}>"

    async def current(self) -> Keys:
        """Keys to sign with now. Raises: Denied: the chain has none; says what to set."""
        keys = self._keys
        if keys is not None and not self._is_due(keys):
            return keys
        async with self._lock:
            if self._keys is None or self._is_due(self._keys):
                try:
                    await self._read(anew=False)
                except Denied:
                    if self._keys is None or self._is_over(self._keys):
                        raise
                    self._read_at_s = self._clock()
        assert self._keys is not None  # noqa: S101 (for the type checker: _read sets it or raises)
        return self._keys

    async def refresh(self, after: Keys) -> Keys:
        """Keys read anew because `after` was refused; at once when somebody has done so already.

        Raises: Denied: the chain has none.
        """
        async with self._lock:
            if self._keys is None or self._keys == after:
                await self._read(anew=True)
        assert self._keys is not None  # noqa: S101 (for the type checker: _read sets it or raises)
        return self._keys

    def _is_due(self, keys: Keys) -> bool:
        if keys.expires_at_s is not None:
            # Keys that live shorter than the margin would be read for each call.
            since_read_s = self._clock() - self._read_at_s
            return self._clock() >= keys.expires_at_s - RENEW_AHEAD_S and since_read_s >= 1.0
        return bool(keys.token) and self._clock() - self._read_at_s >= REREAD_S

    def _is_over(self, keys: Keys) -> bool:
        return keys.expires_at_s is not None and self._clock() >= keys.expires_at_s

    async def _read(self, anew: bool) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                self._keys = await _in_thread(lambda: self._chain(anew))
        except TimeoutError:
            why = f"no answer within {self._timeout_s:g} s"
        except Exception as error:
            why = type(error).__name__
        else:
            self._read_at_s = self._clock()
            return
        # Outside of the handler, so that no secret of the chain's own error hangs on to ours.
        sentence = f"no keys found ({why}): {self._advice}" if self._advice else f"no keys ({why})"
        raise Denied(self._provider, "no_credentials", sentence)


async def _in_thread(work: Callable[[], Keys]) -> Keys:
    """`work` in a daemon thread of its own: one that never ends holds up nobody.

    The pool behind `asyncio.to_thread` is joined at the end of the loop and would.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Keys] = loop.create_future()

    def settle(keys: Keys | None, error: Exception | None) -> None:
        if done.done():
            return
        if keys is not None:
            done.set_result(keys)
        else:
            done.set_exception(error or RuntimeError("no keys"))

    def run() -> None:
        keys, problem = None, None
        try:
            keys = work()
        except Exception as error:
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, keys, problem)

    threading.Thread(target=run, name="credentials", daemon=True).start()
    return await done


def fixed_keys(provider: Provider, keys: Keys) -> KeySource:
    """Keys that somebody else has found; refreshing them finds the same ones."""
    return KeySource(provider, lambda anew: keys)  # noqa: ARG005 (the chain's shape)


def tencent_keys(session_token: str = "", clock: Callable[[], float] = time.time) -> KeySource:
    """Tencent's chain: environment, profile file, CVM role, TKE role.

    `session_token` belongs to the environment's keys and is used with those only.
    """
    return KeySource(Provider.TENCENT, _TencentChain(session_token), TENCENT_ADVICE, clock)


def aliyun_keys(clock: Callable[[], float] = time.time) -> KeySource:
    """Alibaba's chain: environment, OIDC, CLI and profile files, ECS role, credentials URI."""
    return KeySource(Provider.ALIYUN, _AliyunChain(), ALIYUN_ADVICE, clock)


class _TencentChain:
    def __init__(self, session_token: str) -> None:
        self._session_token = session_token
        self._found: Any = None

    def __call__(self, anew: bool) -> Keys:
        from tencentcloud.common import credential  # noqa: PLC0415 (slow to import, often unused)

        if own := credential.EnvironmentVariableCredential().get_credential():
            return Keys(own.secret_id, own.secret_key, self._session_token)
        if anew or self._found is None:
            self._found = credential.DefaultCredentialProvider().get_credential()
        return _whole(*self._found.get_credential_info())


class _AliyunChain:
    def __init__(self) -> None:
        self._client: Any = None

    def __call__(self, anew: bool) -> Keys:
        from alibabacloud_credentials.client import Client  # noqa: PLC0415 (reads the environment)

        logging.getLogger("credentials").disabled = True
        if anew or self._client is None:
            self._client = Client()
        found = self._client.get_credential()
        return _whole(found.access_key_id, found.access_key_secret, found.security_token)


def _whole(key_id: str | None, secret: str | None, token: str | None) -> Keys:
    """Keys of what a chain gave. Raises: LookupError: it gave nothing, as Tencent's may."""
    if not key_id or not secret:
        raise LookupError("the chain gave no key")
    return Keys(key_id, secret, token or "")
