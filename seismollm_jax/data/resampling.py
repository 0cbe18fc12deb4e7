"""Change of sampling rate without a shift in time, onto the grid of absolute time.

Samples are evaluated at multiples of the new interval counted from 1970-01-01 by a windowed-sinc
low-pass filter of finite length. Hence the result does not depend on where a piece of a record
begins, but near its ends, and nothing above the new Nyquist frequency folds back (more than 70 dB
down from there on; flat up to 0.85 of it). The filter is symmetric: it shifts nothing, and rings
ahead of a sharp onset by up to HALF_WIDTH samples like every such filter.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

HALF_WIDTH = 32  # samples of the slower rate on either side
KAISER_BETA = 7.5  # about 75 dB
CUTOFF = 0.925  # of the lower Nyquist frequency: the middle of the transition band
LARGEST_FACTOR = 1000  # ratios beyond it, and rates that drift, are interpolated from a table
TABLE_STEPS = 4096  # positions between two samples in that table: errors below -70 dB
LARGEST_DRIFT = 0.01  # new samples, over a whole piece


def grid_index(time_ns: int, sampling_rate_hz: float) -> int:
    """Nearest sample of the grid of absolute time, counted from 1970-01-01, exact in integers."""
    rate = _fraction(sampling_rate_hz)
    position = Fraction(time_ns) * rate / 10**9
    return math.floor(position + Fraction(1, 2))


def grid_time_ns(index: int, sampling_rate_hz: float) -> int:
    """Time of a sample of that grid in nanoseconds since 1970-01-01."""
    return round(Fraction(index) * 10**9 / _fraction(sampling_rate_hz))


def resample(
    data: np.ndarray, start_ns: int, from_hz: float, to_hz: float
) -> tuple[np.ndarray, int]:
    """Resample one gap-free piece of one component.

    Args:
        data: (samples,) finite numbers.
        start_ns: time of the first sample, nanoseconds since 1970-01-01.
        from_hz: sampling rate of `data`.
        to_hz: sampling rate wanted; when equal, `data` comes back untouched.

    Returns:
        The samples (float64, possibly none if the piece holds no point of the new grid) and the
        time of the first one in nanoseconds.
    """
    source, target = _fraction(from_hz), _fraction(to_hz)
    drift = abs(target / source - 1) * len(data)
    if drift < LARGEST_DRIFT:
        return data, start_ns
    data = np.asarray(data, np.float64)
    ratio = (target / source).limit_denominator(LARGEST_FACTOR)
    error = abs(ratio * source / target - 1) if ratio else Fraction(1)
    if ratio.numerator > LARGEST_FACTOR or error * len(data) * target / source > LARGEST_DRIFT:
        return _interpolate(data, start_ns, source, target)
    return _polyphase(data, start_ns, source, ratio.numerator, ratio.denominator)


def resample_trace(waveform: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Resample a trace (samples, components) to float32; its first sample stays where it is."""
    columns = [resample(column, 0, from_hz, to_hz)[0] for column in waveform.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _polyphase(
    data: np.ndarray, start_ns: int, source: Fraction, up: int, down: int
) -> tuple[np.ndarray, int]:
    """Keep every `down`-th of `up` times as many samples, those on the grid of absolute time."""
    from scipy import signal  # slow to import, and most loader workers never resample

    fine = source * up  # rate after the first step, also new rate times `down`
    first = -round(Fraction(start_ns) * fine / 10**9) % down  # first point of the grid
    count = ((len(data) - 1) * up - first) // down + 1
    if count < 1:
        return np.zeros(0), start_ns
    half = math.ceil(HALF_WIDTH * max(up, down))  # in samples of the fine rate
    kernel = _kernel(np.arange(-half, half + 1) / up, half / up, min(1.0, up / down))
    for phase in range(up):  # unit gain for constants in each phase: large offsets cause no ripple
        kernel[phase::up] /= kernel[phase::up].sum()
    margin = half // up + 1
    padded = np.pad(data, margin, mode="edge")
    centre = first + margin * up + half
    lead = -centre % down  # zeros ahead of the kernel move the wanted points to multiples of `down`
    filtered = signal.upfirdn(np.concatenate([np.zeros(lead), kernel]), padded, up, down)
    begin = (centre + lead) // down
    return filtered[begin : begin + count], start_ns + round(first * 10**9 / fine)


def _interpolate(
    data: np.ndarray, start_ns: int, source: Fraction, target: Fraction
) -> tuple[np.ndarray, int]:
    """Evaluate the same filter at arbitrary positions, from a table of its shifted copies."""
    start = Fraction(start_ns, 10**9)
    first = math.ceil(start * target)
    last = math.floor((start + (len(data) - 1) / source) * target)
    if last < first:
        return np.zeros(0), start_ns
    half = math.ceil(HALF_WIDTH * max(Fraction(1), source / target))
    shift = np.linspace(0, 1, TABLE_STEPS + 1)[:, None]
    table = _kernel(
        np.arange(1 - half, half + 1) - shift, half, float(min(Fraction(1), target / source))
    )
    table /= table.sum(1, keepdims=True)  # (TABLE_STEPS + 1, 2 * half)
    offset = float((first / target - start) * source)
    position = offset + np.arange(last - first + 1) * float(source / target)
    before = np.floor(position).astype(np.int64)
    step = np.rint((position - before) * TABLE_STEPS).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(data, (half - 1, half + 1), mode="edge"), 2 * half
    )
    out = np.empty(len(position))
    for i in range(0, len(out), 65536):  # bounds the memory of the gathered windows
        part = slice(i, i + 65536)
        out[part] = np.einsum("ij,ij->i", windows[before[part]], table[step[part]])
    return out, round(Fraction(first) * 10**9 / target)


def _kernel(lag: np.ndarray, half: float, lower_rate: float) -> np.ndarray:
    """Kaiser-windowed sinc at lags in source samples, zero at and beyond `half`."""
    taper = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (lag / half) ** 2, 0, None)))
    return np.sinc(CUTOFF * lower_rate * lag) * taper * (np.abs(lag) < half)


def _fraction(rate_hz: float) -> Fraction:
    return Fraction(rate_hz).limit_denominator(10**6)
