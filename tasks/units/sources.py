"""Where an audit's objects come from: a listing of its bucket, or an inventory of it."""

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

import aiohttp

from domain.errors import Stopped, UsageError
from domain.objects import ObjectRef, Store
from domain.runs import Progress
from tasks.buckets.bucket import Bucket, parse_location
from tasks.buckets.inventory import Inventory, InventoryTotals, first_object, open_inventory
from tasks.buckets.listing import write_listing, write_tables
from tasks.settings import Source
from tasks.units.opening import open_bucket
from tasks.units.watching import tell

INVENTORY_FILE = "inventory.json"
"""Beside a listing's parts: which inventory it was made from, and where its rows went."""

T = TypeVar("T", bound=Sized)


async def list_source(source: Source, folder: Path) -> InventoryTotals | None:
    """Write the source's objects to `folder`/listing; where an inventory's rows went, if it was one.

    Raises:
        UsageError: the source cannot be listed, or its inventory cannot be read.
    """
    stop = threading.Event()
    try:
        return await asyncio.to_thread(_list, source, folder, stop)
    except asyncio.CancelledError:
        stop.set()  # a thread is not cancelled with whoever waits for it
        raise


def find_object(source: Source, bucket: Bucket, most_bytes: int, work_dir: Path) -> ObjectRef | None:
    """Some object of the source that is neither empty nor larger; None where there is none.

    Raises:
        UsageError: as `list_source`.
    """
    if source.inventory is not None:
        return first_object(_inventory_of(source, work_dir), bucket, most_bytes)
    for batch in bucket.list_batches():
        for each in batch:
            if 0 < each.size_bytes <= most_bytes:
                return each
    return None


def open_source(source: Source, http: aiohttp.ClientSession | None = None) -> Bucket:
    """The bucket the objects are in. Raises: UsageError: see `open_bucket`."""
    return open_bucket(parse_location(source.url), source.endpoint_url, source.region, http)


def _list(source: Source, folder: Path, stop: threading.Event) -> InventoryTotals | None:
    bucket, listing = open_source(source), folder / "listing"
    if source.inventory is None:
        write_listing(_told(bucket.list_batches(), stop), listing)
        return None
    inventory = _inventory_of(source, folder)
    write_tables(_told(inventory.tables(bucket), stop), listing)
    described = {
        "inventory": inventory.name,
        "made_at": inventory.made_at and inventory.made_at.isoformat(),
        "parts": len(inventory.parts),
        "rows": inventory.totals.rows,
        "listed": inventory.totals.listed,
        "left_out": inventory.totals.left_out,
        "looked_up": inventory.totals.looked_up,
        "absent": inventory.totals.absent,
    }
    text = json.dumps(described, ensure_ascii=False, indent=2) + "\n"
    (listing / INVENTORY_FILE).write_text(text, encoding="utf-8", errors="backslashreplace")
    return inventory.totals


def _inventory_of(source: Source, work_dir: Path) -> Inventory:
    if source.inventory is None:
        raise UsageError("the source has no inventory")
    place, source_place = parse_location(source.inventory), parse_location(source.url)
    endpoint_url, region = source.inventory_endpoint_url, source.inventory_region
    if place.store is source_place.store:
        endpoint_url = endpoint_url or source.endpoint_url
        # Amazon's buckets say themselves where they are, and the inventory's may be elsewhere.
        if endpoint_url is not None or place.store is Store.OSS:
            region = region or source.region
    own_bucket = open_bucket(place, endpoint_url, region)
    return open_inventory(place, own_bucket, source_place, source.column_names, work_dir)


def _told(batches: Iterable[T], stop: threading.Event) -> Iterator[T]:
    """The batches, and word of how many objects they have brought so far, until told to stop."""
    listed = 0
    for batch in batches:
        if stop.is_set():
            raise Stopped("interrupted while listing")
        listed += len(batch)
        tell(Progress("listing", listed))
        yield batch
