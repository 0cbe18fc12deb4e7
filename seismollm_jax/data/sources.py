"""Random access to the records of a catalogue."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.data.records import COMPONENTS, Dataset, Record
from seismollm_jax.data.resampling import resample_trace
from seismollm_jax.data.storage import STORAGES, Storage


class BadTrace(Exception):
    """A trace that cannot be used: which file, which trace, why."""

    def __init__(self, file: str, trace_name: str, reason: str) -> None:
        super().__init__(file, trace_name, reason)  # all three, so that it survives pickling
        self.file, self.trace_name, self.reason = file, trace_name, reason

    def __str__(self) -> str:
        return f"{self.file}: trace {self.trace_name!r} {self.reason}"


def to_zne(data: np.ndarray, component_order: str, dimension_order: str = "") -> np.ndarray:
    """Bring a trace as stored into float32 (samples, 3) in the order Z, N, E.

    Each component is contiguous in memory, whichever way `data` is: everything that follows goes
    along components. The result may share memory with `data`.

    `component_order` names its components, such as "ENZ"; 1 and 2 stand in for N and E. A component
    that it lacks becomes zero. `data` is (samples, components), or (components, samples);
    `dimension_order` "WC" or "CW" says which, else the lengths must tell. Raises ValueError
    saying what is wrong: type, shape, order, or samples that are not finite in float32.
    """
    order = component_order.upper()
    if data.dtype.kind not in "fiu":
        raise ValueError(f"holds {data.dtype}, not numbers")
    if data.ndim != 2 or len(order) not in data.shape:
        raise ValueError(f"has the shape {data.shape}; (samples, {len(order)}) is wanted")
    if not dimension_order and data.shape[0] == data.shape[1]:
        raise ValueError(f"has the shape {data.shape}, which does not tell samples from components")
    if dimension_order == "CW" or (not dimension_order and data.shape[1] != len(order)):
        data = data.T
    if data.shape[1] != len(order):
        raise ValueError(f"has the shape {data.shape}; (samples, {len(order)}) is wanted")
    if len(data) < 2:
        raise ValueError(f"has {len(data)} samples")
    columns = component_columns(order)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        if columns == [0, 1, 2]:
            waveform = np.asfortranarray(data[:, :3], dtype=np.float32)
        else:
            waveform = np.zeros((3, len(data)), np.float32).T
            for component, column in enumerate(columns):
                if column >= 0:
                    waveform[:, component] = data[:, column]
    if not np.isfinite(waveform).all():
        finite = np.isfinite(waveform).all(axis=1)
        raise ValueError(
            f"has {np.count_nonzero(~finite)} samples that are not finite, "
            f"the first at {int(np.argmin(finite))}"
        )
    return waveform


@functools.cache
def component_columns(component_order: str) -> list[int]:
    """Where Z, N and E are in a component order; -1 for one that is not there.

    H, the pressure that ocean-bottom stations record beside the ground motion, is passed over.

    Raises ValueError for an order with other letters, with a component twice, or with none.
    """
    order = component_order.replace("1", "N").replace("2", "E")
    known = set(COMPONENTS)
    if not set(order) & known or set(order) - known - {"H"} or len(set(order)) != len(order):
        raise ValueError(
            f"has the component order {component_order!r}; Z, N, E (or 1, 2), each once at most, "
            "are known"
        )
    return [order.find(component) for component in COMPONENTS]


class WaveformSource:
    """The records of some rows of a catalogue, read on demand.

    `source[i]` is the `Record` of row `rows[i]` at the sampling rate of the dataset, resampled
    if it is stored at another; it raises `BadTrace` if the trace is missing, cannot be read, or
    has a wrong shape or samples that are not finite. The source can be pickled and sent to other
    processes: each opens the files for itself, at most `max_open_files` at once. Threads may share
    it; they read one after the other, as HDF5 does anyway.

    Raises ValueError for an unknown kind of storage, IndexError if a row is not in the table.
    """

    def __init__(self, dataset: Dataset, rows: np.ndarray, max_open_files: int = 128) -> None:
        stores = [member.dataset for member in dataset.members] or [dataset]
        for store in stores:
            if store.storage not in STORAGES:
                raise ValueError(
                    f"{store.name} is stored as {store.storage!r}; known: {', '.join(STORAGES)}"
                )
        self.rows = np.asarray(rows, np.int64)
        self.max_open_files = max_open_files
        self.sampling_rate_hz = dataset.sampling_rate_hz
        self._stores = [(s.storage, s.path, s.inner_path, s.dimension_order) for s in stores]
        # Plain arrays and fixed-width bytes: a table is slow to send to the worker processes, and
        # its Python strings would be copied there one by one.
        table = dataset.table.iloc[self.rows]
        sources = table["source"].cat.codes if dataset.members else np.zeros(len(table))
        self._store_codes = np.asarray(sources, np.int16)
        self._mixed = bool(dataset.members)
        self._files, self._file_codes = _codes(table["file"])
        self._orders, self._order_codes = _codes(table["component_order"])
        self._names = np.array([name.encode() for name in table["trace_name"]], np.bytes_)
        self._addresses = None
        if "address" in table:
            self._addresses = np.array([name.encode() for name in table["address"]], np.bytes_)
        self._rates_hz = table["sampling_rate_hz"].to_numpy(np.float64)
        numbers = ("p_sample", "s_sample", "magnitude", "distance_km", "back_azimuth_deg")
        self._numbers = table[list(numbers)].to_numpy(np.float32)
        self._polarity = table["polarity"].to_numpy(np.int8)
        snr = [f"snr_{component}_db" for component in COMPONENTS.lower()]
        self._snr_db = table[snr].to_numpy(np.float32)
        self._forget_handles()

    def _forget_handles(self) -> None:
        self._open: OrderedDict[str, Storage] = OrderedDict()
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
        waveform, factor = self.waveform(index), 1.0
        if self._rates_hz[index] != self.sampling_rate_hz:
            factor = self.sampling_rate_hz / float(self._rates_hz[index])
            waveform = resample_trace(waveform, float(self._rates_hz[index]), self.sampling_rate_hz)
        return Record(
            waveform=waveform,
            p_samples=[] if np.isnan(p) else [int(p * factor)],
            s_samples=[] if np.isnan(s) else [int(s * factor)],
            magnitude=magnitude,
            distance_km=distance_km,
            back_azimuth_deg=back_azimuth_deg,
            polarity=int(self._polarity[index]),
            snr_db=tuple(self._snr_db[index].tolist()),
        )

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """A number for each record, uint64 (records,); see `record_keys`.

        In a mixture it is made of the name that the record has without the others.
        """
        if not self._mixed:
            return record_keys(self._names)
        return record_keys(name.partition(b"/")[2] for name in self._names)

    def trace_name(self, index: int) -> str:
        """Name of trace `index`."""
        return self._names[index].decode()

    def waveform(self, index: int) -> np.ndarray:
        """Waveform of trace `index` as sampled, float32 (samples, 3) in the order Z, N, E."""
        storage, directory, inner_path, dimension_order = self._stores[self._store_codes[index]]
        path = os.path.join(directory, self._files[self._file_codes[index]])
        address = self._names if self._addresses is None else self._addresses
        if self._process != os.getpid():  # forked: handles must not be shared with the parent
            self._forget_handles()
        try:
            with self._lock:
                data = self._file(path, storage, inner_path).read(address[index].decode())
            return to_zne(data, self._orders[self._order_codes[index]], dimension_order)
        except (OSError, KeyError, ValueError, RuntimeError) as error:  # all of which h5py raises
            # The text of a KeyError would come in quotes.
            reason = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise BadTrace(path, self.trace_name(index), str(reason)) from error

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

    def _file(self, path: str, storage: str, inner_path: str) -> Storage:
        """An open file; it stays open, and the one unused for longest is closed."""
        key = f"{path}:{inner_path}"
        if key in self._open:
            self._open.move_to_end(key)
        else:
            while len(self._open) >= self.max_open_files:
                self._open.popitem(last=False)[1].close()
            self._open[key] = STORAGES[storage](Path(path), inner_path)
        return self._open[key]


def record_keys(names: Iterable[bytes]) -> np.ndarray:
    """A number for each trace name, uint64: the same in every table, program and year."""
    digests = (hashlib.blake2b(name, digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), "<u8")


def _codes(column: pd.Series) -> tuple[list[str], np.ndarray]:
    """Categories of a column and each row's number among them."""
    return [str(category) for category in column.cat.categories], column.cat.codes.to_numpy(
        np.int32
    )
