"""Augmentation of one trace.

Each operation is a pure function of the waveform (samples, components) and of what was drawn for
it. `augment` draws and applies them in the order, and with the distributions, of the
PyTorch original: fed with the same random numbers it gives the same trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from seismollm_jax.data.labels import coda_end

NOISE_SNR_DB = (10, 50)
"""Added noise is this far below the trace, in whole dB, the upper end excluded."""

SCALE_FACTOR = (1.0, 3.0)
"""Range of the factor that amplitudes are multiplied with or divided by."""


@dataclass(frozen=True)
class Augmentation:
    """How often each operation happens; rates are probabilities between 0 and 1.

    `max_events` is the number of events that added ones fill a trace up to, each with the rate
    `add_event_rate`. `mask_percent` and `noise_percent` are the share of half-second windows set to
    1 or replaced by noise (the original mixes these two up). Scaling the amplitude has no effect
    once the window is normalised; it is kept so that the random numbers stay in step.

    The last six are no part of the original and off unless asked for; `field_augment` has them.
    Ranges in dB are of amplitude ratios drawn uniformly: the added event over the record's own,
    and the record's event over the added noise.
    """

    generate_noise_rate: float = 0.05
    add_event_rate: float = 0.0
    max_events: int = 1
    shift_rate: float = 0.2
    drop_channel_rate: float = 0.4
    scale_amplitude_rate: float = 0.4
    pre_emphasis_rate: float = 0.4
    pre_emphasis_ratio: float = 0.97
    add_noise_rate: float = 0.4
    gap_rate: float = 0.4
    mask_percent: int = 0
    noise_percent: int = 0
    rotate_rate: float = 0.0
    flip_polarity_rate: float = 0.0
    superpose_rate: float = 0.0
    superpose_level_db: tuple[float, float] = (-10.0, 10.0)
    real_noise_rate: float = 0.0
    real_noise_snr_db: tuple[float, float] = (0.0, 30.0)

    def __post_init__(self) -> None:
        limits = {"rate": 1.0, "percent": 100}
        for item in fields(self):
            value, limit = getattr(self, item.name), limits.get(item.name.rsplit("_", 1)[-1])
            if limit is not None and not 0 <= value <= limit:
                raise ValueError(f"{item.name} is {value}; it must lie between 0 and {limit}")
        if self.max_events < 1:
            raise ValueError(f"max_events is {self.max_events}; it must be 1 or more")
        for name in ("superpose_level_db", "real_noise_snr_db"):
            ends = tuple(getattr(self, name))
            if len(ends) != 2 or not -200 <= ends[0] <= ends[1] <= 200:
                raise ValueError(f"{name} is {ends}; it must be (lowest, highest), in -200 to 200")


@dataclass(slots=True)
class Augmented:
    """Outcome of `augment`: trace, picks, circular shift, and whether it was turned into noise."""

    waveform: np.ndarray  # (samples, components)
    p_samples: list[int]
    s_samples: list[int]
    shift: int = 0
    noise: bool = False


# Operations


def replace_events(
    waveform: np.ndarray, spans: Sequence[tuple[int, int]], noises: Sequence[np.ndarray]
) -> np.ndarray:
    """Overwrite each [start, end) with its unit noise (end - start, components)."""
    out = waveform.copy("K")
    for (start, end), noise in zip(spans, noises, strict=True):
        out[start:end] = noise
    return out


def event_spans(
    p_samples: Sequence[int], s_samples: Sequence[int], coda_ratio: float, n_samples: int
) -> list[tuple[int, int]]:
    """From each P to the end of its coda, [start, end) inside the trace; empty spans left out."""
    ends = [
        min(max(coda_end(p, s, coda_ratio), 0), n_samples)
        for p, s in zip(p_samples, s_samples, strict=True)
    ]
    return [(p, end) for p, end in zip(p_samples, ends, strict=True) if p < end]


def add_event(
    waveform: np.ndarray, source: int, length: int, position: int, scale: float
) -> np.ndarray:
    """Add `scale` times the `length` samples from `source` on at `position`; cut at the end."""
    length = min(len(waveform) - position, length)
    out = waveform.copy("K")
    out[position : position + length] += np.float32(scale) * waveform[source : source + length]
    return out


def shift_circularly(waveform: np.ndarray, shift: int) -> np.ndarray:
    """Move every sample `shift` later; what leaves at the end comes back at the start."""
    return np.roll(waveform, shift, axis=0)


def shift_picks(samples: Sequence[int], shift: int, n_samples: int) -> list[int]:
    """Shift picks circularly and sort them. A wrapped S pick may end up before its P pick."""
    return sorted((sample + shift) % n_samples for sample in samples)


def drop_channels(waveform: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Set components to zero."""
    out = waveform.copy("K")
    out[:, list(channels)] = 0.0
    return out


