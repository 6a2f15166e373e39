"""The verdicts' Parquet columns, schema version 3: exactly the fields of `Verdict`, in their order.

Strings are plain strings, but for `provider`, which is both a column and a folder's name (`provider=<p>`).
pandas and pyarrow take a folder's name for a dictionary and refuse to merge it with a string column, so
the column is a dictionary too: `pandas.read_parquet("verdicts/")` then reads the whole folder as it is.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import pyarrow as pa

from domain.verdicts import SCHEMA_VERSION, Verdict

_COLUMN_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    datetime: pa.timestamp("us", tz="UTC"),
    tuple[str, ...]: pa.list_(pa.string()),
    dict[str, float]: pa.map_(pa.string(), pa.float64()),
}

FOLDER_NAME = pa.dictionary(pa.int32(), pa.string())  # as pyarrow types the names of hive folders


def _column(name: str, hint: Any) -> "pa.Field[Any]":
    optional = isinstance(hint, types.UnionType)
    plain = next(kind for kind in get_args(hint) if kind is not type(None)) if optional else hint
    kind = FOLDER_NAME if name == "provider" else _COLUMN_TYPES[plain]
    return pa.field(name, kind, nullable=optional)


_HINTS = get_type_hints(Verdict)

VERDICTS: pa.Schema = pa.schema(
    [_column(field.name, _HINTS[field.name]) for field in dataclasses.fields(Verdict)],
    metadata={"facesweep.schema_version": str(SCHEMA_VERSION)},
)


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """The verdict of a row as Arrow gives it to Python; a column that an older version lacks is None."""
    values: dict[str, Any] = {name: row.get(name) for name in VERDICTS.names}
    values |= {name: tuple(row[name]) for name in ("tags", "tags_raw")}
    return Verdict(**{**values, "scores": dict(row["scores"])})


def table_of(verdicts: Iterable[Verdict]) -> pa.Table:
    """The verdicts as one Arrow table with the columns and types of `VERDICTS`, in the given order.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: a field holds a value of another type.
    """
    rows = verdicts if isinstance(verdicts, Sequence) else list(verdicts)
    columns = []
    for field in VERDICTS:
        values = map(attrgetter(field.name), rows)
        if pa.types.is_map(field.type):
            columns.append(pa.array([list(each.items()) for each in values], field.type))
        else:
            columns.append(pa.array(list(values), field.type))
    return pa.Table.from_arrays(columns, schema=VERDICTS)
