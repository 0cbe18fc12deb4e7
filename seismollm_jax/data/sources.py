"""Random access to the waveforms of a catalogue in HDF5 files."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from seismollm_jax.data.records import COMPONENTS, Dataset, Record


class BadTrace(Exception):
    """A trace that cannot be used: which file, which trace, why."""

    def __init__(self, file: str, trace_name: str, reason: str) -> None:
        super().__init__(file, trace_name, reason)  # all three, so that it survives pickling
        self.file, self.trace_name, self.reason = file, trace_name, reason

    def __str__(self) -> str:
        return f"{self.file}: trace {self.trace_name!r} {self.reason}"


def to_zne(data: np.ndarray, component_order: str) -> np.ndarray:
    """Bring a trace as stored into float32 (samples, 3) in the order Z, N, E.

    `data` is (samples, 3), or (3, samples) with a number of samples other than 3;
    `component_order` names its components, such as "ENZ". Raises ValueError saying what is wrong
    with the array: type, shape, or samples that are not finite in float32.
    """
    if data.dtype.kind not in "fiu":
        raise ValueError(f"holds {data.dtype}, not numbers")
    if data.ndim != 2 or 3 not in data.shape:
        raise ValueError(f"has the shape {data.shape}; (samples, 3) is wanted")
    if data.shape[1] != 3:
        data = data.T
    elif data.shape[0] == 3:
        raise ValueError("has the shape (3, 3), which does not tell samples from components")
    if len(data) < 2:
        raise ValueError(f"has {len(data)} samples")
    order = [component_order.index(component) for component in COMPONENTS]
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        waveform = np.ascontiguousarray(data[:, order], dtype=np.float32)
    finite = np.isfinite(waveform).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"has {np.count_nonzero(~finite)} samples that are not finite, "
            f"the first at {int(np.argmin(finite))}"
        )
    return waveform


class WaveformSource:
    """The records of some rows of a catalogue, read on demand.

    `source[i]` is the `Record` of row `rows[i]`; it raises `BadTrace` if the trace is missing,
    cannot be read, or has a wrong shape or samples that are not finite. The source can be pickled
    and sent to other processes: each opens the files for itself, at most `max_open_files` at once.
    Threads may share it; they read one after the other, as HDF5 does anyway.

    Raises ValueError if the catalogue's component order is not made of Z, N and E, IndexError if
    a row is not in the table.
    """

    def __init__(self, dataset: Dataset, rows: np.ndarray, max_open_files: int = 16) -> None:
        if sorted(dataset.component_order) != sorted(COMPONENTS):
            raise ValueError(
                f"component order of {dataset.name} is {dataset.component_order!r}; "
                "it must name Z, N and E once each"
            )
        self.rows = np.asarray(rows, np.int64)
        self.max_open_files = max_open_files
        self._directory = dataset.path
        self._inner_path = dataset.inner_path
        self._component_order = dataset.component_order
        # Plain arrays and fixed-width bytes: a table is slow to send to the worker processes, and
        # its Python strings would be copied there one by one.
        table = dataset.table.iloc[self.rows]
        files = table["file"].cat
        self._files = [str(file) for file in files.categories]
        self._file_codes = files.codes.to_numpy(np.int32)
        self._names = np.array([name.encode() for name in table["trace_name"]], np.bytes_)
        numbers = ("p_sample", "s_sample", "magnitude", "distance_km", "back_azimuth_deg")
        self._numbers = table[list(numbers)].to_numpy(np.float32)
        self._polarity = table["polarity"].to_numpy(np.int8)
        snr = [f"snr_{component}_db" for component in COMPONENTS.lower()]
        self._snr_db = table[snr].to_numpy(np.float32)
        self._forget_handles()

    def _forget_handles(self) -> None:
        self._open: OrderedDict[str, h5py.File] = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_open", "_lock", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_handles()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Record:
        p, s, magnitude, distance_km, back_azimuth_deg = self._numbers[index].tolist()
        return Record(
            waveform=self.waveform(index),
            p_samples=[] if np.isnan(p) else [int(p)],
            s_samples=[] if np.isnan(s) else [int(s)],
            magnitude=magnitude,
            distance_km=distance_km,
            back_azimuth_deg=back_azimuth_deg,
            polarity=int(self._polarity[index]),
            snr_db=tuple(self._snr_db[index].tolist()),
        )

    def trace_name(self, index: int) -> str:
        """Name of trace `index`."""
        return self._names[index].decode()

    def waveform(self, index: int) -> np.ndarray:
        """Waveform of trace `index`, float32 (samples, 3) in the order Z, N, E."""
        file, name = self._files[self._file_codes[index]], self.trace_name(index)
        path = Path(self._directory) / file
        if self._process != os.getpid():  # forked: HDF5 handles must not be shared with the parent
            self._forget_handles()
        try:
            with self._lock:
                data = self._read(path, name)
            return to_zne(data, self._component_order)
        except (OSError, KeyError, ValueError, RuntimeError) as error:  # all of which h5py raises
            # The text of a KeyError would come in quotes.
            reason = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise BadTrace(str(path), name, str(reason)) from error

    def why_unreadable(self, rows: Sequence[int]) -> dict[str, str]:
        """Reads rows of the catalogue again; trace name -> what is wrong, for those that fail."""
        positions = {int(row): position for position, row in enumerate(self.rows)}
        reasons = {}
        for row in rows:
            try:
                self.waveform(positions[row])
            except BadTrace as error:
                reasons[error.trace_name] = str(error)
        return reasons

    def _read(self, path: Path, name: str) -> np.ndarray:
        """Read one trace; the file stays open, the one unused for longest is closed."""
        key = str(path)
        if key in self._open:
            self._open.move_to_end(key)
        else:
            while len(self._open) >= self.max_open_files:
                self._open.popitem(last=False)[1].close()
            self._open[key] = h5py.File(path, "r", locking="best-effort")
        trace = self._open[key].get(f"{self._inner_path}/{name}")
        if not isinstance(trace, h5py.Dataset):
            raise KeyError(f"is not in the group {self._inner_path!r}")
        if not trace.shape or len(trace.shape) != 2:  # a scalar or an empty one is no array at all
            raise ValueError(f"has the shape {trace.shape}; (samples, 3) is wanted")
        return trace[()]
