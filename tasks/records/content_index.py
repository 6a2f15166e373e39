"""Where the verdict about a content lies: a sorted file of hashes, built from Parquet parts alone.

The hashes are the contents' SHA-256, or the MD5 that an ETag may be: for objects that were never fetched.

One 16-byte record for each content: the first 64 bits of its SHA-256, the part and the row in it. Hashes
are spread evenly, so rows are dealt into ranges of about one size, and each range is sorted in memory:
however many rows there are, a batch of them and one range are all that is held. (DuckDB sorts them in the
same time with twice the memory, and gives up below a limit that hangs on the parts.)

A lookup reads the one block of the file that its hash can be in; which one that is, is kept in memory.
"""

import binascii
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.verdicts import Outcome
from tasks.records.parts import PartDamaged

LENT = (Outcome.SCORED, Outcome.REUSED, Outcome.REFUSED)
"""What may be repeated: the provider's own words. `unfit` is ours, and hangs on limits a spec can move."""

BLOCK_RECORDS = 256  # 4 KiB, one page; ten million records have 39,000 blocks: 0.3 MB in memory
BATCH_ROWS = 1 << 15  # 2 MB of hashes
RANGE_ROWS = 1 << 17  # at most, of rows of the least size; 5 MB, and some 20 MB while they are sorted
MOST_RANGES = 256  # files open at once; where there are more rows, ranges grow

_LEAST_ROW_BYTES = 100  # a row holds six hashes and ids: 230 bytes and more, compressed
_REPEATED = 1 << 60  # µs: rows that repeat another rank behind all that were asked
_RECORD = np.dtype([("prefix", "<u8"), ("part", "<u4"), ("row", "<u4")])
_DEALT = np.dtype([("prefix", "<u8"), ("rest", "<u8"), ("rank", "<i8"), ("part", "<u4"), ("row", "<u4")])
_COLUMNS = ["outcome", "reused_from", "settled_at"]

Records = npt.NDArray[Any]


class Hash(Enum):
    """The column that holds the hash, and how many hex digits it has."""

    CONTENT = ("content_sha256", 64)
    ETAG = ("etag", 32)  # an MD5; other ETags are not indexed


class ContentIndex:
    """Which rows may be about a content. Made by `build`; safe to use from several threads until `close`."""

    def __init__(self, path: Path, parts: Sequence[Path], fences: npt.NDArray[np.uint64]) -> None:
        self._parts = parts
        self._fences = fences  # the first hash of each block
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def build(
        cls,
        parts: Sequence[Path],
        folder: Path,
        at_step: Callable[[str], None] = lambda _: None,
        of: Hash = Hash.CONTENT,
    ) -> Self:
        """Index what one provider said in these parts; the index and its makings lie in `folder`.

        Of several rows about one content the one asked last is kept, else the last that repeats another.
        `at_step` is told `reading` before each part, `dealt` and `sorted`.

        Raises:
            PartDamaged: a part cannot be read; names it.  FileNotFoundError: a part is gone.
            OSError: the index cannot be written.
        """
        ranges = _deal(parts, folder, at_step, of)
        at_step("dealt")
        path = folder / "index"
        fences = []
        records = 0
        with path.open("wb") as file:
            for each in ranges:
                best = _best(np.fromfile(each, _DEALT))
                each.unlink()
                fences.append(best["prefix"][-records % BLOCK_RECORDS :: BLOCK_RECORDS].copy())
                file.write(best.tobytes())
                records += len(best)
        at_step("sorted")
        return cls(path, parts, np.concatenate(fences))

    def rows_about(self, hex_hash: str) -> Iterator[tuple[Path, int]]:
        """Part and row of each verdict that may be about the content: seldom more than one.

        They share the first 64 bits of its hash; whoever uses a row compares the rest.
        """
        prefix = np.uint64(int(hex_hash[:16], 16))
        # Where it is the first of a block, the block before may end with it too.
        block = max(int(np.searchsorted(self._fences, prefix)) - 1, 0)
        while block < len(self._fences) and self._fences[block] <= prefix:
            records = self._block(block)
            first = np.searchsorted(records["prefix"], prefix, side="left")
            last = np.searchsorted(records["prefix"], prefix, side="right")
            for record in records[first:last]:
                yield self._parts[record["part"]], int(record["row"])
            block += 1

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def _block(self, number: int) -> Records:
        size_bytes = BLOCK_RECORDS * _RECORD.itemsize
        return np.frombuffer(os.pread(self._file, size_bytes, number * size_bytes), _RECORD)


