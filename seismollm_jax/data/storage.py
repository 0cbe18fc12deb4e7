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
        """See `Storage`; numbers come as float32, whatever they are stored as."""
        name, _, part = address.partition("$")
        # h5py's low-level interface takes a third of the time of its Dataset, which makes NumPy's
        # type out of HDF5's for every trace.
        try:
            trace = h5py.h5o.open(self._file.id, f"{self._group}/{name}".encode())
        except KeyError:
            trace = None
        if not isinstance(trace, h5py.h5d.DatasetID):
            raise KeyError(f"is not in the group {self._group!r}")
        if part:
            return _part(h5py.Dataset(trace), name, parse_index(part))
        shape = trace.shape
        if not shape or len(shape) != 2:  # a scalar or an empty one is no array at all
            raise ValueError(f"has the shape {shape}; (samples, 3) is wanted")
        if trace.get_type().get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
            return h5py.Dataset(trace)[()]
        data = np.empty(shape, np.float32)
        trace.read(h5py.h5s.ALL, h5py.h5s.ALL, data)
        return data

    def close(self) -> None:
        """See `Storage`."""
        self._file.close()


def _part(dataset: h5py.Dataset, name: str, index: tuple[int | slice, ...]) -> np.ndarray:
    try:
        return dataset[index]
    except (IndexError, TypeError) as error:
        raise ValueError(f"is not in {name!r} of the shape {dataset.shape}") from error


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