def adjust_amplitude(waveform: np.ndarray) -> np.ndarray:
    """Multiply by the number of components over the number of those that are not all zero."""
    alive = sum(bool(component.any()) for component in waveform.T)
    return waveform * np.float32(waveform.shape[1] / alive) if alive else waveform


def scale_amplitude(waveform: np.ndarray, coin: float, factor: float) -> np.ndarray:
    """Multiply by `factor` if `coin` is below one half, otherwise divide by it."""
    factor32 = np.float32(factor)
    return waveform * factor32 if coin < 0.5 else waveform / factor32


def pre_emphasise(waveform: np.ndarray, ratio: float) -> np.ndarray:
    """Subtract `ratio` times the sample before; the first sample stays."""
    out = waveform.copy("K")
    out[1:] -= np.float32(ratio) * waveform[:-1]
    return out


def add_noise(waveform: np.ndarray, snr_db: Sequence[float], normal: np.ndarray) -> np.ndarray:
    """Add noise to each component, `snr_db` below its mean square.

    `normal` holds standard normal numbers, (samples, components). The mean is not removed first, so
    a component with an offset gets more noise.
    """
    rows = np.array(waveform.T, np.float64, order="C")  # sums across memory are slow
    power = np.vecdot(rows, rows) / rows.shape[1]
    amplitude = np.sqrt(power * 10.0 ** (-np.asarray(snr_db) / 10.0))
    rows += amplitude[:, None] * normal.T
    return rows.astype(waveform.dtype).T


def blank_gap(waveform: np.ndarray, start: int, end: int) -> np.ndarray:
    """Set [start, end) to zero on all components."""
    out = waveform.copy("K")
    out[start:end] = 0.0
    return out


