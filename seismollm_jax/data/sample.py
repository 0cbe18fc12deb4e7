"""From a record to one sample: noise decision, augmentation, window, normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seismollm_jax.data import waveform as wf
from seismollm_jax.data.augment import Augmentation, Augmented, augment
from seismollm_jax.data.records import NO_POLARITY, Record, Sample


@dataclass(frozen=True)
class SampleOptions:
    """What a sample looks like; the model must be used with the same.

    `window` is in samples. `min_event_gap_s` is the least time between the start of a drawn window
    and the first P arrival, where the trace allows, and between an event and one added behind it;
    `coda_ratio` times the S minus P time follows S before an event ends. Traces with a signal-to-
    noise ratio below `min_snr_db` on all three components count as noise. `p_position_ratio`,
    between 0 and 1, puts the first P arrival at that fraction of the window instead of drawing the
    window. With `noise_keeps_values` a trace that is taken for noise, or turned into it, keeps
    magnitude, distance, back azimuth and polarity, as in the PyTorch original; otherwise they go
    missing.
    """

    window: int
    sampling_rate_hz: float
    normalisation: str = "std"
    min_snr_db: float = -math.inf
    p_position_ratio: float | None = None
    coda_ratio: float = 2.0
    min_event_gap_s: float = 0.5
    noise_keeps_values: bool = True

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window is {self.window} samples; it must be 1 or more")
        if not self.sampling_rate_hz >= 2:
            raise ValueError(
                f"sampling_rate_hz is {self.sampling_rate_hz}; it must be 2 Hz or more"
            )
        if self.normalisation not in wf.NORMALISATIONS:
            raise ValueError(
                f"normalisation is {self.normalisation!r}; choose from "
                f"{', '.join(wf.NORMALISATIONS)}"
            )
        if self.p_position_ratio is not None and not 0 <= self.p_position_ratio <= 1:
            raise ValueError(
                f"p_position_ratio is {self.p_position_ratio}; it must lie between 0 and 1, "
                "or be None to draw the window"
            )
        for name in ("coda_ratio", "min_event_gap_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")

    @property
    def min_event_gap(self) -> int:
        """`min_event_gap_s` in samples, truncated."""
        return int(self.min_event_gap_s * self.sampling_rate_hz)


def is_noise(record: Record, min_snr_db: float = -math.inf) -> bool:
    """Decide whether a trace is taken for noise.

    It is without picks, with a pick outside the trace, and unless there are either as many P as S
    picks, each P before its S, or picks of one phase alone, the other not being labelled (the
    PyTorch original takes these for noise). It also is when all three signal-to-noise ratios are
    below `min_snr_db`; a missing ratio counts as good enough.
    """
    p, s = record.p_samples, record.s_samples
    if not (p or s) or (p and s and len(p) != len(s)):
        return True
    if min([*p, *s]) < 0 or max([*p, *s]) >= len(record.waveform):
        return True
    if all(snr_db < min_snr_db for snr_db in record.snr_db):
        return True
    return any(a >= b for a, b in zip(p, s, strict=False))


def make_sample(
    record: Record,
    rng: np.random.Generator,
    options: SampleOptions,
    augmentation: Augmentation | None = None,
) -> Sample:
    """Make one sample of a record.

    The order is that of the PyTorch original: noise decision, augmentation (unless it is None),
    window, normalisation. The window of a trace longer than it starts at random; `rng` decides, so
    a generator made from the record alone gives a fixed window. A shorter trace is filled
    with zeros at its end. With a fixed P position a trace without picks gets a window as if
    the position were free. `record` stays as it is.
    """
    fixed = options.p_position_ratio is not None
    noise = is_noise(record, options.min_snr_db)
    out = Augmented(record.waveform, [], [], noise=noise)
    if not noise:
        # Sorted pairs are still pairs with P before S, so none needs a made-up partner here.
        out.p_samples, out.s_samples = sorted(record.p_samples), sorted(record.s_samples)
    if augmentation is not None:
        out = augment(
            *(out.waveform, out.p_samples, out.s_samples, rng, augmentation),
            sampling_rate_hz=options.sampling_rate_hz,
            min_event_gap=options.min_event_gap,
            coda_ratio=options.coda_ratio,
            keep_position=fixed,
        )
        out.noise |= noise

    window, n_samples = options.window, len(out.waveform)
    start = 0
    if options.p_position_ratio is not None and out.p_samples:
        start = wf.fixed_start(out.p_samples[0], window, options.p_position_ratio)
    elif n_samples > window:
        bound = wf.start_bound(n_samples, window, out.p_samples, options.min_event_gap)
        start = int(rng.integers(0, bound))

    keep = options.noise_keeps_values or not out.noise
    return Sample(
        waveform=wf.normalise(wf.cut(out.waveform, start, window), options.normalisation),
        p_samples=wf.cut_picks(out.p_samples, start, window),
        s_samples=wf.cut_picks(out.s_samples, start, window),
        magnitude=record.magnitude if keep else math.nan,
        distance_km=record.distance_km if keep else math.nan,
        back_azimuth_deg=record.back_azimuth_deg if keep else math.nan,
        polarity=record.polarity if keep else NO_POLARITY,
        window_start=start,
        shift=out.shift,
        noise=out.noise,
        p_labelled=noise or bool(record.p_samples),
        s_labelled=noise or bool(record.s_samples),
    )
