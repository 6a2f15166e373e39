"""Single rows of Parquet parts, at hand: a row group is unpacked once, and its rows are then read one by one.

Parquet is made to be read by the column. One row of a group of 50,000 takes 100 ms, each time; unpacked into
small record batches it takes 0.6 ms, and unpacking the group took 0.5 s. Measured by `benchmarks/reuse.py`.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from domain.verdicts import Verdict
from tasks.records.parts import PartDamaged
from tasks.records.schema import VERDICTS, verdict_of

PIECE_ROWS = 64  # what is decompressed for one row, about 40 KB of it
BATCH_ROWS = 2048  # 3 MB; each batch costs as much as 200 rows
MOST_OPEN = 32  # unpacked groups whose files are open

_WRITING = ipc.IpcWriteOptions(
    compression="lz4", use_threads=False
)  # twice the part's size; unpacked, five times
_READING = ipc.IpcReadOptions(use_threads=False)


@dataclass(slots=True)
class _Group:
    """An unpacked row group."""

    path: Path
    starts: npt.NDArray[np.int64]  # the first row of each piece


class Unpacked:
    """Verdicts by part and row, from files below `folder`. For one thread; `close` it before its folder goes.

    It grows on disk, up to three times the size of the parts that are read from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bounds: dict[
            Path, npt.NDArray[np.int64]
        ] = {}  # of a part: the first row of each group, and its end
        self._groups: dict[tuple[Path, int], _Group] = {}
        self._open: OrderedDict[Path, tuple[ipc.RecordBatchFileReader, ExitStack]] = OrderedDict()

    def verdict(self, part: Path, row: int) -> Verdict:
        """The verdict in that row of the part.

        Raises:
            PartDamaged: the part cannot be read, or has no such row; names it.
            FileNotFoundError: the part is gone.  OSError: nothing can be written below the folder.
        """
        if part not in self._bounds:
            self._bounds[part] = _bounds_of(part)
        bounds = self._bounds[part]
        number = int(np.searchsorted(bounds, row, side="right")) - 1
        if number >= len(bounds) - 1:
            raise PartDamaged(f"{part} lacks row {row}")
        if (part, number) not in self._groups:
            self._groups[part, number] = self._unpack(part, number)
        group = self._groups[part, number]
        row -= int(bounds[number])
        piece = int(np.searchsorted(group.starts, row, side="right")) - 1
        batch = self._reader(group.path).get_batch(piece)
        return verdict_of(batch.slice(row - int(group.starts[piece]), 1).to_pylist()[0])

    def close(self) -> None:
        """Give all files back."""
        for _, stack in self._open.values():
            stack.close()
        self._open.clear()

    def _unpack(self, part: Path, number: int) -> _Group:
        path = self._folder / f"group-{len(self._groups):06}"
        starts, rows = [], 0
        with ExitStack() as stack:
            writer = None
            for batch in _batches(part, number):
                if writer is None:
                    writer = stack.enter_context(ipc.new_file(str(path), batch.schema, options=_WRITING))
                for start in range(0, batch.num_rows, PIECE_ROWS):
                    writer.write_batch(batch.slice(start, PIECE_ROWS))
                    starts.append(rows + start)
                rows += batch.num_rows
        return _Group(path, np.array(starts))

    def _reader(self, path: Path) -> ipc.RecordBatchFileReader:
        if path in self._open:
            self._open.move_to_end(path)
        else:
            while len(self._open) >= MOST_OPEN:
                self._open.popitem(last=False)[1][1].close()
            with ExitStack() as stack:
                # Read as needed, not mapped: what was looked at once is not kept in our memory.
                source = stack.enter_context(pa.OSFile(str(path), "rb"))
                reader = stack.enter_context(ipc.open_file(source, options=_READING))
                self._open[path] = (reader, stack.pop_all())
        return self._open[path][0]


def _bounds_of(part: Path) -> npt.NDArray[np.int64]:
    try:
        with pq.ParquetFile(part) as file:
            groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # Arrow's own are ValueErrors
        raise PartDamaged(f"{part} cannot be read: {error}") from None
    return np.cumsum([0, *groups])


def _batches(part: Path, group: int) -> Iterator[pa.RecordBatch]:
    """The group's rows a batch at a time, every column that a verdict has."""
    try:
        with pq.ParquetFile(part) as file:
            fields = [field for field in file.schema_arrow if field.name in VERDICTS.names]
            # A dictionary may differ from batch to batch, which an Arrow file does not allow.
            plain = pa.schema([field.with_type(_plain(field.type)) for field in fields])
            for batch in file.iter_batches(
                BATCH_ROWS, row_groups=[group], columns=plain.names, use_threads=False
            ):
                yield batch.cast(plain)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise PartDamaged(f"{part} cannot be read: {error}") from None


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if isinstance(kind, pa.DictionaryType) else kind
