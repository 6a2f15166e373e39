"""What a list does not say of its objects, asked of their store, one by one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import Unreadable
from domain.objects import Absence
from tasks.buckets.bucket import Bucket
from tasks.buckets.listing import SCHEMA

# A look-up waits for the network, 20 to 100 ms: a few hundred a second, far below what stores bear.
THREADS = 16
_AT_ONCE = 16 * THREADS

_SAID_BY_STORE = ("etag", "size_bytes", "last_modified")


class Lookup:
    """Completes the rows of a list; counts what it did. `close` it: it has threads once it was needed."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="look-up")
        self.looked_up = 0

    def close(self) -> None:
        """End the threads; what they have begun is waited for."""
        self._pool.shutdown(cancel_futures=True)

    def complete(self, table: pa.Table) -> Iterator[pa.Table]:
        """The rows with nothing lacking, or an `Absence`. What the list says stands: the store fills gaps.

        Raises: UsageError: the store cannot be asked.
        """
        lacking = pc.is_null(table["size_bytes"])
        for column in ("last_modified", "etag"):
            lacking = pc.or_(lacking, pc.is_null(table[column]))
        complete = table.filter(pc.invert(lacking))
        if complete.num_rows:
            yield complete
        rest = table.filter(lacking)
        while rest.num_rows:
            rows = rest.slice(0, _AT_ONCE).to_pylist()
            rest = rest.slice(len(rows))
            self.looked_up += len(rows)
            yield pa.Table.from_pylist(list(self._pool.map(self._completed, rows)), schema=SCHEMA)

    def _completed(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            found = self._bucket.look_up(row["key"], row["version_id"])
        except Unreadable:
            return row | dict.fromkeys(_SAID_BY_STORE) | {"absent": Absence.DENIED}
        if found is None:
            return row | dict.fromkeys(_SAID_BY_STORE) | {"absent": Absence.GONE}
        gaps = {name: getattr(found, name) for name in _SAID_BY_STORE if row[name] is None}
        return row | gaps
