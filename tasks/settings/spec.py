"""The spec of an audit: its keys, their types and their defaults."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from domain.budgets import Budget
from domain.errors import UsageError
from domain.verdicts import Provider
from tasks.providers.endpoints import Endpoint
from tasks.providers.tencent.encryption import BodyCipher, body_cipher


def _endpoint(text: str) -> str:
    try:
        return Endpoint.parse(text).url
    except UsageError as error:
        raise ValueError(str(error)) from None


def _name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text) is None:
        raise ValueError(
            "must be letters, digits, '.', '_' and '-', 64 at most, and begin with a letter or digit"
        )
    return text


def _place(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold a zero byte: no file has such a name")
    return text


def _sample(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_OBJECTS:
            raise ValueError(f'must be a share such as "1%" or a count from 1 to {MOST_OBJECTS:,}')
        return value
    if not isinstance(value, str):
        raise ValueError('must be a share such as "1%" or a count of at least 1')  # noqa: TRY004 - pydantic's
    share = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value)
    if share is None or not 0 < float(share[1]) <= 100:
        raise ValueError('must be a share over 0% and up to 100%, such as "1%", or a count')
    return value


def _share(text: str) -> str:
    share = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text)
    if share is None or float(share[1]) > 100:
        raise ValueError('must be a share from 0% to 100%, such as "5%"')
    return text


def _share_over_0(text: str) -> str:
    if float(_share(text).rstrip("% ")) == 0:
        raise ValueError('must be a share over 0% and up to 100%, such as "50%"')
    return text


def fraction(share: str) -> float:
    """A share such as `"5%"` as a number from 0 to 1."""
    return float(share.rstrip("% ")) / 100


def _strata(text: str) -> str:
    if re.fullmatch(r"column|prefix:([1-9]|1\d|20)", text) is None:
        raise ValueError(
            'must be "prefix:1" (up to 20 folders below the source) or "column" (the inventory\'s)'
        )
    return text


def _store_endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a url such as https://host:port")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password: keys come from the environment")
    return url


MOST_OBJECTS = 10**15
"""Of a sample: more than any store holds, and a number that everything here can hold."""

Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]
StoreEndpointUrl = Annotated[str, AfterValidator(_store_endpoint)]
EndpointUrl = Annotated[str, AfterValidator(_endpoint)]
AccountName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
CallsPerSecond = Annotated[int, Field(ge=1, le=10_000, strict=True)]
ColumnName = Annotated[str, Field(min_length=1)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Audit(_Section):
    """`[audit]`: what the job is called and where its results live."""

    name: Annotated[str, AfterValidator(_name)]
    home: Annotated[str, AfterValidator(_place)] | None = None
    home_endpoint_url: StoreEndpointUrl | None = None
    home_region: str | None = None


class Columns(_Section):
    """`[source.columns]`: which column of an inventory says what, where its name does not."""

    url: ColumnName | None = None
    key: ColumnName | None = None
    version_id: ColumnName | None = None
    etag: ColumnName | None = None
    size_bytes: ColumnName | None = None
    last_modified: ColumnName | None = None
    subject_id: ColumnName | None = None
    stratum: ColumnName | None = None


class Source(_Section):
    """`[source]`: which objects."""

    url: Place
    include: tuple[str, ...] | None = None  # every suffix that usually means a picture or a video
    exclude: tuple[str, ...] = ()
    modified_after: AwareDatetime | None = None
    modified_before: AwareDatetime | None = None
    min_bytes: Annotated[int, Field(ge=0)] = 1
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    sample: Annotated[int | str | None, BeforeValidator(_sample)] = None
    strata: Annotated[str, AfterValidator(_strata)] | None = None
    allocation: Literal["proportional", "equal"] | None = None  # proportional, where there are strata
    endpoint_url: StoreEndpointUrl | None = None
    region: str | None = None
    inventory: Place | None = None  # instead of a listing
    inventory_endpoint_url: StoreEndpointUrl | None = None  # the source's, where they share a store
    inventory_region: str | None = None
    columns: Columns | None = None

    @property
    def column_names(self) -> dict[str, str]:
        """What the spec says of the inventory's columns: field → column."""
        return {} if self.columns is None else self.columns.model_dump(exclude_none=True)

    @property
    def sample_share(self) -> float | None:
        """The sample as a share of the objects, over 0 and up to 1; None where it is no share."""
        return fraction(self.sample) if isinstance(self.sample, str) else None

    @property
    def sample_size(self) -> int | None:
        """The sample as a number of objects; None where it is none."""
        return self.sample if isinstance(self.sample, int) else None

    @property
    def strata_depth(self) -> int | None:
        """How many folders name an object's stratum; None where a column does, or there are no strata."""
        return int(self.strata.removeprefix("prefix:")) if self.strata not in (None, "column") else None


