"""How good a pick is: the width of its peak and the signal-to-noise ratio."""

from __future__ import annotations

import math

import numpy as np

HALF_WIDTHS = 2 * math.sqrt(2 * math.log(2))  # full width at half height of a normal distribution
LONGEST_S = 10.0  # peaks are not followed further than this
SIGNAL_S = 2.0  # after the pick
NOISE_S = 5.0  # before it,
GUARD_S = 0.2  # and not so close to it


def uncertainty(curve: np.ndarray, peak: int, rate_hz: float) -> float | None:
    """Standard deviation of a normal distribution as wide as a peak at half its height, seconds.

    None where the curve does not fall to half the height on either side before it ends. Where it
    does so on one side alone, that side counts twice.

    Args:
        curve: (samples,), nan where it has no value.
        peak: sample of the peak.
        rate_hz: of the curve.
    """
    reach = round(LONGEST_S * rate_hz)
    half = float(curve[peak]) / 2
    sides = [
        _fall(curve[peak : peak + reach + 1], half),
        _fall(curve[max(0, peak - reach) : peak + 1][::-1], half),
    ]
    known = [side for side in sides if side is not None]
    return 2 * sum(known) / len(known) / HALF_WIDTHS / rate_hz if known else None


def _fall(curve: np.ndarray, half: float) -> float | None:
    """Samples from the first one on until a curve has fallen to `half`, between two on a line."""
    below = np.flatnonzero(~(curve > half))
    if not len(below) or np.isnan(curve[below[0]]):
        return None
    i = int(below[0])
    before, after = float(curve[i - 1]), float(curve[i])
    return i - 1 + (before - half) / (before - after)


def snr_db(data: np.ndarray, valid: np.ndarray, sample: int, rate_hz: float) -> float | None:
    """Ratio of the power after and before a pick, over all components together, in decibels.

    The mean of the noise is taken away from each component first. None where fewer than half of the
    samples of either stretch have data on any component, or the noise is nothing.

    Args:
        data: (samples, components).
        valid: the same shape, where there is data.
        sample: of the pick.
        rate_hz: of the data.
    """
    guard = sample - round(GUARD_S * rate_hz)
    before = slice(max(0, guard - round(NOISE_S * rate_hz)), max(0, guard))
    after = slice(sample, sample + round(SIGNAL_S * rate_hz))
    noise_power = signal_power = 0.0
    for column in range(data.shape[1]):
        has_noise, has_signal = valid[before, column], valid[after, column]
        noise = data[before, column][has_noise].astype(np.float64)
        signal = data[after, column][has_signal].astype(np.float64)
        if len(noise) < NOISE_S * rate_hz / 2 or len(signal) < SIGNAL_S * rate_hz / 2:
            continue
        level = noise.mean()
        noise_power += float(np.square(noise - level).mean())
        signal_power += float(np.square(signal - level).mean())
    if not noise_power or not signal_power:
        return None
    return 10 * math.log10(signal_power / noise_power)
