"""The files an inventory's rows stand in: as tables for DuckDB, and as lines for people."""

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Protocol, TextIO, cast

import duckdb
import pyarrow as pa

from domain.errors import UsageError
from tasks.buckets.inventory.checks import LONGEST_LINE_BYTES, check_parquet, is_gzip

_LINES_AT_ONCE = 50_000
_DELIMITERS = ",;\t|"
# DuckDB calls it a line, and counts one for a record of several.
_RECORD_OF_ERROR = re.compile(r"CSV Error on Line: (\d+)")


class Entries(Protocol):
    """The rows of one file."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def is_url_encoded(self) -> bool:
        """Whether its keys are, as in the CSV of an inventory."""
        ...

    def sql(self, connection: duckdb.DuckDBPyConnection) -> str:
        """What stands behind FROM; good for one query."""
        ...

    def place_of(self, row: int) -> str:
        """Where people find the row, counted from 1: `line 17`. Reads the file up to there."""
        ...


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(column: str) -> str:
    """The text as an SQL name."""
    return '"' + column.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class CsvEntries:
    """CSV, compressed or not. Without a header it is a part of an inventory, whose keys are url-encoded."""

    path: Path
    name: str
    columns: Sequence[str]
    has_header: bool
    delimiter: str = ","

    @property
    def is_url_encoded(self) -> bool:
        return not self.has_header

    def sql(self, connection: duckdb.DuckDBPyConnection) -> str:  # noqa: ARG002 - as all entries
        columns = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in self.columns)
        return (
            f"read_csv({literal(str(self.path))}, auto_detect = false, columns = {{{columns}}},"
            f" header = {str(self.has_header).lower()}, delim = {literal(self.delimiter)},"
            f" quote = '\"', escape = '\"', strict_mode = true,"
            f" max_line_size = {LONGEST_LINE_BYTES},"
            f" compression = '{'gzip' if is_gzip(self.path) else 'none'}')"
        )

    def place_of(self, row: int) -> str:
        rows = (start for start, record in self._records() if record)
        return _line(next(islice(rows, row - 1 + self.has_header, None), None))

    def place_of_record(self, number: int) -> str:
        """Where the record stands that is this one if header and empty lines are counted too."""
        return _line(next(islice((start for start, _ in self._records()), number - 1, None), None))

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Each record with the line it starts at, counted from 1."""
        with opened(self.path, errors="replace") as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            start = 1
            try:
                for record in reader:
                    yield start, record
                    start = reader.line_num + 1
            except csv.Error:  # a cell too large for Python's reader, and for anybody's key
                yield start, ["…"]


def _line(number: int | None) -> str:
    return "some line" if number is None else f"line {number}"  # none: Python's reader stopped before it


@dataclass(frozen=True, slots=True)
class ParquetEntries:
    """Parquet, of an inventory or of somebody's own making."""

    path: Path
    name: str
    columns: Sequence[str]
    is_url_encoded: bool = False

    def sql(self, connection: duckdb.DuckDBPyConnection) -> str:  # noqa: ARG002 - as all entries
        return f"read_parquet({literal(str(self.path))}, hive_partitioning = false)"

    def place_of(self, row: int) -> str:
        return f"row {row}"


