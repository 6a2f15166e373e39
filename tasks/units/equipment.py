"""What a run works with: one HTTP session, the media workers, the bucket, and a line for each provider."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from domain.runs import Progress
from domain.verdicts import Provider
from tasks.candidates import PlanTotals
from tasks.media.workers import MediaWorkers
from tasks.pacing.retry import RetryPolicy
from tasks.records.balance import Tally
from tasks.records.earlier import EarlierAnswers, earlier_parts
from tasks.records.home import Home
from tasks.records.journal import Journal
from tasks.records.run_record import RunRecord
from tasks.settings import Spec, decoder_environment
from tasks.shard.line import Line
from tasks.shard.memory import HeldBytes
from tasks.units.bookkeeping import Bookkeeping
from tasks.units.delivery import by_url_of, looking_of, may_go_by_url
from tasks.units.lanes import open_lane
from tasks.units.opening import limits_of, open_detector, open_session
from tasks.units.origin import Origin
from tasks.units.run import OpenRun
from tasks.units.sources import open_source
from tasks.units.watching import tell


@asynccontextmanager
async def equipped(
    home: Home,
    spec: Spec,
    record: RunRecord,
    totals: PlanTotals,
    journal: Journal,
    tallies: Mapping[Provider, Tally],
    bookkeeping: Bookkeeping,
    *,
    is_simulated: bool | None,
) -> AsyncIterator[OpenRun]:
    """A run, or one shard of it, with its lines open; nobody is asked yet.

    `is_simulated`: whether the home's verdicts are an emulator's; None where that is not known yet.

    Raises:
        UsageError: credentials are missing, an endpoint is not acceptable, or a library is missing.
        PartDamaged, HomeUnwritable: earlier verdicts cannot be looked through.
    """
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session())
        workers = await stack.enter_async_context(MediaWorkers(environment=decoder_environment()))
        bucket = open_source(spec.source, session)
        held = HeldBytes()

        async def open_line(run: OpenRun, provider: Provider) -> Line:
            table = spec.asked[provider]
            detector = open_detector(provider, spec, session)
            limits = limits_of(provider, spec)
            looking = looking_of(spec, workers)
            stack.push_async_callback(looking.close)
            # First, for it may take a minute: a share of the cap would lie idle meanwhile.
            earlier = await _earlier_answers(stack, run, provider, bookkeeping)
            return Line(
                run_id=record.run_id,
                audit=spec.audit.name,
                bucket=bucket,
                limits=limits,
                workers=workers,
                detector=detector,
                lane=await stack.enter_async_context(
                    open_lane(
                        provider,
                        spec,
                        run.deadline,
                        bookkeeping.priority,
                        caps=home.caps_path(record.run_id),
                        leases=bookkeeping.leases_path(home, record.run_id, provider),
                    )
                ),
                policy=RetryPolicy(),
                journal=journal,
                home=home,
                price_per_call=table.price_per_call,
                code_version=str(record.versions["facesweep"]),
                recorded=run.count,
                held=held,
                accept=origin.accept,
                by_url=by_url_of(spec, bucket, limits, detector),
                looking=looking,
                earlier=earlier,
            )

        run = OpenRun(home, spec, record, totals, journal, dict(tallies), open_line, bookkeeping)
        origin = Origin(home, is_simulated, run.mark_simulated)
        for provider in totals.providers:
            await run.open(provider)
        yield run


async def _earlier_answers(
    stack: contextlib.AsyncExitStack, run: OpenRun, provider: Provider, bookkeeping: Bookkeeping
) -> EarlierAnswers | None:
    """What others were told; None where there is nothing, nobody is asked, or all are asked again."""
    if run.record.reask is not None or not run.totals.providers[provider].asked:
        return None
    own = bookkeeping.numbers
    if not await asyncio.to_thread(earlier_parts, run.home, provider, run.run_id, own):
        return None
    tell(Progress("looking through earlier verdicts"))
    by_etag = may_go_by_url(run.spec, provider)
    return await stack.enter_async_context(
        EarlierAnswers(run.home, provider, run.run_id, own, by_etag=by_etag)
    )
