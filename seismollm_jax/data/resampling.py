"""Change of sampling rate without a shift in time, onto the grid of absolute time.

Samples are evaluated at multiples of the new interval counted from 1970-01-01 by a windowed-sinc
low-pass filter of finite length. Hence the result does not depend on where a piece of a record
begins, but near its ends, and nothing above the new Nyquist frequency folds back (more than 70 dB
down from there on; flat up to 0.85 of it). The filter is symmetric: it shifts nothing, and rings
ahead of a sharp onset by up to HALF_WIDTH samples like every such filter.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np

HALF_WIDTH = 32  # samples of the slower rate on either side
KAISER_BETA = 7.5  # about 75 dB
CUTOFF = 0.925  # of the lower Nyquist frequency: the middle of the transition band
LARGEST_FACTOR = 1000  # ratios beyond it, and rates that drift, are interpolated from a table
TABLE_STEPS = 1024  # positions in that table between two samples, and lines between those
LARGEST_DRIFT = 0.01  # new samples, over a whole trace
SHIFTS = 32  # parts of a sample that a piece is shifted by: times are good to half of one
HEADER_PRECISION = 2e-7  # of sampling rates, which miniSEED and SAC store in single precision


def grid_index(time_ns: int, sampling_rate_hz: float) -> int:
    """Nearest sample of the grid of absolute time, counted from 1970-01-01, exact in integers."""
    position = Fraction(time_ns) * _fraction(sampling_rate_hz) / 10**9
    return math.floor(position + Fraction(1, 2))


def grid_time_ns(index: int, sampling_rate_hz: float) -> int:
    """Time of a sample of that grid in nanoseconds since 1970-01-01."""
    return round(Fraction(index) * 10**9 / _fraction(sampling_rate_hz))


def to_grid(
    data: np.ndarray, start_ns: int, from_hz: float, to_hz: float
) -> tuple[np.ndarray, int]:
    """Put one gap-free piece of one component onto the grid of absolute time.

    Each sample stands for its own interval, so that pieces that touch before touch afterwards.
    What becomes of a sample follows from its own time and those of its neighbours alone. Samples
    that lie on the grid already, to within 1 / (2 SHIFTS) of an interval, come back untouched;
    others of the same rate are shifted.

    Args:
        data: (samples,) finite numbers, at least one.
        start_ns: time of the first sample, nanoseconds since 1970-01-01.
        from_hz: sampling rate of `data`.
        to_hz: sampling rate of the grid.

    Returns:
        The samples (float64 unless untouched; none if no point of the grid falls into the piece)
        and the number of the first one on the grid.
    """
    source, target = _fraction(from_hz), _fraction(to_hz)
    if source == target:  # by far the most; in integers, which cost a tenth of fractions
        interval, place = 10**9 * target.denominator, start_ns * target.numerator
        first = -((interval - 2 * place) // (2 * interval))
        if abs(first * interval - place) * 2 * SHIFTS <= interval:
            return data, first
    ratio, start = target / source, Fraction(start_ns) * target / 10**9  # in grid intervals
    first = math.ceil(start - ratio / 2)
    count = math.ceil(start + (len(data) - Fraction(1, 2)) * ratio) - first
    if count < 1:
        return np.zeros(0), first
    position = (first - start) / ratio  # of the first point, in samples of the piece
    return _evaluate(data, position, 1 / ratio, count), first


def resample_trace(waveform: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Resample a trace (samples, components) to float32; its first sample stays where it is."""
    source, target = _fraction(from_hz), _fraction(to_hz)
    samples, ratio = len(waveform), target / source
    if abs(ratio - 1) * samples < LARGEST_DRIFT:
        return np.asarray(waveform, np.float32)
    close = ratio.limit_denominator(LARGEST_FACTOR)
    if close and abs(close / ratio - 1) * samples * ratio <= LARGEST_DRIFT:
        ratio = close
    count = math.floor((samples - 1) * ratio) + 1
    columns = [_evaluate(column, Fraction(0), 1 / ratio, count) for column in waveform.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _evaluate(data: np.ndarray, first: Fraction, step: Fraction, count: int) -> np.ndarray:
    """The low-passed data at `count` positions, in samples: `first`, `first + step`, ..."""
    data = np.asarray(data, np.float64)
    if max(step.numerator, step.denominator) > LARGEST_FACTOR:
        return _interpolate(data, first, step, count)
    return _polyphase(data, first, step.denominator, step.numerator, count)


def _polyphase(data: np.ndarray, first: Fraction, up: int, down: int, count: int) -> np.ndarray:
    """Keep every `down`-th of `up` times as many samples."""
    from scipy import signal  # slow to import, and most loader workers never resample

    begin = round(first * up)  # of those many samples
    shift = round((first * up - begin) * SHIFTS) / SHIFTS
    half = math.ceil(HALF_WIDTH * max(up, down))
    taps = np.arange(-half, half + 1)
    kernel = _kernel((taps + shift) / up, half / up, min(1.0, up / down))
    for phase in range(up):  # unit gain for constants in each phase: large offsets cause no ripple
        kernel[phase::up] /= kernel[phase::up].sum()
    margin = half // up + 2
    padded = np.pad(data, margin, mode="edge")
    centre = begin + margin * up + half
    lead = -centre % down  # zeros ahead of the kernel move the wanted points to multiples of `down`
    if up == down == 1:  # a shift alone
        filtered = np.convolve(padded, kernel)  # in a third of the time
    else:
        filtered = signal.upfirdn(np.concatenate([np.zeros(lead), kernel]), padded, up, down)
    index = (centre + lead) // down
    return filtered[index : index + count]


def _interpolate(data: np.ndarray, first: Fraction, step: Fraction, count: int) -> np.ndarray:
    """Evaluate the same filter at arbitrary positions, from a table of its shifted copies."""
    lower_rate = min(1.0, float(1 / step))
    half = math.ceil(HALF_WIDTH / lower_rate)
    shift = np.linspace(0, 1, TABLE_STEPS + 1)[:, None]
    table = _kernel(np.arange(1 - half, half + 1) - shift, half, lower_rate)
    table /= table.sum(1, keepdims=True)  # (TABLE_STEPS + 1, 2 * half)
    position = float(first) + np.arange(count) * float(step)
    before = np.floor(position).astype(np.int64)
    place = (position - before) * TABLE_STEPS
    row = np.minimum(place.astype(np.int64), TABLE_STEPS - 1)
    part = (place - row)[:, None]
    margin = half + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(data, margin, mode="edge"), 2 * half)
    out = np.empty(count)
    for i in range(0, count, 16384):  # bounds the memory of the gathered windows
        some = slice(i, i + 16384)
        weights = table[row[some]] * (1 - part[some]) + table[row[some] + 1] * part[some]
        out[some] = np.einsum("ij,ij->i", windows[before[some] + margin - half + 1], weights)
    return out


def _kernel(lag: np.ndarray, half: float, lower_rate: float) -> np.ndarray:
    """Kaiser-windowed sinc at lags in source samples, zero at and beyond `half`."""
    taper = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (lag / half) ** 2, 0, None)))
    return np.sinc(CUTOFF * lower_rate * lag) * taper * (np.abs(lag) < half)


@functools.lru_cache(maxsize=256)
def _fraction(rate_hz: float) -> Fraction:
    """A sampling rate as the plain number that a header in single precision stands for."""
    plain = Fraction(rate_hz).limit_denominator(LARGEST_FACTOR)
    if plain and abs(plain / Fraction(rate_hz) - 1) < HEADER_PRECISION:
        return plain
    return Fraction(rate_hz).limit_denominator(10**6)
