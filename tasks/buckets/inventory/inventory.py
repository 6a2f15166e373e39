"""The rows of an inventory as a listing's."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import UsageError
from domain.objects import Absence, ObjectRef, Store
from tasks.buckets.bucket import Bucket, Location
from tasks.buckets.inventory.checks import check_file
from tasks.buckets.inventory.entries import (
    CsvEntries,
    Entries,
    Kind,
    ParquetEntries,
    kind_of,
    open_list,
    open_parquet,
    wrong_row,
)
from tasks.buckets.inventory.fields import Fields, find_fields
from tasks.buckets.inventory.lookup import Lookup
from tasks.buckets.inventory.manifest import Manifest
from tasks.buckets.inventory.places import Part, Shelf
from tasks.buckets.inventory.rows import WRONG, RowSql
from tasks.buckets.listing import ROWS_PER_GROUP, SCHEMA

MEMORY_LIMIT_BYTES = 512 * 1024 * 1024  # DuckDB's; rows stream through it
THREADS = 2

# What a file itself says of them is another file's once it was copied: a listing goes by the folder alone.
_NOT_OF_LOCAL_FILES = ("bucket", "version_id", "etag", "size_bytes", "last_modified")


@dataclass(slots=True)
class InventoryTotals:
    """Where the rows of an inventory went: rows = listed + left out."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # by LeftOut
    absent: Counter[str] = field(default_factory=Counter)  # of the listed ones, by Absence
    looked_up: int = 0

    @property
    def listed(self) -> int:
        return self.rows - self.left_out.total()


