"""Settings: the spec file of an audit, and the only reader of the environment."""

import difflib
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from domain.errors import UsageError
from domain.verdicts import Provider
from tasks.providers.endpoints import Endpoint


def _endpoint(text: str) -> str:
    try:
        return Endpoint.parse(text).url
    except UsageError as error:
        raise ValueError(str(error)) from None


def _sample(value: bool | int | str) -> int | str:
    if isinstance(value, bool):
        raise ValueError('must be a share such as "1%" or a count of at least 1')  # noqa: TRY004 - pydantic's
    if isinstance(value, int):
        if value < 1:
            raise ValueError('must be a share such as "1%" or a count of at least 1')
        return value
    share = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value)
    if share is None or not 0 < float(share[1]) <= 100:
        raise ValueError('must be a share over 0% and up to 100%, such as "1%", or a count')
    return value


def _store_endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a url such as https://host:port")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password: keys come from the environment")
    return url


StoreEndpointUrl = Annotated[str, AfterValidator(_store_endpoint)]
EndpointUrl = Annotated[str, AfterValidator(_endpoint)]
CallsPerSecond = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Audit(_Section):
    """`[audit]`: what the job is called and where its results live."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    home: str | None = None
    home_endpoint_url: StoreEndpointUrl | None = None
    home_region: str | None = None


class Source(_Section):
    """`[source]`: which objects."""

    url: Annotated[str, Field(min_length=1)]
    include: tuple[str, ...] | None = None  # every suffix that usually means a picture or a video
    exclude: tuple[str, ...] = ()
    modified_after: AwareDatetime | None = None
    modified_before: AwareDatetime | None = None
    min_bytes: Annotated[int, Field(ge=0)] = 1
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    sample: Annotated[bool | int | str, AfterValidator(_sample)] | None = None
    endpoint_url: StoreEndpointUrl | None = None
    region: str | None = None

    @property
    def sample_share(self) -> float | None:
        """The sample as a share of the objects, over 0 and up to 1; None where it is no share."""
        return float(self.sample.rstrip("% ")) / 100 if isinstance(self.sample, str) else None

    @property
    def sample_size(self) -> int | None:
        """The sample as a number of objects; None where it is none."""
        return self.sample if isinstance(self.sample, int) else None


class Tencent(_Section):
    """`[providers.tencent]`"""

    qps: CallsPerSecond = 5
    endpoint: EndpointUrl = "https://faceid.tencentcloudapi.com"
    region: str | None = None
    price_per_call: Price | None = None
    image_base64_bytes: Annotated[int, Field(ge=1, le=9_900_000)] | None = None


class Aliyun(_Section):
    """`[providers.aliyun]`"""

    qps: CallsPerSecond = 10
    endpoints: Annotated[tuple[EndpointUrl, ...], Field(min_length=1)] = (
        "https://cloudauth.cn-shanghai.aliyuncs.com",
        "https://cloudauth.cn-beijing.aliyuncs.com",
    )
    price_per_call: Price | None = None
    delivery: Literal["auto", "base64"] = "auto"


class Providers(_Section):
    """`[providers]`: a provider that has no table here is not asked."""

    tencent: Tencent | None = None
    aliyun: Aliyun | None = None


class Strategy(_Section):
    """`[strategy]`: which provider is asked about which object."""

    kind: Literal["all"] = "all"


class Spec(_Section):
    """One audit, as its spec file gives it. Holds no credential: a key for one is an error."""

    audit: Audit
    source: Source
    providers: Providers
    strategy: Strategy = Strategy()
    processing_record: dict[str, str | int | float | bool] = {}

    @property
    def home(self) -> str:
        """The home's folder or bucket URL; `./audits/<name>` where the spec names none."""
        return self.audit.home or f"audits/{self.audit.name}"

    @property
    def asked(self) -> dict[Provider, Tencent | Aliyun]:
        """The providers this audit asks, in a fixed order."""
        tables = {Provider.TENCENT: self.providers.tencent, Provider.ALIYUN: self.providers.aliyun}
        return {provider: table for provider, table in tables.items() if table is not None}

    def as_json(self) -> dict[str, Any]:
        """The spec as JSON types, for the run record; reading it back gives an equal spec."""
        return self.model_dump(mode="json", exclude_none=True)


