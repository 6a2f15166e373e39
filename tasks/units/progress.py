"""Where an open run stands: counted row by row, for those who watch and for the breaker."""

from collections.abc import Mapping

from domain.budgets import Spending
from domain.errors import Tripped
from domain.runs import Progress, ProviderProgress
from domain.verdicts import Outcome, Provider, Verdict
from tasks.candidates import PlanTotals
from tasks.pacing.breaker import Breaker
from tasks.records.balance import Tally
from tasks.records.journal import Journal
from tasks.records.queries import Unpublished
from tasks.settings import Spec
from tasks.shard.line import Line


class RunningCounts:
    """Outcomes and costs of a run since its start; failures and refusals since this process began."""

    def __init__(self, spec: Spec, totals: PlanTotals, tallies: Mapping[Provider, Tally]) -> None:
        self._spec, self._totals = spec, totals
        self._outcomes = {
            provider: dict(tallies[provider].outcomes) if provider in tallies else {}
            for provider in totals.providers
        }
        self._costs = {provider: tally.cost for provider, tally in tallies.items()}
        self._breakers = {provider: self._breaker(provider) for provider in totals.providers}
        self._unpublished: dict[Provider, Unpublished] = {}

    def enter(self, totals: PlanTotals, second: Provider) -> None:
        """The plan has grown by its second stage."""
        self._totals = totals
        self._outcomes[second] = {}
        self._breakers[second] = self._breaker(second)

    def count(self, verdict: Verdict) -> Tripped | None:
        """A row is durable: count it; the end it means for the run, if the breaker trips."""
        provider, outcome = Provider(verdict.provider), Outcome(verdict.outcome)
        outcomes = self._outcomes[provider]
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if verdict.cost is not None:
            self._costs[provider] = (self._costs.get(provider) or 0.0) + verdict.cost
        if verdict.asked_at is None:  # a copy, or never sent: it says nothing of the provider
            return None
        return self._breakers[provider].note(outcome, verdict.reason)

    async def look(self, journal: Journal) -> None:
        """See what lies in the journal alone; of that moment until the next look."""
        for provider in self._totals.providers:
            self._unpublished[provider] = await journal.unpublished(provider)

    def progress(self, phase: str, lines: Mapping[Provider, Line], spending: Spending) -> Progress:
        """Where the run stands now."""
        return Progress(
            phase,
            max((totals.listed for totals in self._totals.providers.values()), default=0),
            tuple(
                self._of_provider(provider, totals.asked, lines[provider])
                for provider, totals in self._totals.providers.items()
            ),
            spending if spending.budget.is_bounded else None,
        )

    def _of_provider(self, provider: Provider, asked: int, line: Line) -> ProviderProgress:
        waiting = self._unpublished.get(provider, Unpublished(0, None))
        return ProviderProgress(
            provider=provider,
            asked=asked,
            outcomes=dict(self._outcomes[provider]),
            cap_per_s=line.lane.cap_per_s,
            rate_per_s=line.lane.recent_rate_per_s,
            throttled=line.lane.turned_away,
            cost=self._costs.get(provider),
            calls=line.lane.admitted,
            in_flight=line.in_flight,
            share_per_s=line.lane.share_per_s,
            unpublished=waiting.rows,
            oldest_unpublished_at=waiting.oldest_at,
        )

    def _breaker(self, provider: Provider) -> Breaker:
        return Breaker(provider, self._spec.breaker.fraction, self._spec.breaker.least)