class Inventory:
    """An inventory that was found and opened; `tables` reads it, once.

    Rows of versions that are not the current ones, of delete markers, and of a manifest's keys outside the
    source's prefix are left out, as a listing would, and counted. Current versions have no version id, as in
    a listing: an object is the same one whoever named it.
    """

    def __init__(
        self,
        name: str,
        shelf: Shelf,
        parts: Sequence[Part],
        source: Location,
        columns: Mapping[str, str],
        manifest: Manifest | None = None,
    ) -> None:
        self.name, self.parts = name, parts
        self.totals = InventoryTotals()
        self._shelf, self._source, self._columns, self._manifest = shelf, source, columns, manifest

    @property
    def made_at(self) -> datetime | None:
        """When the store looked at the bucket; None for lists that people made."""
        return self._manifest.made_at if self._manifest else None

    def tables(self, bucket: Bucket, parts: Sequence[Part] | None = None) -> Iterator[pa.Table]:
        """Tables of `SCHEMA`, in flat memory: one part at a time is on this disk.

        Args:   bucket: the source, to be asked for what the rows lack.  parts: fewer than all.
        Raises: UsageError: a part is missing, damaged or not the one the manifest means; a row says what
                cannot be; the store cannot be asked, or shows none of the objects. Names file and line.
        """
        with _duckdb() as connection, closing(Lookup(bucket)) as lookup:
            for part in self.parts if parts is None else parts:
                with self._shelf.fetched(part) as path:
                    has_lines = self._is_csv(part)
                    check_file(path, part.name, part.size_bytes, part.md5, has_lines=has_lines)
                    for table in self._rows_of(self._entries(part, path), connection):
                        for complete in lookup.complete(table):
                            self.totals.absent += _counted(complete["absent"])
                            yield complete
                        self.totals.looked_up = lookup.looked_up
        if self.totals.listed and self.totals.absent[Absence.DENIED] == self.totals.listed:
            raise UsageError(
                f"{self._source.url} shows these keys no object of {self.name}: allow them to read objects"
            )

    def _is_csv(self, part: Part) -> bool:
        if self._manifest is None:
            return kind_of(part.name) is Kind.CSV
        return not self._manifest.is_parquet

    def _entries(self, part: Part, path: Path) -> Entries:
        if self._manifest is None:
            return open_list(path, part.name)
        if self._manifest.is_parquet:
            return open_parquet(path, part.name)
        return CsvEntries(path, part.name, self._manifest.columns, has_header=False)

    def _rows_of(self, entries: Entries, connection: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
        """The rows that belong into the listing, as far as the file tells about them."""
        for batch in self._batches_of(entries, connection):
            table = pa.Table.from_batches([batch])
            self.totals.rows += table.num_rows
            if pc.any(pc.is_valid(table["wrong"])).as_py():
                raise self._wrong(entries, connection)
            self.totals.left_out += _counted(table["left_out"])
            kept = table.filter(pc.is_null(table["left_out"]))
            absent = pa.nulls(kept.num_rows, pa.string())
            yield kept.append_column("absent", absent).select(SCHEMA.names).cast(SCHEMA)

    def _batches_of(
        self, entries: Entries, connection: duckdb.DuckDBPyConnection
    ) -> Iterator[pa.RecordBatch]:
        try:
            yield from connection.execute(self._sql(entries, connection)).to_arrow_reader(ROWS_PER_GROUP)
        except duckdb.OutOfMemoryException:
            raise  # our doing
        except (duckdb.Error, pa.ArrowException, OSError) as error:  # behind the first batch Arrow says it
            raise wrong_row(entries, error) from None

    def _sql(self, entries: Entries, connection: duckdb.DuckDBPyConnection) -> str:
        fields = find_fields(entries.columns, self._columns, entries.name)
        if self._source.store is Store.LOCAL:
            kept = {name: fields.columns[name] for name in fields.columns if name not in _NOT_OF_LOCAL_FILES}
            fields = Fields(kept)
        types = {}
        if isinstance(entries, ParquetEntries):
            described = connection.execute(f"DESCRIBE FROM {entries.sql(connection)}").fetchall()
            types = {row[0]: row[1] for row in described}
        is_manifest = self._manifest is not None
        rows = RowSql(self._source, fields, is_manifest, entries.is_url_encoded, types)
        return rows.select(entries.sql(connection))

    def _wrong(self, entries: Entries, connection: duckdb.DuckDBPyConnection) -> UsageError:
        """One sentence about the first wrong row. Reads the file again, to count the lines."""
        sql = self._sql(entries, connection)
        try:
            first = connection.execute(
                f"SELECT row, wrong, said FROM (SELECT row_number() OVER () AS row, * FROM ({sql}))"  # noqa: S608
                " WHERE wrong IS NOT NULL ORDER BY row LIMIT 1"
            ).fetchone()
        except duckdb.Error as error:  # a row behind it cannot even be read
            return wrong_row(entries, error)
        row, wrong, said = first or (1, "nothing", "")
        # A url that people listed may carry a signature.
        sentence = WRONG[wrong].format(said=repr(said.partition("?")[0][:200]), source=self._source.url)
        return UsageError(f"{entries.name}, {entries.place_of(row)}: {sentence}")


def open_inventory(
    place: Location, own_bucket: Bucket, source: Location, columns: Mapping[str, str], work_dir: Path
) -> Inventory:
    """The inventory at `place`: a manifest.json, or a list by the name of its file.

    Args:   own_bucket: where `place` is.  source: what the inventory is of.
            columns: which column says what, where it is not known by its name.
            work_dir: for the parts of an inventory in a bucket, one at a time.
    Raises: UsageError: it is not there, is of another bucket, or of a kind that cannot be read.
    """
    shelf = Shelf(place, own_bucket, work_dir)
    itself = shelf.first
    if not itself.key.lower().endswith(".json"):
        kind_of(itself.name)
        return Inventory(itself.name, shelf, [itself], source, columns)
    manifest = shelf.manifest()
    if source.store is Store.LOCAL or manifest.source_bucket != source.bucket:
        raise UsageError(
            f"{itself.name} is an inventory of bucket {manifest.source_bucket!r}, and source.url is "
            f"{source.url}"
        )
    return Inventory(itself.name, shelf, shelf.parts_of(manifest), source, columns, manifest)


def first_object(inventory: Inventory, bucket: Bucket, most_bytes: int) -> ObjectRef | None:
    """The first object of the inventory's smallest part that is there, not empty and no larger; or None.

    Raises: UsageError: as `Inventory.tables`.
    """
    smallest = sorted(inventory.parts, key=lambda part: part.size_bytes or 0)[:1]
    for table in inventory.tables(bucket, smallest):
        for row in table.to_pylist():
            if row["size_bytes"] is not None and 0 < row["size_bytes"] <= most_bytes:
                known = {name: row[name] for name in ObjectRef.__dataclass_fields__}
                return ObjectRef(**known | {"store": Store(row["store"])})
    return None


def _counted(column: "pa.ChunkedArray[pa.StringScalar]") -> Counter[str]:
    """How often each text stands in the column."""
    return Counter(text for text in column.drop_null().to_pylist() if text is not None)


@contextmanager
def _duckdb() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(
        config={
            "memory_limit": f"{MEMORY_LIMIT_BYTES}B",
            "threads": THREADS,
            # Reading stays within this machine: nothing is fetched for it.
            "autoinstall_known_extensions": False,
        }
    )
    try:
        connection.execute("SET enable_progress_bar = false")  # it would be drawn into our output
        connection.execute("SET TimeZone = 'UTC'")  # a time without a zone is in UTC
        yield connection
    finally:
        connection.close()