def _deal(parts: Sequence[Path], folder: Path, at_step: Callable[[str], None], of: Hash) -> list[Path]:
    """Files of `_DEALT` records, each with one range of hashes, in the order of their ranges."""
    most_rows = sum(part.stat().st_size for part in parts) // _LEAST_ROW_BYTES
    paths = [folder / f"range-{number:03}" for number in range(min(1 + most_rows // RANGE_ROWS, MOST_RANGES))]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for number, part in enumerate(parts):
            at_step("reading")
            for dealt in _read(part, number, of):
                # The first 16 bits of the hash, scaled; numpy sorts 16 bits ten times as fast as 64.
                scaled = (dealt["prefix"] >> np.uint64(48)) * np.uint64(len(files))
                range_of = (scaled >> np.uint64(16)).astype(np.uint16)
                order = np.argsort(range_of, kind="stable")
                bounds = np.searchsorted(range_of[order], np.arange(len(files) + 1))
                for index in np.flatnonzero(np.diff(bounds)):
                    files[index].write(dealt[order[bounds[index] : bounds[index + 1]]].tobytes())
    return paths


def _read(part: Path, number: int, of: Hash) -> Iterator[Records]:
    """The part's rows that may be repeated, as `_DEALT` records, a batch at a time."""
    row = 0
    try:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=[of.value[0], *_COLUMNS], use_threads=False):
                yield _dealt(batch, number, row, of)
                row += batch.num_rows
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:  # Arrow's own are ValueErrors and KeyErrors
        raise PartDamaged(f"{part} cannot be read: {error}") from None


def _dealt(batch: pa.RecordBatch, part: int, first_row: int, of: Hash) -> Records:
    compute: Any = pc  # its stubs know too few of its types
    column, digits_of_a_hash = of.value
    content = batch.column(column).cast(pa.string())
    is_hash = compute.equal(compute.binary_length(content), digits_of_a_hash)
    if of is Hash.ETAG:  # a store's, and any store's: 32 characters may be anything
        is_hash = compute.and_(is_hash, compute.match_substring_regex(content, "^[0-9a-fA-F]+$"))
    is_hash = compute.fill_null(is_hash, False)
    is_lent = compute.is_in(batch.column("outcome").cast(pa.string()), value_set=pa.array(LENT, pa.string()))
    is_lent = compute.and_(is_lent, is_hash)
    rows = np.flatnonzero(is_lent.to_numpy(zero_copy_only=False))
    dealt = np.empty(len(rows), _DEALT)
    digits = content.filter(is_lent).buffers()[2]
    if len(rows) and digits is not None:
        hashes = np.frombuffer(binascii.unhexlify(digits), ">u8").reshape(len(rows), -1)
        settled_us = batch.column("settled_at").cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        is_repeated = batch.column("reused_from").is_valid().to_numpy(zero_copy_only=False)
        dealt["prefix"], dealt["rest"] = hashes[:, 0], hashes[:, 1]
        dealt["rank"] = np.where(is_repeated, _REPEATED, 0)[rows] - settled_us.to_numpy()[rows]
        dealt["part"] = part
        dealt["row"] = first_row + rows
    return dealt


def _best(dealt: Records) -> Records:
    """One `_RECORD` for each content, the best ranked, in the order of the hashes.

    Two contents that share 128 bits of their hashes would count as one here. Whoever finds the row compares
    all 256, so the worst of it is a call that could have been spared.
    """
    dealt = dealt[np.argsort(dealt["rank"], kind="stable")]
    dealt = dealt[np.argsort(dealt["prefix"], kind="stable")]
    is_first = np.ones(len(dealt), bool)
    is_first[1:] = (dealt["prefix"][1:] != dealt["prefix"][:-1]) | (dealt["rest"][1:] != dealt["rest"][:-1])
    kept = dealt[is_first]
    records = np.empty(len(kept), _RECORD)
    for name in _RECORD.names or ():
        records[name] = kept[name]
    return records