@dataclass(frozen=True, slots=True)
class LineEntries:
    """One url or key for each line, verbatim; blank lines are none."""

    path: Path
    name: str
    columns: Sequence[str] = ("url",)
    is_url_encoded: bool = False

    def sql(self, connection: duckdb.DuckDBPyConnection) -> str:
        schema = pa.schema([("url", pa.string())])
        batches = (pa.RecordBatch.from_pydict({"url": lines}, schema=schema) for lines in self._batches())
        connection.register("lines", pa.RecordBatchReader.from_batches(schema, batches))
        return "lines"

    def check(self) -> None:
        """Read it once. Raises: UsageError: it is not UTF-8, or a line is too long."""
        for _ in self._lines():
            pass

    def place_of(self, row: int) -> str:
        lines = (number for number, line in enumerate(self._lines(), start=1) if line.strip())
        return f"line {next(islice(lines, row - 1, None))}"

    def _batches(self) -> Iterator[list[str]]:
        lines = (line for line in self._lines() if line.strip())
        while batch := list(islice(lines, _LINES_AT_ONCE)):
            yield batch

    def _lines(self) -> Iterator[str]:
        with opened(self.path) as file:
            number = 0
            while True:
                number += 1
                try:
                    line = file.readline(LONGEST_LINE_BYTES)
                except UnicodeDecodeError:
                    raise UsageError(f"{self.name}, line {number} or soon after: it is not UTF-8") from None
                if not line:
                    return
                if len(line) == LONGEST_LINE_BYTES:
                    raise UsageError(f"{self.name}, line {number}: it is too long for a url or a key")
                yield line.removesuffix("\n").removesuffix("\r")


class Kind(StrEnum):
    """What a list may be called, before `.gz` where it is compressed."""

    CSV = ".csv"
    LINES = ".txt"
    PARQUET = ".parquet"


def kind_of(name: str) -> Kind:
    """What the file is, by its name. Raises: UsageError: something else."""
    bare = name.lower().removesuffix(".gz")
    for kind in Kind:
        if bare.endswith(kind):
            return kind
    raise UsageError(
        f"{name} is no inventory facesweep reads: give the manifest.json of an S3 or OSS inventory, or a "
        "list of objects as .csv, .txt (either may be .gz) or .parquet"
    )


def open_list(path: Path, name: str) -> Entries:
    """The entries of a list that people made.

    Raises: UsageError: it is not what it is called.
    """
    match kind_of(name):
        case Kind.LINES:
            entries = LineEntries(path, name)
            entries.check()
            return entries
        case Kind.PARQUET:
            return open_parquet(path, name)
        case Kind.CSV:
            with opened(path, errors="replace") as file:
                head = file.readline(LONGEST_LINE_BYTES)
            delimiter = max(_DELIMITERS, key=head.count)
            try:
                said = next(csv.reader([head], delimiter=delimiter), [])
            except csv.Error:  # a name too large for Python's reader, and for anybody's column
                said = []
            # Tables are often written with an index in front, whose column has no name.
            columns = [column or f"column {number}" for number, column in enumerate(said, start=1)]
            if len({column.lower() for column in columns}) < len(columns) or not columns:
                raise UsageError(
                    f"{name}, line 1: it has to name the columns, each once; it says {head[:200].strip()!r}"
                )
            return CsvEntries(path, name, columns, has_header=True, delimiter=delimiter)


def open_parquet(path: Path, name: str) -> ParquetEntries:
    """The entries of a Parquet file. Raises: UsageError: it is none, or a bomb."""
    return ParquetEntries(path, name, check_parquet(path, name))


@contextmanager
def opened(path: Path, errors: str = "strict") -> Iterator[TextIO]:
    """The file as UTF-8 text with its line ends, unpacked where it is gzip."""
    open_file = gzip.open if is_gzip(path) else open
    with cast("TextIO", open_file(path, "rt", encoding="utf-8-sig", errors=errors, newline="\n")) as file:
        yield file


def wrong_row(entries: Entries, error: Exception) -> UsageError:
    """One sentence for a file that DuckDB cannot read, without what DuckDB quotes of it.

    The error is DuckDB's own, or Arrow's with the same words: what goes wrong behind the first rows.
    """
    said = str(error)
    record = _RECORD_OF_ERROR.search(said)
    where = entries.name
    if record and isinstance(entries, CsvEntries):
        where += f", {entries.place_of_record(int(record[1]))}"
    for sign, sentence in _SAID.items():
        if sign in said:
            return UsageError(f"{where}: {sentence}")
    return UsageError(f"{where}: it cannot be read")


_SAID = {
    "Expected Number of Columns": "it has not the columns it should have; quote what holds a comma",
    "Invalid unicode": "it is not UTF-8",
    "unterminated quote": "a quote is not closed",
    "Maximum line size": "it is too long for a row about one object",
}
