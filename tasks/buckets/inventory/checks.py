"""Files of an inventory before anybody reads them: the right ones, whole, and no bombs."""

import hashlib
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from domain.errors import UsageError

# Inventories shrink to a tenth or so; a thousand zeros to one byte are somebody's joke.
MOST_TIMES_LARGER = 200
_ALLOWANCE_BYTES = 64 * 1024 * 1024
# Each row has a name of its own, which takes some bytes even when its neighbours are much like it.
_MOST_ROWS_PER_BYTE = 4
_ALLOWANCE_ROWS = 100_000

_CHUNK_BYTES = 1024 * 1024

# A key has 1,024 bytes at most, twice that once quoted: what is longer is no list of objects.
LONGEST_LINE_BYTES = 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


def is_gzip(path: Path) -> bool:
    """Whether the file is compressed, whatever it is called."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def check_file(
    path: Path,
    name: str,
    size_bytes: int | None = None,
    md5: str | None = None,
    *,
    has_lines: bool = False,
) -> None:
    """Read the file once, in flat memory; where it is gzip, also unpack it; `has_lines` of CSV.

    DuckDB takes a gzip stream that ends too soon for a complete one, and may leave out a row of tens of
    megabytes without a word, so this is where it is found out.

    Raises: UsageError: not the size or checksum expected, cut off, damaged, `MOST_TIMES_LARGER` inside, or
            a line is longer than `LONGEST_LINE_BYTES`.
    """
    found, digest, lines = 0, hashlib.md5(usedforsecurity=False), _Lines()
    unpacking = _Unpacking(path, lines) if is_gzip(path) else None
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found += len(chunk)
            digest.update(chunk)
            if unpacking is None:
                lines.feed(chunk)
            else:
                unpacking.feed(chunk)
    # Not the right file is the better reason than what is wrong with it.
    if size_bytes is not None and found != size_bytes:
        raise UsageError(f"{name} has {found} bytes and not the {size_bytes} of its manifest: copy it again")
    if md5 is not None and digest.hexdigest() != md5:
        raise UsageError(
            f"{name} has the MD5 {digest.hexdigest()} and not the {md5} of its manifest: copy it again"
        )
    if unpacking is not None and (fault := unpacking.fault()):
        raise UsageError(f"{name} is {fault}")
    if has_lines and lines.too_long is not None:
        raise UsageError(f"{name}, line {lines.too_long}: it is too long for a row about one object")


class _Lines:
    """Text that is read by the piece: which line of it is the first that goes on and on, if any."""

    def __init__(self) -> None:
        self.too_long: int | None = None
        self._number, self._size_bytes = 1, 0  # of the line that is open

    def feed(self, piece: bytes) -> None:
        """A piece of at most `LONGEST_LINE_BYTES`: no line within it is too long."""
        end = piece.find(b"\n")
        if self.too_long is None and self._size_bytes + (len(piece) if end < 0 else end) > LONGEST_LINE_BYTES:
            self.too_long = self._number
        self._number += piece.count(b"\n")
        self._size_bytes = self._size_bytes + len(piece) if end < 0 else len(piece) - 1 - piece.rfind(b"\n")


class _Unpacking:
    """A gzip file whose text is looked at and not kept: one stream, or several behind each other."""

    def __init__(self, path: Path, lines: _Lines) -> None:
        self._fault, self._lines = "", lines
        self._most_bytes = path.stat().st_size * MOST_TIMES_LARGER + _ALLOWANCE_BYTES
        self._stream = zlib.decompressobj(wbits=31)
        self._bytes = 0

    def feed(self, chunk: bytes) -> None:
        unpacked = 0
        while (chunk or unpacked == _CHUNK_BYTES) and not self._fault:  # taken in, and more may come out
            if self._stream.eof:
                self._stream = zlib.decompressobj(wbits=31)
            try:
                piece = self._stream.decompress(chunk, _CHUNK_BYTES)
            except zlib.error:
                self._fault = "damaged: it cannot be unpacked as gzip"
                return
            unpacked = len(piece)
            self._lines.feed(piece)
            self._bytes += unpacked
            if self._bytes > self._most_bytes:
                self._fault = (
                    f"over {MOST_TIMES_LARGER} times larger unpacked than packed, as no inventory is: "
                    "facesweep does not read it"
                )
            if self._stream.eof:
                chunk, unpacked = self._stream.unused_data, 0
            else:
                chunk = self._stream.unconsumed_tail

    def fault(self) -> str:
        """What is wrong with it, once all was fed; nothing if it is well."""
        return self._fault or ("" if self._stream.eof else "cut off: the end of it is missing; copy it again")


def check_parquet(path: Path, name: str) -> list[str]:
    """The columns by the Parquet file's footer.

    Raises: UsageError: it has none, or promises more than a file of that size can hold.
    """
    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError):
        raise UsageError(f"{name} is no Parquet file, or a damaged one") from None
    size_bytes = path.stat().st_size
    unpacked_bytes = sum(footer.row_group(number).total_byte_size for number in range(footer.num_row_groups))
    if (
        unpacked_bytes > size_bytes * MOST_TIMES_LARGER + _ALLOWANCE_BYTES
        or footer.num_rows > size_bytes * _MOST_ROWS_PER_BYTE + _ALLOWANCE_ROWS
    ):
        raise UsageError(
            f"{name} says it holds {footer.num_rows} rows in {size_bytes} bytes, as no inventory does: "
            "facesweep does not read it"
        )
    return list(footer.schema.to_arrow_schema().names)
