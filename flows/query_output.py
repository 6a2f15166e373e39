"""Query results for people and for other programs."""

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from domain.errors import UsageError
from flows.wording import shown

TABLE_ROWS = 1_000
"""More rows than anybody reads on a terminal; files take them all."""


def write_rows(console: Console, rows: pa.RecordBatchReader, form: str | None, output: Path | None) -> None:
    """Write the rows as table, csv, json (one object a line) or parquet; to `output`, or to the terminal.

    Raises:
        UsageError: parquet is asked for without a file, or the file cannot be written.
    """
    suffix = output.suffix.removeprefix(".") if output else ""
    form = form or (suffix if suffix in ("csv", "json", "parquet") else None)
    form = form or ("table" if output is None and console.is_terminal else "csv")
    if output is None and form == "parquet":
        raise UsageError("--format parquet needs --output FILE")
    rows = _in_common_types(rows)
    try:
        if form == "table":
            _write_table(console, rows)
        elif output is None:
            _write(rows, form, sys.stdout.buffer)
        else:
            with output.open("wb") as file:
                _write(rows, form, file)
    except BrokenPipeError:
        raise  # whoever read it has seen enough
    except OSError as error:
        raise UsageError(f"{output or 'the output'}: cannot be written: {error.strerror}") from None


def _write(rows: pa.RecordBatchReader, form: str, file: BinaryIO) -> None:
    match form:
        case "csv":
            flat = _flat_schema(rows.schema)
            with pa.csv.CSVWriter(file, flat) as writer:
                for batch in rows:
                    writer.write_batch(_flattened(batch, flat))
        case "json":
            for batch in rows:
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    line = json.dumps(row, ensure_ascii=False, default=str) + "\n"
                    file.write(line.encode("utf-8", "backslashreplace"))
        case "parquet":
            with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
                for batch in rows:
                    writer.write_batch(batch)


def _in_common_types(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Intervals become text as ISO 8601 has them: no file format that is written here knows them."""
    intervals = [each.name for each in rows.schema if pa.types.is_interval(each.type)]
    if not intervals:
        return rows
    schema = pa.schema(
        [pa.field(each.name, pa.string() if each.name in intervals else each.type) for each in rows.schema]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            columns = [
                pa.array([_duration(cell) for cell in column.to_pylist()], pa.string())
                if field.name in intervals
                else column
                for field, column in zip(schema, batch.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _duration(cell: pa.MonthDayNano | None) -> str | None:
    """`P1M2DT3.5S`: months, days and seconds, each with its own sign."""
    if cell is None:
        return None
    seconds = Decimal(cell.nanoseconds) / 1_000_000_000
    parts = [f"{cell.months}M" if cell.months else "", f"{cell.days}D" if cell.days else ""]
    return f"P{''.join(parts)}T{seconds.normalize():f}S"


def _flat_schema(schema: pa.Schema) -> pa.Schema:
    """CSV has no lists and maps: they are written as JSON."""
    return pa.schema(
        [pa.field(each.name, pa.string() if pa.types.is_nested(each.type) else each.type) for each in schema]
    )


def _flattened(batch: pa.RecordBatch, flat: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array(
            [
                None if cell is None else json.dumps(cell, ensure_ascii=False)
                for cell in column.to_pylist(maps_as_pydicts="strict")
            ],
            pa.string(),
        )
        if pa.types.is_nested(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=flat)


def _write_table(console: Console, rows: pa.RecordBatchReader) -> None:
    table = Table(*rows.schema.names, box=None, pad_edge=False)
    more = False
    for batch in rows:
        for row in batch.to_pylist(maps_as_pydicts="strict"):
            if table.row_count == TABLE_ROWS:
                more = True
                break
            table.add_row(*("" if cell is None else shown(str(cell)) for cell in row.values()))
    console.print(table)
    if more:
        console.print(f"only the first {TABLE_ROWS:,} rows; --format csv gives all", style="dim")
