"""ArrayRecord files: written once, read in any order."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# A group is compressed and read as one, so any other size reads many traces to give one.
WRITING = {False: "group_size:1,uncompressed", True: "group_size:1,zstd:3"}
READING = "readahead_buffer_size:0,max_parallelism:0"  # ArrayRecord's own advice for random access
BATCH = 64  # records read at once to verify a file


def write(path: Path, records: Iterable[bytes], *, compress: bool) -> None:
    """Write a file, then read it back and compare.

    Raises OSError if the file cannot be written, or does not hold what was written.
    """
    from array_record.python import array_record_module

    sums = []
    try:
        writer = array_record_module.ArrayRecordWriter(str(path), WRITING[compress])
        for data in records:
            writer.write(data)
            sums.append(zlib.crc32(data))
        writer.close()
    except RuntimeError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    try:
        reader = open_file(path)
        found = []
        for first in range(0, reader.num_records(), BATCH):
            batch = reader.read(first, min(first + BATCH, reader.num_records()))
            found += [zlib.crc32(data) for data in batch]
        reader.close()
    except RuntimeError as error:
        raise OSError(f"{path} cannot be read back: {error}") from error
    if found != sums:
        raise OSError(f"{path} does not hold what was written to it; check the disk")


def open_file(path: Path) -> Any:
    """The library's reader. It checks a hash of every record and raises RuntimeError if it differs.

    Raises FileNotFoundError, OSError if it is no such file, ImportError without the package.
    """
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise ImportError(
            f"{path} needs the package array_record, which this system has not ({error}): "
            "pip install array_record"
        ) from error
    if not path.is_file():  # the library opens it as an empty one
        raise FileNotFoundError(f"{path} does not exist")
    reader = array_record_module.ArrayRecordReader(str(path), options=READING)
    if not reader.ok():
        raise OSError(f"{path} is not a readable ArrayRecord file")
    return reader
