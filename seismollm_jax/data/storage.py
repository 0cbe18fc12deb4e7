"""Files that hold waveforms: opened once, read trace by trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from seismollm_jax.data.prepared import ArrayRecordFile
from seismollm_jax.data.stream_files import StreamFolder


class Storage(Protocol):
    """One open file."""

    def read(self, address: str) -> np.ndarray:
        """One trace as it is stored, (samples, components) or (components, samples).

        Raises OSError, KeyError, ValueError or RuntimeError, with a text that goes on from the name
        of the trace.
        """

    def close(self) -> None:
        """Closes the file."""


class Hdf5File:
    """An HDF5 file with one two-dimensional dataset for each trace, or buckets of many.

    An address is the name of a dataset below `group`. What follows a `$` picks a part of it by a
    NumPy-like index, as in SeisBench's buckets: `bucket12$37,:3,:6001`.
    """

    def __init__(self, path: Path, group: str):
        self._file = h5py.File(path, "r", locking="best-effort")
        self._group = group

    def read(self, address: str) -> np.ndarray:
        """See `Storage`."""
        name, _, part = address.partition("$")
        trace = self._file.get(f"{self._group}/{name}")
        if not isinstance(trace, h5py.Dataset):
            raise KeyError(f"is not in the group {self._group!r}")
        if part:
            try:
                return trace[parse_index(part)]
            except (IndexError, TypeError) as error:
                raise ValueError(f"is not in {name!r} of the shape {trace.shape}") from error
        if not trace.shape or len(trace.shape) != 2:  # a scalar or an empty one is no array at all
            raise ValueError(f"has the shape {trace.shape}; (samples, 3) is wanted")
        return trace[()]

    def close(self) -> None:
        """See `Storage`."""
        self._file.close()


def parse_index(text: str) -> tuple[int | slice, ...]:
    """The index written in an address: numbers and slices with commas between.

    Raises ValueError for anything else; nothing is evaluated.
    """
    parts: list[int | slice] = []
    for part in text.split(","):
        if re.fullmatch(r"\s*-?\d+\s*", part):
            parts.append(int(part))
        elif re.fullmatch(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(:\s*(-?\d+)?\s*)?", part):
            ends = [int(end) if end.strip() else None for end in part.split(":")]
            parts.append(slice(*ends))
        else:
            raise ValueError(f"has the index {text!r}, which is none of numbers and slices")
    return tuple(parts)


STORAGES: dict[str, Callable[[Path, str], Any]] = {
    "hdf5": Hdf5File,
    "streams": StreamFolder,
    "arrayrecord": ArrayRecordFile,
}
"""Kind of file -> how to open it, given its path and the group that holds the traces."""
