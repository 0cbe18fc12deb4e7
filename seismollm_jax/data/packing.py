"""One waveform as bytes, exactly or in two bytes a sample, with the error that this makes."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np

DTYPES = {"float32": "<f4", "int16": "<i2", "float16": "<f2"}
"""How samples can be kept; little-endian."""

_CODES = {"float32": 0, "int16": 1, "float16": 2}
_NAMES = {code: name for name, code in _CODES.items()}
# Code of the type, components, samples, then scale and offset of Z, N and E.
_HEADER = struct.Struct("<BBxxI3f3f")
_STEPS = 65532  # of int16, with one to spare at either end for the rounding of the offset
_FLOAT16_PEAK = 2.0**15
TINY = float(np.finfo(np.float32).tiny)  # below it float32 loses precision, far below any unit


class UnusablePart(ValueError):
    """The bytes are not a packed waveform."""


def pack(waveform: np.ndarray, dtype: str) -> bytes:
    """Pack a finite float32 waveform (samples, 3); `dtype` is a key of `DTYPES`.

    "int16" and "float16" keep value = stored * scale + offset, with scale and offset of each
    component of each trace, so that neither a large mean nor tiny units cost precision:

    - int16 divides the range of the component into 65,532 equal steps. A value of zero stays zero,
      and whole numbers that span less than that, such as raw counts, are kept exactly.
    - float16 keeps 11 significant bits of every sample's distance from the median, so that a weak
      arrival before a strong one is as precise as the strong one.

    A constant component is kept exactly by both.
    """
    samples = len(waveform)
    columns = np.ascontiguousarray(waveform.T, dtype=np.float32)  # (3, samples)
    if dtype == "float32":
        scale, offset, stored = np.ones(3), np.zeros(3), columns
    else:
        steps = _int16_steps if dtype == "int16" else _float16_steps
        parts = [steps(column.astype(np.float64)) for column in columns]
        scale, offset = np.array([part[1:] for part in parts]).T
        stored = np.stack([part[0] for part in parts])
    header = _HEADER.pack(_CODES[dtype], 3, samples, *scale.tolist(), *offset.tolist())
    return header + stored.astype(DTYPES[dtype]).tobytes()


def unpack(data: bytes) -> np.ndarray:
    """The waveform of `pack`, float32 of shape (3, samples).

    Raises UnusablePart if `data` is empty or was not made by `pack`.
    """
    if len(data) < _HEADER.size:
        raise UnusablePart(f"has {len(data)} bytes, too few for a packed waveform")
    code, components, samples, *numbers = _HEADER.unpack_from(data)
    name = _NAMES.get(code)
    if name is None or len(data) != _HEADER.size + components * samples * int(DTYPES[name][2]):
        raise UnusablePart(f"is not a packed waveform: {len(data)} bytes, type {code}")
    stored = np.frombuffer(data, DTYPES[name], offset=_HEADER.size).reshape(components, samples)
    if name == "float32":
        return stored
    scale, offset = np.array(numbers, np.float32).reshape(2, 3, 1)
    waveform = stored.astype(np.float32)
    waveform *= scale
    waveform += offset
    return waveform


def _int16_steps(column: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Stored numbers of one component, scale and offset."""
    low, high = column.min(), column.max()
    if low == high:
        return np.zeros(len(column)), 1.0, float(low)
    # float32 cannot tell finer steps than this apart, nor hold an offset more precisely.
    largest = np.float32(max(abs(low), abs(high)))
    finest = max(float(largest - np.nextafter(largest, np.float32(0))), TINY)
    whole = high - low <= _STEPS and np.array_equal(column, np.rint(column))
    scale = float(np.float32(max(1.0 if whole else (high - low) / _STEPS, finest)))
    middle = np.rint((low + high) / 2 / scale)
    # In float32 -middle * scale + offset is zero exactly, so zeros stay zeros.
    offset = float(np.float32(middle * scale))
    return np.clip(np.rint((column - offset) / scale), -32767, 32767), scale, offset


def _float16_steps(column: np.ndarray) -> tuple[np.ndarray, float, float]:
    low, high = column.min(), column.max()
    if low == high:
        return np.zeros(len(column)), 1.0, float(low)
    offset = float(np.float32(np.median(column)))  # strong motion draws the mean off the base line
    peak = max(high - offset, offset - low)
    # A power of two, so that scaling rounds nothing.
    exponent = np.ceil(np.log2(peak / _FLOAT16_PEAK))
    scale = float(2.0 ** np.clip(exponent, -126, 112))
    return (column - offset) / scale, scale, offset


@dataclasses.dataclass
class Accuracy:
    """What packing has cost the waveforms so far.

    Attributes:
        traces: number measured.
        exact: of which came back bit by bit.
        snr_sum_db: sum over the others of the signal-to-noise ratio of their worst component:
            the standard deviation of the component over the root mean square of its error.
        worst_snr_db: lowest of these; None if all are exact.
        worst_trace: where it occurred.
        largest_error: largest error of a sample over the standard deviation of its component.
    """

    traces: int = 0
    exact: int = 0
    snr_sum_db: float = 0.0
    worst_snr_db: float | None = None
    worst_trace: str = ""
    largest_error: float = 0.0

    def measure(self, waveform: np.ndarray, packed: bytes, trace_name: str) -> None:
        """Take in one trace, (samples, 3) as it was, and its bytes."""
        self.traces += 1
        error = unpack(packed).T.astype(np.float64) - waveform
        if not error.any():
            self.exact += 1
            return
        wrong = error.any(axis=0)  # a constant component is exact, so no deviation is zero
        deviation = waveform[:, wrong].astype(np.float64).std(axis=0)
        error = error[:, wrong]
        snr_db = float(np.min(20 * np.log10(deviation / np.sqrt(np.mean(error**2, axis=0)))))
        self.snr_sum_db += snr_db
        self.largest_error = max(
            self.largest_error, float(np.max(np.abs(error).max(axis=0) / deviation))
        )
        if self.worst_snr_db is None or snr_db < self.worst_snr_db:
            self.worst_snr_db, self.worst_trace = snr_db, trace_name

    def add(self, other: Accuracy) -> None:
        """Take in what was measured elsewhere."""
        self.traces += other.traces
        self.exact += other.exact
        self.snr_sum_db += other.snr_sum_db
        self.largest_error = max(self.largest_error, other.largest_error)
        if other.worst_snr_db is not None and (
            self.worst_snr_db is None or other.worst_snr_db < self.worst_snr_db
        ):
            self.worst_snr_db, self.worst_trace = other.worst_snr_db, other.worst_trace

    def __str__(self) -> str:
        if self.worst_snr_db is None:
            return f"all {self.traces} traces are kept exactly"
        lossy = self.traces - self.exact
        return (
            f"{self.exact} of {self.traces} traces are kept exactly; the others have "
            f"{self.snr_sum_db / lossy:.1f} dB on average, at worst {self.worst_snr_db:.1f} dB "
            f"({self.worst_trace}); no sample is off by more than {self.largest_error:.2g} "
            "standard deviations of its component"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)
