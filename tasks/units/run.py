"""One run, opened: its lines, its books, its end."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from domain.errors import FacesweepError, Stopped, UsageError
from domain.runs import Balance, Progress, RunStatus, Shard
from domain.verdicts import Provider, Verdict
from tasks.candidates import PlanTotals, ProviderTotals, read_shard, shard_path
from tasks.pacing.deadline import Deadline
from tasks.records import parts
from tasks.records.balance import Tally, balance_of, explain, over_budget
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.run_record import RunRecord, books_of
from tasks.settings import Spec
from tasks.shard.feed import Feed
from tasks.shard.line import Line
from tasks.shard.stream import stream
from tasks.units.bookkeeping import Bookkeeping
from tasks.units.opening import versions
from tasks.units.progress import RunningCounts
from tasks.units.spending import nothing_left
from tasks.units.watching import stop_requested, tell

SHARDS_AT_ONCE = 2
"""Of one provider: while the last trips of one shard are under way the next one is fed."""

TELL_EVERY_S = 0.5
SAVE_EVERY_S = 15.0

OpenLine = Callable[["OpenRun", Provider], Awaitable[Line]]
DetectShard = Callable[["OpenRun", Shard], Awaitable[None]]


class OpenRun:
    """A run with everything it works with. Made by `open_run`; belongs to one event loop."""

    def __init__(
        self,
        home: Home,
        spec: Spec,
        record: RunRecord,
        totals: PlanTotals,
        journal: Journal,
        tallies: dict[Provider, Tally],
        open_line: OpenLine,
        bookkeeping: Bookkeeping,
    ) -> None:
        self.home, self.spec, self.record, self.totals = home, spec, record, totals
        self.journal = journal
        self._open_line, self._bookkeeping = open_line, bookkeeping
        self.lines: dict[Provider, Line] = {}
        self.deadline = Deadline(None if record.budget is None else record.budget.until)
        self._counts = RunningCounts(spec, totals, tallies)
        self._publishing = {provider: asyncio.Lock() for provider in totals.providers}
        self._trouble: str | None = None

    @property
    def run_id(self) -> str:
        return self.record.run_id

    def stop(self, end: Exception | None = None) -> None:
        """Let no further call leave; calls on the way are waited for. Safe to call from a signal handler."""
        for line in self.lines.values():
            line.close(end or Stopped("the run was asked to stop"))

    def progress(self, phase: str = "asking") -> Progress:
        """Where the run stands now."""
        progress = self._counts.progress(phase, self.lines, self.journal.spending)
        troubles = (self._trouble, *(line.lane.trouble for line in self.lines.values()))
        return replace(progress, trouble=next((each for each in troubles if each), None))

    async def check_budget(self) -> None:
        """There is a call left of the budget for whoever has questions pending.

        Raises:
            BudgetSpent: there is none; nobody was asked.
        """
        tallies = await self.journal.tallies()
        pending = [
            provider
            for provider, totals in self.totals.providers.items()
            if totals.asked - totals.handed_over > tallies.get(provider, Tally()).settled
        ]
        if end := nothing_left(self.journal, self.deadline, pending):
            raise end

    async def detect(self, detect_shard: DetectShard) -> None:
        """Take every open question to its final row, both providers side by side.

        Raises:
            Denied, StoreDenied, Stopped, BudgetSpent, Tripped, or what nobody foresaw: the run is over
            before its questions are; what has an answer is recorded.
        """
        ends: list[Exception] = []

        async def provider_shards(shards: Iterable[Shard]) -> None:
            running: set[asyncio.Task[None]] = set()
            try:
                for shard in shards:
                    while len(running) >= SHARDS_AT_ONCE:
                        running = await _next_end(running)
                    if await self._is_open(shard):
                        running.add(asyncio.ensure_future(detect_shard(self, shard)))
                while running:
                    running = await _next_end(running)
            except Exception as end:
                ends.append(end)
                self.stop(end)
                await asyncio.gather(*running, return_exceptions=True)
            except BaseException:
                for task in running:
                    task.cancel()
                raise

        async with _imports_uncollected(), self._attended(), asyncio.TaskGroup() as providers:
            for totals in self.totals.providers.values():
                if totals.handed_over:
                    continue
                providers.create_task(provider_shards(totals.shards))
        if ends:
            raise ends[0]

    async def detect_shard(self, shard: Shard) -> None:
        """One shard: every open question to its final row, then published, if the home takes it just now.

        What it does not take is in the journal, and published with a later shard or at the end: a home that
        refuses for an hour must not end a run of days.

        Raises:
            As `detect`.
        """
        path = shard_path(self.home.path(f"plans/run={self.run_id}"), shard)
        await stream(self.lines[shard.provider], read_shard(path))
        await self.publish_if_possible(shard.provider)

    async def publish_if_possible(self, provider: Provider) -> None:
        """Publish what is settled; where the home refuses, those who watch are told, and the run goes on."""
        try:
            await self.publish(provider)
        except UsageError as refusal:
            self._trouble = f"not published yet: {refusal}"
            tell(self.progress())
        else:
            self._trouble = None

    async def open(self, provider: Provider) -> None:
        """Open the line of a provider that the plan asks; to be done before anything of it is asked."""
        self.lines[provider] = await self._open_line(self, provider)

    async def enter(self, first: ProviderTotals, second: ProviderTotals) -> None:
        """The second stage is planned: from now on the second provider is asked, and the first no more."""
        self.totals = PlanTotals({first.provider: first, second.provider: second})
        self._counts.enter(self.totals, second.provider)
        self._publishing[second.provider] = asyncio.Lock()
        await self.open(second.provider)

    async def balance_of(self, provider: Provider) -> Balance:
        """One provider's books as they stand now."""
        tallies = await self.journal.tallies()
        return balance_of(self.totals.providers[provider].balance, tallies.get(provider, Tally()))

    async def publish(self, provider: Provider | None = None) -> None:
        """What is settled and not published yet becomes Parquet parts of the home.

        Raises:
            HomeUnwritable: nothing is lost; the journal keeps the rows for next time.
        """
        keeping = self._bookkeeping
        for each in self.totals.providers if provider is None else (provider,):
            async with self._publishing[each]:
                keeping.check()
                await parts.publish(
                    self.journal, self.home, each, numbers=keeping.numbers, at_step=lambda _: keeping.check()
                )

    async def save(self, status: RunStatus, stop_reason: str | None = None) -> RunRecord:
        """Write the run's record as it stands now."""
        now = datetime.now(UTC)
        tallies = await self.journal.tallies()
        books = tuple(
            replace(
                books_of(totals.balance, tallies.get(provider, Tally())),
                cap_per_s=self.lines[provider].lane.cap_per_s,
                rate_per_s=round(self.lines[provider].lane.recent_rate_per_s, 3),
            )
            for provider, totals in self.totals.providers.items()
        )
        if status is RunStatus.OUT_OF_BUDGET:
            books = tuple(replace(each, balance=over_budget(each.balance)) for each in books)
        self.record = replace(
            self.record,
            status=status,
            versions=versions(),
            updated_at=now,
            ended_at=None if status is RunStatus.RUNNING else now,
            books=books,
            stop_reason=stop_reason,
        )
        self._bookkeeping.check()
        await asyncio.to_thread(self._bookkeeping.save, self.home, self.record)
        return self.record

    async def mark_simulated(self) -> None:
        """The record says that an emulator answers, before anything it said is kept."""
        self.record = replace(self.record, simulated=True)
        await self.save(RunStatus.RUNNING)

    async def finish(self) -> RunRecord:
        """Publish what is left and close the books.

        Raises:
            FacesweepError: the books do not balance, or questions are pending: the run is not done.
        """
        tell(self.progress("publishing"))
        await self.publish()
        record = await self.save(RunStatus.RUNNING)
        if unplanned := (await self.journal.tallies()).keys() - self.totals.providers.keys():
            raise FacesweepError(f"the journal has answers of {', '.join(unplanned)}, which the plan has not")
        for books in record.books:
            if not books.balance.is_balanced or books.balance.pending:
                raise FacesweepError(f"the books do not balance: {'; '.join(explain(books.balance))}")
        return await self.save(RunStatus.DONE)

    def count(self, verdict: Verdict) -> None:
        """A row is durable: count it for those who watch; a breaker that trips ends the run."""
        if tripped := self._counts.count(verdict):
            self.stop(tripped)

    async def _is_open(self, shard: Shard) -> bool:
        """Whether any question of the shard has no final row yet; true at the first one found."""
        path = shard_path(self.home.path(f"plans/run={self.run_id}"), shard)
        return (
            await Feed(read_shard(path), self.journal, self.lines[shard.provider].policy).next() is not None
        )

    @asynccontextmanager
    async def _attended(self) -> AsyncIterator[None]:
        """While questions are asked: somebody is told, the record is kept, a request to stop is heard."""

        async def stop_when_asked() -> None:
            await stop_requested()
            self.stop()

        async def tell_and_save() -> None:
            told = 0
            while True:
                if passed := self.deadline.passed():
                    self.stop(passed)
                tell(self.progress())
                told += 1
                if told % round(SAVE_EVERY_S / TELL_EVERY_S) == 0:
                    with contextlib.suppress(UsageError):  # the journal has what matters; it may heal
                        await self.save(RunStatus.RUNNING)
                await asyncio.sleep(TELL_EVERY_S)

        coroutines = (tell_and_save(), stop_when_asked(), self._bookkeeping.attend(self))
        attending = [asyncio.create_task(each) for each in coroutines]
        try:
            yield
        finally:
            for task in attending:
                task.cancel()
            await asyncio.gather(*attending, return_exceptions=True)
            tell(self.progress())


@asynccontextmanager
async def _imports_uncollected() -> AsyncIterator[None]:
    """What is in memory already is left out of garbage collection meanwhile.

    With Prefect imported those are over a hundred thousand objects: a full collection takes some 80 ms, in
    which no call leaves, and the next ones leave bunched.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _next_end(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until a task ends; raise what it raised. The tasks that still run."""
    done, pending = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return pending
