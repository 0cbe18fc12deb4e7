"""Cutting and normalising waveforms; serves training, evaluation and continuous records alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NORMALISATIONS = ("std", "max", "none")


def normalise(waveform: np.ndarray, mode: str = "std") -> np.ndarray:
    """Remove the mean of each component and scale it.

    `waveform` is (samples, components); the result is a new float32 array of that shape. Modes:
    "std" divides by the population standard deviation, "max" by the largest signed value after
    the mean is removed (not the largest magnitude, as in the PyTorch original), "none" only removes
    the mean. A component that is constant, such as a dead channel, becomes zero.

    Sums are taken in float64. The original sums in float32 and so leaves part of a large offset
    in the trace; without such an offset both agree to rounding.

    Raises ValueError for an unknown mode.
    """
    if mode not in NORMALISATIONS:
        raise ValueError(f"normalisation is {mode!r}; choose from {', '.join(NORMALISATIONS)}")
    if len(waveform) == 0:
        return np.zeros(waveform.shape, np.float32)
    centred = waveform - waveform.mean(axis=0, dtype=np.float64)
    # Tested on the input: the float64 mean of a constant may be off by one rounding step, which a
    # division by the equally small deviation would blow up to full amplitude.
    centred[:, waveform.max(axis=0) == waveform.min(axis=0)] = 0.0
    if mode != "none":
        scale = centred.std(axis=0) if mode == "std" else centred.max(axis=0)
        centred /= np.where(scale == 0.0, 1.0, scale)
    return centred.astype(np.float32)


def cut(waveform: np.ndarray, start: int, window: int) -> np.ndarray:
    """Copy `window` samples from `start` on; what lies outside the trace is zero.

    `waveform` is (samples, components), `start` may be negative. Returns (window, components).
    """
    out = np.zeros((window, waveform.shape[1]), waveform.dtype)
    first, last = max(start, 0), min(start + window, len(waveform))
    if first < last:
        out[first - start : last - start] = waveform[first:last]
    return out


def cut_picks(samples: Sequence[int], start: int, window: int) -> list[int]:
    """Keep the picks inside [start, start + window), counted from `start`."""
    return [sample - start for sample in samples if start <= sample < start + window]


def start_bound(n_samples: int, window: int, p_samples: Sequence[int], min_event_gap: int) -> int:
    """Exclusive upper bound of a random window's start, at least 1.

    A window below the bound lies inside the trace and starts more than `min_event_gap` samples
    before the first P arrival, where the trace allows. Arrivals late in the trace may lie behind
    its end, and their labels are then missing from the sample, as in the PyTorch original.
    """
    return max(min([n_samples - window, *p_samples]) - min_event_gap, 1)


def fixed_start(p_sample: int, window: int, p_position_ratio: float) -> int:
    """Start of the window that has `p_sample` at the fraction `p_position_ratio` of its length."""
    return p_sample - int(window * p_position_ratio)
