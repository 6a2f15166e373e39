"""Whether an audit could start: credentials, clock, ways and places, found out without a billed call."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from domain.errors import FacesweepError
from domain.verdicts import Provider
from tasks.records.home import Home
from tasks.settings import Spec
from tasks.shard.trip import MOST_FETCHED_BYTES
from tasks.units.caps import lane_now
from tasks.units.opening import open_detector, open_home, open_session
from tasks.units.sources import find_object, open_source

ON_DISK = "prefect.server.concurrency.lease_storage.filesystem"
"""Where a Prefect server keeps leases over a restart."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    is_well: bool
    sentence: str


async def examine(spec: Spec) -> AsyncIterator[Check]:
    """Look at the source, the home and each provider; a check that fails does not hide the next one.

    Providers are sent one signed call without media each: it tells whether the key works and what the
    provider's clock says, and cannot be billed.
    """
    yield await _check_source(spec)
    yield await asyncio.to_thread(_check_home, spec)
    async with open_session() as session:
        for provider in spec.asked:
            try:
                probe = await open_detector(provider, spec, session).probe()
            except FacesweepError as error:
                yield Check(provider, is_well=False, sentence=str(error))
            else:
                skew_s = probe.clock_skew_s
                clock = "" if skew_s is None else f"; this clock is {skew_s:+.0f} s from the provider's"
                yield Check(provider, probe.ready, probe.sentence + clock)
            yield await _check_lane(provider, spec)


async def _check_source(spec: Spec) -> Check:
    source = spec.source
    try:
        async with open_session() as session:
            bucket = open_source(source, session)
            with tempfile.TemporaryDirectory() as folder:
                found = await asyncio.to_thread(find_object, source, bucket, MOST_FETCHED_BYTES, Path(folder))
            if found is None:
                where = source.inventory or source.url
                return Check(
                    "source", is_well=False, sentence=f"{where} can be read but names nothing that is there"
                )
            await bucket.fetch(found, MOST_FETCHED_BYTES)
    except FacesweepError as error:
        return Check("source", is_well=False, sentence=f"{source.url}: {error}")
    how = f"read, and so can {source.inventory}" if source.inventory else "listed and read"
    return Check("source", is_well=True, sentence=f"{source.url} can be {how}")


async def _check_lane(provider: Provider, spec: Spec) -> Check:
    try:
        lane = await lane_now(provider, spec)
    except FacesweepError as error:
        sentence = f"{error}: calls to {provider} would wait until it answers; see PREFECT_API_URL"
        return Check("lane", is_well=False, sentence=sentence)
    remark = (
        ""
        if not lane.forgets
        else "; a restart of the server forgets who holds what: set PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE "
        f"there to {ON_DISK}"
    )
    return Check("lane", is_well=True, sentence=f"{lane}{remark}")


def _check_home(spec: Spec) -> Check:
    try:
        home: Home = open_home(spec.home, spec.audit.home_endpoint_url, spec.audit.home_region)
        with home.staging():
            if home.is_in_bucket:  # a folder that can be staged in can be written; a bucket has to be tried
                home.write_json("doctor.json", {"written_by": "facesweep doctor"})
    except FacesweepError as error:
        return Check("home", is_well=False, sentence=f"{spec.home}: {error}")
    return Check("home", is_well=True, sentence=f"{spec.home} can be written")