PLANNED_KEYS = {
    ("source", "inventory"): "listing from an inventory",
    ("budget",): "budgets",
    ("strategy", "first"): "strategies other than 'all'",
    ("providers", "tencent", "encryption"): "whole-body encryption",
    ("providers", "tencent", "public_key"): "whole-body encryption",
}
"""Keys of the contract that this version does not act on: refused, never ignored."""


def read_spec(path: Path) -> Spec:
    """Read and check a spec file; relative paths in it are taken from its own folder.

    Raises:
        UsageError: the file cannot be read or is not a valid spec; names the file, the key and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such spec file; see `facesweep audit --help` for an example") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    return _anchored(spec_of(data, str(path)), path.resolve().parent)


def spec_of(data: dict[str, Any], origin: str) -> Spec:
    """Check a spec given as plain data, from a spec file or a run record; `origin` names it in errors.

    Raises:
        UsageError: it is not a valid spec.
    """
    for keys, what in PLANNED_KEYS.items():
        if _holds(data, keys):
            raise UsageError(
                f"{origin}: {_dotted(keys)}: {what} is not part of this version of facesweep; remove the key"
            )
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{origin}: {_sentence(error)}") from None
    if not spec.asked:
        raise UsageError(
            f"{origin}: [providers] asks nobody: add [providers.tencent] or [providers.aliyun] (or both)"
        )
    after, before = spec.source.modified_after, spec.source.modified_before
    if after and before and after >= before:
        raise UsageError(f"{origin}: source.modified_after is not before source.modified_before")
    return spec


def _anchored(spec: Spec, folder: Path) -> Spec:
    """The spec with its relative folders made absolute, so that a resume from elsewhere finds them."""

    def anchor(location: str) -> str:
        if "://" in location:
            return location
        return str((folder / Path(location).expanduser()).resolve())

    home = spec.audit.home
    return spec.model_copy(
        update={
            "audit": spec.audit.model_copy(update={"home": anchor(home or spec.home)}),
            "source": spec.source.model_copy(update={"url": anchor(spec.source.url)}),
        }
    )


def _holds(data: Any, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _dotted(keys: tuple[int | str, ...]) -> str:
    return ".".join(str(key) for key in keys)


def _sentence(error: ValidationError) -> str:
    """The first fault of a spec, as one sentence that names the key."""
    faults = error.errors(include_url=False, include_input=False)
    # A misspelled required key is both unknown and missing: the first says what to do.
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    where = fault["loc"]
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(where[-1]), _known_keys(where[:-1]), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{_dotted(where)}: unknown key{hint}"
    if fault["type"] == "missing":
        return f"{_dotted(where)}: this key is required"
    message = fault["msg"].removeprefix("Value error, ").replace("valid tuple", 'list, such as ["*.jpg"]')
    more = error.error_count() - 1
    return f"{_dotted(where)}: {message[0].lower()}{message[1:]}" + (f" (and {more} more)" if more else "")


def _known_keys(section: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Spec
    for name in section:
        annotation = model.model_fields[str(name)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


# The environment -----------------------------------------------------------------------------------


def state_folder() -> Path:
    """Where the working copies of homes in buckets live: `$FACESWEEP_STATE`, else the user's state folder."""
    explicit = os.environ.get("FACESWEEP_STATE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "facesweep"


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
    """Set `QUIET_PREFECT`, and silence loggers; call it before Prefect is imported.

    Prefect's workers log what they do not finish in time by loggers no setting of theirs reaches. A command
    says what people need in its own words, so on a terminal nothing below critical is logged at all.
    """
    logging.disable(logging.ERROR)
    for name, value in QUIET_PREFECT.items():
        os.environ.setdefault(name, value)


def has_proxy() -> bool:
    """Whether the environment names a proxy for http or https."""
    return not {"http", "https", "all"}.isdisjoint(getproxies())


def tencent_session_token() -> str:
    """`$TENCENTCLOUD_SESSION_TOKEN`: the official chain reads id and key, but not the token beside them."""
    return os.environ.get("TENCENTCLOUD_SESSION_TOKEN", "")


_DECODER_NEEDS = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "LANG", "LC_ALL")


def decoder_environment() -> dict[str, str]:
    """What Python and its libraries need to start, for children that read hostile bytes: no credentials."""
    return {name: os.environ[name] for name in _DECODER_NEEDS if name in os.environ}


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment and `more`, for children that are trusted like ourselves."""
    return {**os.environ, **more}
