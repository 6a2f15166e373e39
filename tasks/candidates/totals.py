"""A plan's books: what was listed, what was skipped and why, what will be asked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from domain.runs import Balance, Shard
from domain.verdicts import Provider


@dataclass(frozen=True, slots=True)
class StratumTotals:
    """One stratum of the objects that an audit's selection keeps, for one provider of a plan."""

    stratum: str | None  # None where the audit has no strata: then this one is everything
    selected: int
    sampled: int  # of these, in the sample; all of them where nothing is sampled
    asked: int  # of the sampled ones, questions of this plan
    leading: int  # answered earlier and before the first open one, in visiting order
    covered: int  # before the first one this plan leaves out: what its answers will tell about
    first_left: str | None  # the place of that one in visiting order; None where none is left out

    @property
    def weight(self) -> float | None:
        """Objects selected that a sampled one stands for."""
        return self.selected / self.sampled if self.sampled else None


@dataclass(frozen=True, slots=True)
class ProviderTotals:
    """One provider's part of a plan; `listed` is `asked` plus everything skipped."""

    provider: Provider
    listed: int  # rows of the listing; when planning again, questions of the run that ended so
    skipped: Mapping[str, int]  # by reason; reasons without an object are left out
    asked: int  # questions in the shards, copies among them
    copies: int  # questions whose verdict repeats that of a byte-identical object
    bytes_to_fetch: int  # size of the objects asked about; copies are not fetched
    shards: tuple[Shard, ...]
    handed_over: int = 0  # questions that the other provider took over; then the shards are closed
    strata: tuple[StratumTotals, ...] = ()  # none when planning again
    paid_before: int = 0  # of those asked: they have a verdict that was, or may have been, billed

    @property
    def calls(self) -> int:
        """Calls the provider will see if each succeeds at once."""
        return self.asked - self.copies

    @property
    def balance(self) -> Balance:
        """The books before the first answer."""
        return Balance(self.provider, self.listed, self.skipped, self.asked, handed_over=self.handed_over)


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """A plan in numbers, for each provider."""

    providers: Mapping[Provider, ProviderTotals]

    @property
    def calls(self) -> int:
        """Calls all providers will see together."""
        return sum(totals.calls for totals in self.providers.values())

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes read from the bucket; an object two providers are asked about is read twice."""
        return sum(totals.bytes_to_fetch for totals in self.providers.values())

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards of all providers."""
        return tuple(shard for totals in self.providers.values() for shard in totals.shards)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: a document of objects, lists, texts and whole numbers."""
        return {
            "providers": {
                str(provider): {
                    "listed": totals.listed,
                    "skipped": dict(totals.skipped),
                    "asked": totals.asked,
                    "copies": totals.copies,
                    "calls": totals.calls,  # for readers; from_json derives it
                    "bytes_to_fetch": totals.bytes_to_fetch,
                    "handed_over": totals.handed_over,
                    "paid_before": totals.paid_before,
                    "questions_by_shard": [shard.questions for shard in totals.shards],
                    "strata": [asdict(stratum) for stratum in totals.strata],
                }
                for provider, totals in self.providers.items()
            }
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The plan that `to_json` wrote.

        Raises:  KeyError, ValueError: the document is something else.
        """
        return cls(
            {
                Provider(name): ProviderTotals(
                    provider=Provider(name),
                    listed=totals["listed"],
                    skipped=dict(totals["skipped"]),
                    asked=totals["asked"],
                    copies=totals["copies"],
                    bytes_to_fetch=totals["bytes_to_fetch"],
                    paid_before=totals.get("paid_before", 0),  # plans of an earlier version lack it
                    shards=tuple(
                        Shard(Provider(name), number, questions)
                        for number, questions in enumerate(totals["questions_by_shard"], start=1)
                    ),
                    handed_over=totals.get("handed_over", 0),
                    strata=tuple(StratumTotals(**stratum) for stratum in totals.get("strata", ())),
                )
                for name, totals in document["providers"].items()
            }
        )
