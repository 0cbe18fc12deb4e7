"""Records with a P and an S in noise, and how strong they are: shared by several tests."""

from collections.abc import Sequence

import numpy as np

from seismollm_jax.data.records import UP, Record


def trace(seed: int, p: Sequence[int] = (100,), s: Sequence[int] = (160,), n: int = 400) -> Record:
    """Noise with stronger noise from each P on."""
    rng = np.random.default_rng(seed)
    waveform = rng.standard_normal((n, 3)) * rng.uniform(0.5, 50)
    for start, factor in [(a, 5) for a in p] + [(b, 3) for b in s]:
        waveform[start:] *= factor
    numbers = {"magnitude": 2.0, "distance_km": 30.0, "back_azimuth_deg": 45.0, "polarity": UP}
    return Record(waveform.astype(np.float32), list(p), list(s), **numbers)


def level(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.square(waveform - waveform.mean(0), dtype=np.float64).mean()))
