"""The error tree. An object's failure becomes a row; the run's failure is an exception that ends it.

    FacesweepError
    ├── UsageError            the command or the spec is wrong: fix it and call again        exit 2
    ├── HomeBusy              another process works on this run or home: wait for it         exit 2
    ├── ServerAway            Prefect's server gives no usable reply: what can wait, waits    exit 1
    ├── Stopped               somebody asked the run to stop; its questions stay pending      exit 130
    ├── BudgetSpent           no further call may leave: a larger budget goes on             exit 4
    ├── Tripped               most questions fail or are refused: mend the cause, resume     exit 1
    ├── StoreDenied           the source cannot be read any more: the run ends, as with Denied   exit 3
    ├── Unreadable            the object could not be fetched: a row, asked again next run
    ├── Unfit                 outside a provider's limits and not preparable: a row, final
    └── ProviderError
        ├── Throttled         slow down, ask again; costs no attempt
        ├── Unavailable       ask again later, a bounded number of times
        ├── Refused           never ask about this object again: a row, final
        └── Denied            end the run at once; its questions stay pending                exit 3

Fields go to `super().__init__` in order, so that every error survives pickling.
"""

from domain.verdicts import Provider


class FacesweepError(Exception):
    """Anything facesweep says no to; `str()` is one sentence for people."""


class UsageError(FacesweepError):
    """The command line, the spec file or a path in it is wrong; says where and what to do."""


class HomeBusy(FacesweepError):
    """Another living process holds the run, or compacts the home."""


class ServerAway(FacesweepError):
    """Prefect's server cannot be reached, or its reply is no use; `status` is the reply's, 0 without one."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence, status)
        self.sentence, self.status = sentence, status

    def __str__(self) -> str:
        return self.sentence


class Stopped(FacesweepError):
    """Somebody asked the run to stop: what has no answer yet stays pending, `resume` goes on."""


class BudgetSpent(FacesweepError):
    """The run's budget allows no further call: the rest stays unasked, `resume` goes on with a larger one.

    `limit` is the bound that was reached: `calls`, `money` or `until`.
    """

    def __init__(self, limit: str, sentence: str) -> None:
        super().__init__(limit, sentence)
        self.limit, self.sentence = limit, sentence

    def __str__(self) -> str:
        return self.sentence


class Tripped(FacesweepError):
    """Too many of a provider's questions failed or were refused: ends the run, the rest stay pending."""


class StoreDenied(FacesweepError):
    """The store refuses our keys, or the bucket is gone: every object meets the same. Ends the run."""


class Unreadable(FacesweepError):
    """An object could not be fetched: gone, denied, cut, or changed since it was listed."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Unfit(FacesweepError):
    """An object is outside a provider's limits and cannot be prepared to fit."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class ProviderError(FacesweepError):
    """A provider did not give a verdict; the class says what to do next.

    `code` is the provider's own, or ours for what happens below HTTP (`timeout`, `connection`,
    `http_502`, `malformed_reply`). `raw` is the reply's text, empty when there was none.
    """

    def __init__(
        self,
        provider: Provider,
        code: str,
        message: str,
        request_id: str = "",
        endpoint: str = "",
        raw: str = "",
    ) -> None:
        super().__init__(provider, code, message, request_id, endpoint, raw)
        self.provider, self.code, self.message = provider, code, message
        self.request_id, self.endpoint, self.raw = request_id, endpoint, raw

    def __str__(self) -> str:
        return f"{self.provider} {self.code}: {self.message}"


class Throttled(ProviderError):
    """The provider asked us to slow down. Wait `retry_after_s`, ask again; costs no attempt."""

    def __init__(
        self,
        provider: Provider,
        code: str,
        message: str,
        request_id: str = "",
        endpoint: str = "",
        raw: str = "",
        retry_after_s: float = 1.0,
    ) -> None:
        super().__init__(provider, code, message, request_id, endpoint, raw)
        self.args = (*self.args, retry_after_s)
        self.retry_after_s = retry_after_s


class Unavailable(ProviderError):
    """The provider or the way to it is broken for now. Ask again later, a bounded number of times.

    `in_doubt` is true when the request may have been served (and billed) without our seeing the reply.
    """

    def __init__(
        self,
        provider: Provider,
        code: str,
        message: str,
        request_id: str = "",
        endpoint: str = "",
        raw: str = "",
        in_doubt: bool = False,
    ) -> None:
        super().__init__(provider, code, message, request_id, endpoint, raw)
        self.args = (*self.args, in_doubt)
        self.in_doubt = in_doubt


class Refused(ProviderError):
    """The provider says no verdict is possible for this media. Never ask about this object again."""


class Denied(ProviderError):
    """The account, the key or our configuration is refused. End the run; questions stay pending."""
