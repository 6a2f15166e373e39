"""The environment: nothing else reads it."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.request import getproxies

from domain.errors import UsageError


def state_folder() -> Path:
    """Where the working copies of homes in buckets live: `$FACESWEEP_STATE`, else the user's state folder."""
    explicit = os.environ.get("FACESWEEP_STATE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "facesweep"


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where metrics are served: port 0 is any free one."""

    host: str
    port: int


def read_metrics_address(text: str, origin: str) -> MetricsAddress:
    """`9108`, of this machine alone, or `0.0.0.0:9108`, for whoever reaches it.

    Raises:
        UsageError: it is neither; names `origin`.
    """
    host, separator, port = text.strip().rpartition(":")
    if (separator and not host) or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise UsageError(
            f"{origin}: {text!r} is not a port, such as 9108, or an address, such as 0.0.0.0:9108"
        )
    return MetricsAddress(host.strip("[]") or "127.0.0.1", int(port))


def metrics_address() -> MetricsAddress | None:
    """`$FACESWEEP_METRICS_PORT`; None where it is not set.

    Raises:
        UsageError: it is no address.
    """
    text = os.environ.get("FACESWEEP_METRICS_PORT")
    return read_metrics_address(text, "FACESWEEP_METRICS_PORT") if text else None


QUIET_PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # of loggers that heed no other word
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # With the defaults the server drops task rows of a short run without a word. The interval is whole
    # seconds: it is cut to an integer, and a server with 0 spins.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}
"""What keeps Prefect off the terminal and off the network; a value the user has set is left alone."""


def quiet_prefect() -> None:
    """Set `QUIET_PREFECT`, silence loggers, and spare this machine; call it before Prefect is imported.

    Prefect's workers log what they do not finish in time by loggers no setting of theirs reaches. A command
    says what people need in its own words, so on a terminal nothing below critical is logged at all.
    """
    spare_this_machine()
    logging.disable(logging.ERROR)
    logging.raiseExceptions = (
        False  # else a server that takes no log lines is spoken of in the middle of ours
    )
    for name, value in QUIET_PREFECT.items():
        os.environ.setdefault(name, value)


def spare_this_machine() -> None:
    """Whatever proxies the environment names, what runs on this machine is reached without one.

    Prefect's short-lived server and the demo's providers do; no proxy of a network could reach them.
    """
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if named.strip() == "*":
        return
    hosts = [host for host in (each.strip() for each in named.split(",")) if host]
    hosts += [host for host in ("127.0.0.1", "localhost", "::1") if host not in hosts]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


def has_proxy() -> bool:
    """Whether the environment names a proxy for http or https."""
    return not {"http", "https", "all"}.isdisjoint(getproxies())


def tencent_session_token() -> str:
    """`$TENCENTCLOUD_SESSION_TOKEN`: the official chain reads id and key, but not the token beside them."""
    return os.environ.get("TENCENTCLOUD_SESSION_TOKEN", "")


_DECODER_NEEDS = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "LANG", "LC_ALL")


def decoder_environment() -> dict[str, str]:
    """What Python and its libraries need to start, for children that read hostile bytes: no credentials."""
    needed = {name: os.environ[name] for name in _DECODER_NEEDS if name in os.environ}
    # One job at a time, on one core: threads of numpy's would take the one that keeps the pace.
    return {**needed, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment and `more`, for children that are trusted like ourselves."""
    return {**os.environ, **more}
