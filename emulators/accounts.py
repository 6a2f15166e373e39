"""The keys the emulated providers know. All of them are made up; none opens anything real."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """One access key. Keys of one `owner` share one quota, as the providers count."""

    key_id: str
    secret: str
    token: str | None = None  # set for temporary (STS) keys, which are refused without it
    expires_at: float = math.inf  # unix seconds by the emulator's clock; temporary keys only
    active: bool = True  # Aliyun tells an inactive key from an unknown one
    owner: str = "main"

    def as_json(self) -> dict[str, Any]:
        """Everything about the key but its secret and token."""
        shown = asdict(self)
        del shown["secret"]
        shown["token"] = self.token is not None
        shown["expires_at"] = None if math.isinf(self.expires_at) else self.expires_at
        return shown


STS_TOKEN = "EXAMPLE-sts-token/with+special=chars~."  # noqa: S105  # a made-up token

TENCENT = Account("AKIDEXAMPLE", "EXAMPLE-secret-key-not-real")
TENCENT_STS = Account("AKIDEXAMPLESTS", "EXAMPLE-sts-secret-key-not-real", STS_TOKEN)
TENCENT_EXPIRED = Account("AKIDEXAMPLEOLD", "EXAMPLE-old-secret-key-not-real", STS_TOKEN, 0.0)

ALIYUN = Account("LTAIEXAMPLE", "EXAMPLE-access-key-secret-not-real")
ALIYUN_STS = Account("STS.EXAMPLE", "EXAMPLE-sts-access-key-secret-not-real", STS_TOKEN)
ALIYUN_EXPIRED = Account("STS.EXAMPLEOLD", "EXAMPLE-old-access-key-not-real", STS_TOKEN, 0.0)
ALIYUN_INACTIVE = Account("LTAIEXAMPLEOFF", "EXAMPLE-off-access-key-not-real", active=False)

TENCENT_KEYS = (TENCENT, TENCENT_STS, TENCENT_EXPIRED)
ALIYUN_KEYS = (ALIYUN, ALIYUN_STS, ALIYUN_EXPIRED, ALIYUN_INACTIVE)


class Accounts:
    """The keys one service knows, by id; keys can be added while it runs."""

    def __init__(self, known: Iterable[Account]) -> None:
        self._start = {account.key_id: account for account in known}
        self._known = dict(self._start)

    def find(self, key_id: str) -> Account | None:
        return self._known.get(key_id)

    def put(self, fields: dict[str, Any]) -> Account:
        """Add a key or replace the one of the same id. Raises ValueError on unknown fields."""
        if fields.get("expires_at") is None:
            fields = {**fields, "expires_at": math.inf}
        try:
            account = Account(**fields)
        except TypeError as error:
            raise ValueError(f"not an account: {error}") from None
        self._known[account.key_id] = account
        return account

    def listed(self) -> list[dict[str, Any]]:
        return [account.as_json() for account in self._known.values()]

    def reset(self) -> None:
        self._known = dict(self._start)
