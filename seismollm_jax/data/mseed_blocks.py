"""Where in a miniSEED file which times are, so that a window is read without the rest of the file.

ObsPy decodes the samples. What is read here are the fixed headers of the records, 48 bytes each,
and the blockettes behind them (SEED Reference Manual 2.4, chapter 8), many at once.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK = 1 << 15  # bytes, of whole records, that are found or passed over together
AT_ONCE = 256  # blocks whose headers are in memory at a time
CACHE_BYTES = 1 << 25  # of all tables of blocks kept: of some 4000 day files
# Nominal rates and corrections of times are taken for exact here, so more is read than is asked.
MARGIN_NS = 2_000_000_000

_HEADER = [
    *(("number", "S6"), ("quality", "S1"), ("reserved", "S1"), ("codes", "S12")),
    *(("year", "u2"), ("day", "u2"), ("hour", "u1"), ("minute", "u1"), ("second", "u1")),
    *(("unused", "u1"), ("fraction", "u2"), ("samples", "u2"), ("factor", "i2")),
    *(("multiplier", "i2"), ("flags", "u1", 3), ("blockettes", "u1"), ("correction", "i4")),
    *(("data", "u2"), ("first", "u2"), ("kind", "u2"), ("next", "u2"), ("encoding", "u1")),
    *(("order", "u1"), ("length", "u1"), ("spare", "u1")),
    *(("kind_2", "u2"), ("next_2", "u2"), ("encoding_2", "u1")),
    *(("order_2", "u1"), ("length_2", "u1"), ("spare_2", "u1")),
]
HEADERS = (np.dtype(_HEADER).newbyteorder(">"), np.dtype(_HEADER).newbyteorder("<"))
"""The fixed header and two blockettes of the size of blockette 1000, in either byte order."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of one file: block i is `size` bytes from i * size on.

    Attributes:
        size: bytes of a block; the last one may have fewer.
        start_ns: (blocks,) earliest sample of any channel, since 1970-01-01.
        end_ns: (blocks,) end of the latest one.
    """

    size: int
    start_ns: np.ndarray
    end_ns: np.ndarray

    def read(self, path: Path, start_ns: int, end_ns: int) -> bytes:
        """The records of all blocks that have samples in a span of time, in their order."""
        wanted = (self.end_ns > start_ns - MARGIN_NS) & (self.start_ns < end_ns + MARGIN_NS)
        edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
        with path.open("rb") as file:
            parts = []
            for first, last in edges.reshape(-1, 2).tolist():
                file.seek(first * self.size)
                parts.append(file.read((last - first) * self.size))
        return b"".join(parts)


def find_blocks(path: Path) -> Blocks | None:
    """The blocks of a file; None of one whose records are not all of one length and byte order.

    Raises OSError.
    """
    with path.open("rb") as file:
        head = file.read(HEADERS[0].itemsize)
    total = path.stat().st_size
    if len(head) < HEADERS[0].itemsize:
        return None
    power = max(int(_length_powers(np.frombuffer(head, dtype))[0]) for dtype in HEADERS)
    length = 1 << power
    if not 7 <= power <= 20 or total % length:
        return None
    per_block = max(1, BLOCK // length)
    raw = np.memmap(path, np.uint8, "r").reshape(-1, length)
    starts, ends = [], []
    for first in range(0, len(raw), AT_ONCE * per_block):
        heads = np.ascontiguousarray(raw[first : first + AT_ONCE * per_block, : len(head)])
        records = _records(heads, power)
        if records is None:
            return None
        start_ns, end_ns = _times(records)
        firsts = np.arange(0, len(records), per_block)
        starts.append(np.minimum.reduceat(start_ns, firsts))
        ends.append(np.maximum.reduceat(end_ns, firsts))
    return Blocks(per_block * length, np.concatenate(starts), np.concatenate(ends))


def _records(heads: np.ndarray, length_power: int) -> np.ndarray | None:
    """Headers, (records, 64) bytes, as `HEADERS`; None if one of them is of another kind."""
    for dtype in HEADERS:
        records = heads.view(dtype)[:, 0]
        if (_length_powers(records) == length_power).all() and np.isin(
            records["quality"], (b"D", b"R", b"Q", b"M")
        ).all():
            return records
    return None


def _length_powers(records: np.ndarray) -> np.ndarray:
    """Record lengths as powers of 2, out of blockette 1000; 0 where it is in neither place.

    ObsPy writes blockette 1001, with the microseconds of a start time, before it.
    """
    second = (records["kind"] == 1001) & (records["next"] == 56) & (records["kind_2"] == 1000)
    first = records["kind"] == 1000
    return np.where(first, records["length"], np.where(second, records["length_2"], 0))


def _times(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of each record in nanoseconds since 1970."""
    years = records["year"].astype(np.int64) - 1970
    start = years.astype("datetime64[Y]").astype("datetime64[ns]").astype(np.int64)
    seconds = (records["day"].astype(np.int64) - 1) * 86400
    for name, length_s in (("hour", 3600), ("minute", 60), ("second", 1)):
        seconds += records[name].astype(np.int64) * length_s
    start += seconds * 1_000_000_000 + records["fraction"].astype(np.int64) * 100_000
    factor = records["factor"].astype(np.float64)
    multiplier = records["multiplier"].astype(np.float64)
    rate = np.abs(np.where(factor > 0, factor, 1 / np.where(factor, factor, 1)))
    rate *= np.abs(np.where(multiplier > 0, multiplier, 1 / np.where(multiplier, multiplier, 1)))
    length = (records["samples"] / rate * 1e9).astype(np.int64)
    # A correction is part of the time already, or not: the record is somewhere in between.
    correction = np.abs(records["correction"].astype(np.int64)) * 100_000
    return start - correction, start + length + correction


class BlockCache:
    """Blocks of the files used last, while the files stay as they were."""

    def __init__(self, limit_bytes: int = CACHE_BYTES):
        self._limit_bytes, self._bytes = limit_bytes, 0
        self._known: OrderedDict[Path, tuple[tuple[int, int], Blocks | None]] = OrderedDict()

    def blocks(self, path: Path) -> Blocks | None:
        """See `find_blocks`."""
        found = os.stat(path)
        state = (found.st_size, found.st_mtime_ns)
        known = self._known.pop(path, None)
        if known is None or known[0] != state:
            self._bytes -= _bytes(known[1]) if known else 0
            known = state, find_blocks(path)
            self._bytes += _bytes(known[1])
        self._known[path] = known
        while self._bytes > self._limit_bytes and len(self._known) > 1:
            self._bytes -= _bytes(self._known.popitem(last=False)[1][1])
        return known[1]


def _bytes(blocks: Blocks | None) -> int:
    # With what Python needs for the entry itself.
    return 1000 + (blocks.start_ns.nbytes + blocks.end_ns.nbytes if blocks else 0)
