"""Which provider is asked about which object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from itertools import accumulate
from uuid import UUID

from domain.verdicts import Provider

_HASHES = 2**128


class StrategyKind(StrEnum):
    """How two providers share the objects."""

    ALL = "all"  # each is asked about each object
    CASCADE = "cascade"  # the second is asked where the first says mid or high, and about some of the rest
    SPLIT = "split"  # each object has one provider, in proportion to the caps
    FAILOVER = "failover"  # the second takes over what the first leaves without an answer

    @property
    def has_second_stage(self) -> bool:
        """Whether the second provider's questions hang on what the first one did."""
        return self in (StrategyKind.CASCADE, StrategyKind.FAILOVER)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How objects are put to providers. Draws are keyed hashes of each object: the same in every run.

    They are other hashes than the visiting order's: a sample, which is the start of that order, is split and
    controlled like the whole.
    """

    kind: StrategyKind = StrategyKind.ALL
    first: Provider | None = None  # of cascade and failover
    low_share: float = 0.0  # cascade: of the objects the first calls low, those put to the second, 0 to 1
    caps_per_s: Mapping[Provider, int] = field(default_factory=dict)  # split: in proportion to these

    def elsewhere_sql(self, provider: Provider, answered: Mapping[Provider, str]) -> str:
        """SQL that is true where a candidate is another provider's and this one has not answered it.

        In a split an object that either provider has answered is done, whatever the caps are now. `answered`
        is SQL for each provider that is true where its answer stands.
        """
        if self.kind is not StrategyKind.SPLIT:
            return "false"
        total = sum(self.caps_per_s.values())
        ends = [Fraction(end, total) for end in accumulate(self.caps_per_s.values())]
        place = list(self.caps_per_s).index(provider)
        starts_at = ends[place - 1] if place else Fraction(0)
        is_own = _between("split_of(etag, size_bytes, version, url)", starts_at, ends[place])
        return f"(NOT {answered[provider]} AND (NOT {is_own} OR {' OR '.join(answered.values())}))"

    @property
    def because(self) -> str:
        """What the rows of a first or only stage say of why they were asked."""
        return "first" if self.kind.has_second_stage else str(self.kind)

    @property
    def is_control_sql(self) -> str:
        """SQL that is true for the objects that the second is asked about though the first says low."""
        return _between("control_of(version, url)", Fraction(0), Fraction(self.low_share))


def _between(hash_sql: str, start: Fraction, end: Fraction) -> str:
    """SQL that is true for hashes, as shares of all hashes, from `start` to before `end`."""
    rules = []
    if start > 0:
        rules.append(f"{hash_sql} >= '{UUID(int=int(start * _HASHES))}'::UUID")
    if end <= 0:
        rules.append("false")
    elif end < 1:
        rules.append(f"{hash_sql} < '{UUID(int=int(end * _HASHES))}'::UUID")
    return f"({' AND '.join(rules) or 'true'})"
