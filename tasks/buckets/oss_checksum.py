"""The CRC-64 that OSS keeps for every object."""

import importlib.util
from collections.abc import Mapping

from oss2.utils import Crc64

from tasks.buckets.fetching import Checksum


class _StoredCrc64:
    """The CRC-64 that OSS keeps for every object; its ETag is an MD5 for some objects only.

    Source: www.alibabacloud.com/help/en/oss/use-cases/data-verification.
    """

    is_proof = True
    # Making one costs 0.2 ms for its tables, copying one nothing.
    _fresh = Crc64().crc64

    def __init__(self, expected: str) -> None:
        self.expected = expected
        self._crc = self._fresh.copy()

    def update(self, chunk: bytes, /) -> None:
        self._crc.update(chunk)

    def value(self) -> str:
        return str(self._crc.crcValue)


# crcmod's C extension: 0.6 ms for 150 KB, and 100 times that in Python, which no lane could bear.
_CRC64_IS_FAST = importlib.util.find_spec("crcmod._crcfunext") is not None


def stored_crc64(headers: Mapping[str, str]) -> Checksum | None:
    """The CRC-64 a reply promises, or None where there is none or it cannot be checked cheaply."""
    expected = headers.get("x-oss-hash-crc64ecma", "")
    return _StoredCrc64(expected) if expected.isdigit() and _CRC64_IS_FAST else None