DEFAULT_ACCOUNT = "default"
"""The account where a spec names none: one for each provider."""


VideoSegments = Annotated[int, Field(ge=1, le=10, strict=True)]
ImagePolicyName = Literal["untouched", "documented", "recommended"]


class Tencent(_Section):
    """`[providers.tencent]`"""

    account: AccountName = DEFAULT_ACCOUNT
    qps: CallsPerSecond = 5
    endpoint: EndpointUrl = "https://faceid.tencentcloudapi.com"
    region: str | None = None
    price_per_call: Price | None = None
    image_base64_bytes: Annotated[int, Field(ge=1, le=9_900_000)] | None = None
    encryption: Literal["none", "AES-256-CBC", "SM4-GCM"] = "none"
    public_key: Annotated[str, Field(min_length=1)] | None = None  # PEM, or the path of a file that holds it
    images: ImagePolicyName = "untouched"
    video_segments: VideoSegments = 1

    @property
    def cipher(self) -> BodyCipher | None:
        """What encrypts whole bodies; None where nothing does. Raises: UsageError: the key is none for it."""
        if self.encryption == "none" or self.public_key is None:
            return None
        return body_cipher(self.encryption, self.public_key)


class Aliyun(_Section):
    """`[providers.aliyun]`"""

    account: AccountName = DEFAULT_ACCOUNT
    qps: CallsPerSecond = 10
    endpoints: Annotated[tuple[EndpointUrl, ...], Field(min_length=1)] = (
        "https://cloudauth.cn-shanghai.aliyuncs.com",
        "https://cloudauth.cn-beijing.aliyuncs.com",
    )
    price_per_call: Price | None = None
    delivery: Literal["auto", "base64", "url"] = "auto"
    images: ImagePolicyName = "untouched"
    video_segments: VideoSegments = 1


class Providers(_Section):
    """`[providers]`: a provider that has no table here is not asked."""

    tencent: Tencent | None = None
    aliyun: Aliyun | None = None


class SignalsTable(_Section):
    """`[signals]`: what is read from the original bytes before anybody is asked."""

    perceptual_hash: bool = True
    verify_c2pa: bool = False  # needs the extra `facesweep[c2pa]`
    skip_labelled: bool = False


class Strategy(_Section):
    """`[strategy]`: which provider is asked about which object."""

    kind: Literal["all", "cascade", "split", "failover"] = "all"
    first: Provider | None = None
    low_share: Annotated[str, AfterValidator(_share)] = "0%"

    @property
    def low_fraction(self) -> float:
        """`low_share` as a number from 0 to 1."""
        return fraction(self.low_share)


class BudgetTable(_Section):
    """`[budget]`: what a run may spend, over all its resumes; a bound that is not here is none."""

    calls: Annotated[int, Field(ge=1, strict=True)] | None = None
    money: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] | None = None
    until: AwareDatetime | None = None

    @property
    def bounds(self) -> Budget:
        """The same, in the domain's words."""
        return Budget(self.calls, self.money, self.until)


class BreakerTable(_Section):
    """`[breaker]`: when a run is ended because most of its questions fail or are refused."""

    share: Annotated[str, AfterValidator(_share_over_0)] = "50%"
    least: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 200

    @property
    def fraction(self) -> float:
        """The share, over 0 and up to 1."""
        return fraction(self.share)


class Spec(_Section):
    """One audit, as its spec file gives it. Holds no credential: a key for one is an error."""

    audit: Audit
    source: Source
    providers: Providers
    strategy: Strategy = Strategy()
    budget: BudgetTable = BudgetTable()
    breaker: BreakerTable = BreakerTable()
    signals: SignalsTable = SignalsTable()
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

    @property
    def prices(self) -> dict[Provider, float]:
        """What a call costs, of the providers whose price is given."""
        return {
            provider: table.price_per_call
            for provider, table in self.asked.items()
            if table.price_per_call is not None
        }

    def as_json(self) -> dict[str, Any]:
        """The spec as JSON types, for the run record; reading it back gives an equal spec."""
        return self.model_dump(mode="json", exclude_none=True)
