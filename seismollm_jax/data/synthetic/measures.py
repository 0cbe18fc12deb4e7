"""What an analyst reads off a trace: first motion, signal-to-noise ratio, end of the coda."""

import numpy as np

from seismollm_jax.data.synthetic.noise import SAMPLES


def first_motion(vertical: np.ndarray, noise_rms: float, p_sample: int, radiated: float) -> str:
    """Return the first motion an analyst would read: U (up), D (down) or, if unclear, empty text.

    The first swing of the noise-free vertical must have the sign of the radiated P, stand out of
    the noise and not be dwarfed by what follows within half a second.
    """
    after = vertical[p_sample : p_sample + 50] * np.sign(radiated)
    down = np.flatnonzero(after <= 0.0)
    swing = after[: down[0] if down.size else None]
    clear = swing.size and swing.max() > max(4.0 * noise_rms, 0.15 * np.abs(after).max())
    return ("U" if radiated > 0.0 else "D") if clear else ""


def snr_db(waveform: np.ndarray, p_sample: int, s_sample: int) -> tuple[float, float, float]:
    """20 log10 of the 95th percentiles of S over noise, five seconds each (Mousavi et al. 2019)."""
    before = waveform[max(0, p_sample - 500) : p_sample]
    after = waveform[s_sample : s_sample + 500]
    loud, quiet = (np.percentile(np.abs(x - x.mean(0)), 95, axis=0) for x in (after, before))
    z, n, e = 20.0 * np.log10(np.maximum(loud, 1e-9) / np.maximum(quiet, 1e-9))
    return float(z), float(n), float(e)


def coda_end(signal: np.ndarray, noise_rms: np.ndarray, s_sample: int) -> int:
    """Last half second after S in which the noise-free signal exceeds the noise."""
    energy = (signal[:, s_sample:] / noise_rms[:, None]) ** 2
    blocks = energy[:, : energy.shape[1] // 50 * 50].reshape(3, -1, 50).mean((0, 2))
    above = np.flatnonzero(blocks > 1.0)
    return min(s_sample + 50 * (int(above[-1]) + 1 if above.size else 1), SAMPLES - 1)