def window_count(n_samples: int, window: int, percent: float) -> int:
    """Count the windows that make up `percent` of the whole ones in a trace, rounded down."""
    return int((n_samples // window) * min(max(percent, 0), 100) // 100)


def fill_windows(
    waveform: np.ndarray, selected: Sequence[int], window: int, noises: Sequence[np.ndarray] | None
) -> np.ndarray:
    """Overwrite the windows numbered `selected`: with 1, or with noise (window, components)."""
    out = waveform.copy("K")
    for position, index in enumerate(selected):
        out[index * window : (index + 1) * window] = 1.0 if noises is None else noises[position]
    return out


# Draws


def draw_normal(n_samples: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """Draw standard normal numbers (samples, components), one component after the other."""
    return rng.standard_normal((channels, n_samples)).T


def draw_event(
    n_samples: int,
    p_samples: Sequence[int],
    s_samples: Sequence[int],
    coda_ratio: float,
    min_gap: int,
    rng: np.random.Generator,
) -> tuple[int, int, int, float] | None:
    """Choose an event to repeat: (its number, its length in samples, where to, scale).

    None if there is no room for it behind its own coda.
    """
    index = int(rng.integers(0, len(p_samples)))
    p, s = p_samples[index], s_samples[index]
    end = coda_end(p, s, coda_ratio)
    earliest, latest = end + min_gap, n_samples - (s - p) - min_gap
    if earliest >= latest:
        return None
    return index, end - p, int(rng.integers(earliest, latest)), float(rng.random())


def draw_channels(channels: int, rng: np.random.Generator) -> list[int]:
    """Choose components to drop: at least one, never all."""
    if channels < 2:
        return []
    left, chosen = list(range(channels)), []
    for _ in range(int(rng.choice(list(range(1, channels))))):
        chosen.append(int(rng.choice(left)))
        left.remove(chosen[-1])
    return chosen


def draw_gap(n_samples: int, picks: Sequence[int], rng: np.random.Generator) -> tuple[int, int]:
    """Choose a gap [start, end) between two neighbouring picks, or the last one and the end.

    So a gap never starts before the first pick, may start on it, and may be empty. Without picks
    it lies anywhere. A trace too short, or one whose only pick is the last sample, has no room:
    the gap is empty.
    """
    if not picks:
        if n_samples < 2:
            return 0, 0
        start = int(rng.integers(0, n_samples - 1))
        return start, int(rng.integers(start + 1, n_samples))
    marks = sorted({*picks, n_samples - 1})
    if len(marks) == 1:
        return 0, 0
    segment = int(rng.integers(0, len(marks) - 1))
    start = int(rng.integers(marks[segment], marks[segment + 1]))
    return start, int(rng.integers(start, marks[segment + 1]))


def augment(
    waveform: np.ndarray,
    p_samples: Sequence[int],
    s_samples: Sequence[int],
    rng: np.random.Generator,
    augmentation: Augmentation,
    *,
    sampling_rate_hz: float,
    min_event_gap: int,
    coda_ratio: float,
    keep_position: bool = False,
) -> Augmented:
    """Augment one trace.

    `waveform` is float32 (samples, components) and stays as it is. The picks must be pairs, each P
    before its S, inside the trace, or of one phase alone, or both empty. An event without a P or
    an S is neither repeated nor replaced, since nobody knows where it ends.

    First it is drawn whether the events are replaced by noise; if so only channels, amplitude and
    the half-second windows are touched afterwards. `min_event_gap` is in samples. `keep_position`
    turns off what moves, adds or removes an event.
    """
    out = Augmented(waveform, list(p_samples), list(s_samples))
    n_samples, channels = waveform.shape
    keep_events = keep_position or len(out.p_samples) != len(out.s_samples)

    def happens(rate: float) -> bool:  # drawn even when the rate is 0, as the original does
        return bool(rng.random() < rate)

    out.noise = happens(0.0 if keep_events else augmentation.generate_noise_rate)
    if out.noise:
        spans = event_spans(out.p_samples, out.s_samples, coda_ratio, n_samples)
        noises = [draw_normal(end - start, channels, rng) for start, end in spans]
        out.waveform = replace_events(out.waveform, spans, noises)
        out.p_samples, out.s_samples = [], []
    else:
        for _ in range(augmentation.max_events - len(out.p_samples)):
            wanted = happens(0.0 if keep_events else augmentation.add_event_rate)
            if wanted and out.p_samples:
                _repeat_event(out, coda_ratio, min_event_gap, rng)
        if happens(0.0 if keep_position else augmentation.shift_rate):
            out.shift = int(rng.integers(0, n_samples))
            out.waveform = shift_circularly(out.waveform, out.shift)
            out.p_samples = shift_picks(out.p_samples, out.shift, n_samples)
            out.s_samples = shift_picks(out.s_samples, out.shift, n_samples)

    if happens(augmentation.drop_channel_rate):
        dropped = drop_channels(out.waveform, draw_channels(channels, rng))
        out.waveform = adjust_amplitude(dropped)
    if happens(augmentation.scale_amplitude_rate):
        coin, factor = rng.uniform(0, 1), rng.uniform(*SCALE_FACTOR)
        out.waveform = scale_amplitude(out.waveform, coin, factor)
    if not out.noise:
        if happens(augmentation.pre_emphasis_rate):
            out.waveform = pre_emphasise(out.waveform, augmentation.pre_emphasis_ratio)
        if happens(augmentation.add_noise_rate):
            drawn = [
                (int(rng.integers(*NOISE_SNR_DB)), rng.standard_normal(n_samples))
                for _ in range(channels)
            ]
            snr_db, normal = zip(*drawn, strict=True)
            out.waveform = add_noise(out.waveform, snr_db, np.stack(normal).T)
        if happens(augmentation.gap_rate):
            gap = draw_gap(n_samples, [*out.p_samples, *out.s_samples], rng)
            out.waveform = blank_gap(out.waveform, *gap)
    window = int(sampling_rate_hz) // 2
    for percent, noise in ((augmentation.noise_percent, True), (augmentation.mask_percent, False)):
        if percent > 0:
            out.waveform = _draw_windows(out.waveform, window, percent, noise, rng)
    return out


def _repeat_event(
    out: Augmented, coda_ratio: float, min_gap: int, rng: np.random.Generator
) -> None:
    """Draw and add one more event to `out`, where there is room."""
    p_samples, s_samples = out.p_samples, out.s_samples
    drawn = draw_event(len(out.waveform), p_samples, s_samples, coda_ratio, min_gap, rng)
    if drawn is None:
        return
    index, length, position, scale = drawn
    p, s = p_samples[index], s_samples[index]
    out.waveform = add_event(out.waveform, p, length, position, scale)
    out.p_samples = sorted([*p_samples, position])
    out.s_samples = sorted([*s_samples, position + s - p])


def _draw_windows(
    waveform: np.ndarray, window: int, percent: int, noise: bool, rng: np.random.Generator
) -> np.ndarray:
    """Draw windows on the grid and fill them with noise or with 1."""
    grid = np.arange(len(waveform) // window)
    count = window_count(len(waveform), window, percent)
    selected = [int(i) for i in rng.choice(grid, size=count, replace=False)]
    channels = waveform.shape[1]
    noises = [draw_normal(window, channels, rng) for _ in selected] if noise else None
    return fill_windows(waveform, selected, window, noises)
