"""Which objects of a listing an audit wants, and why it leaves the others alone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from domain.errors import UsageError
from domain.objects import Absence
from tasks.candidates.globs import to_regex
from tasks.candidates.kinds import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, suffix_globs
from tasks.candidates.strata import Strata
from tasks.candidates.vocabulary import literal

DEFAULT_INCLUDE = suffix_globs(IMAGE_SUFFIXES + VIDEO_SUFFIXES)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SkipReason(StrEnum):
    """Why an object is not asked about: the first that applies, in this order."""

    GONE = "gone"  # a list names it, and there is no such object or version
    DENIED = "denied"  # a list names it, and the store will not show it to these keys
    NOT_A_FILE = "not_a_file"  # the key ends with "/": a folder's marker
    EXCLUDED = "excluded"
    NOT_INCLUDED = "not_included"
    NOT_MEDIA = "not_media"  # admitted by a glob, but the suffix names something else, e.g. .pdf
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    LISTED_TWICE = "listed_twice"  # the same url and version again, e.g. in overlapping inventories
    OTHER_PROVIDER = "other_provider"  # a split puts it to the other one
    OUT_OF_SAMPLE = "out_of_sample"
    ALREADY_ANSWERED = "already_answered"  # a final outcome in an earlier run of this home
    OVER_LIMIT = "over_limit"
    FIRST_UNDECIDED = "first_undecided"  # cascade: no final outcome of the first provider
    FIRST_WITHOUT_SCORE = "first_without_score"  # cascade: the first refused it, or it is unfit
    FIRST_SAYS_LOW = "first_says_low"  # cascade
    FIRST_ANSWERED = "first_answered"  # failover


@dataclass(frozen=True, slots=True)
class Selection:
    """What an audit asks about. Sizes in bytes; bounds are inclusive, but for `modified_before`.

    `modified_after` is the first instant wanted and `modified_before` the first no longer wanted, so
    that adjoining windows neither miss an object nor see it twice.

    A sample is drawn before earlier answers are taken off and stays the same from run to run:
    `sample_share` keeps an object or not whatever else the bucket holds; `sample_size` keeps that many
    of the objects selected. With `strata` it is drawn from each of them, and a share is that share of the
    objects selected, but one of each stratum at least. `limit` is what one run asks at most: that many
    objects which some provider has not answered yet, so the next run goes on behind them. All of these
    follow the visiting order.

    Raises:  UsageError: a glob is malformed, a number out of range or a time without a zone.
    """

    include: tuple[str, ...] = DEFAULT_INCLUDE
    exclude: tuple[str, ...] = ()
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    limit: int | None = None
    sample_share: float | None = None  # over 0, up to 1
    sample_size: int | None = None
    strata: Strata | None = None

    def __post_init__(self) -> None:
        if not self.include:
            raise UsageError('include names no pattern, so no object: leave it out, or write ["*"]')
        to_regex((*self.include, *self.exclude))
        for name in ("min_bytes", "max_bytes", "limit", "sample_size"):
            number: int | None = getattr(self, name)
            if number is not None and number < 0:
                raise UsageError(f"{name} is {number}: it cannot be below 0")
        for name in ("modified_after", "modified_before"):
            moment: datetime | None = getattr(self, name)
            if moment is not None and moment.utcoffset() is None:
                raise UsageError(f"{name} is {moment}: say in which zone, e.g. {moment}Z")
        if self.sample_share is not None and not 0 < self.sample_share <= 1:
            raise UsageError(f"sample is {self.sample_share:%}: it must be over 0 % and up to 100 %")
        if self.sample_share is not None and self.sample_size is not None:
            raise UsageError("sample is given as a share and as a count: give one of them")

    def reason_sql(self) -> str:
        """SQL for the reason to skip a listing's row that the row itself gives; NULL to keep it."""
        rules = [
            (SkipReason.GONE, f"absent = '{Absence.GONE}'"),
            (SkipReason.DENIED, f"absent = '{Absence.DENIED}'"),
            (SkipReason.NOT_A_FILE, "ends_with(key, '/')"),
            (SkipReason.NOT_INCLUDED, f"NOT {matches_sql(self.include)}"),
            (SkipReason.NOT_MEDIA, matches_sql(suffix_globs(FOREIGN_SUFFIXES))),
        ]
        if self.exclude:
            rules.insert(3, (SkipReason.EXCLUDED, matches_sql(self.exclude)))
        if self.min_bytes is not None:
            rules.append((SkipReason.TOO_SMALL, f"size_bytes < {self.min_bytes}"))
        if self.max_bytes is not None:
            rules.append((SkipReason.TOO_LARGE, f"size_bytes > {self.max_bytes}"))
        if self.modified_after is not None:
            bound = _microseconds(self.modified_after)
            rules.append((SkipReason.TOO_OLD, f"epoch_us(last_modified) < {bound}"))
        if self.modified_before is not None:
            bound = _microseconds(self.modified_before)
            rules.append((SkipReason.TOO_NEW, f"epoch_us(last_modified) >= {bound}"))
        cases = " ".join(f"WHEN {condition} THEN '{reason}'" for reason, condition in rules)
        return f"CASE {cases} END"

    def stratum_sql(self) -> str:
        """SQL for the stratum of a listing's row; the listing's own where the audit has no strata."""
        return "stratum" if self.strata is None else self.strata.stratum_sql()


def matches_sql(globs: tuple[str, ...]) -> str:
    """SQL that is true where the column `key` matches any of the globs."""
    return f"regexp_full_match(key, {literal(to_regex(globs))})"


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
