"""Station noise: coloured background, monochromatic lines, footsteps and glitches."""

import numpy as np

from seismollm_jax.data.synthetic.network import Station, noise_spectrum

SAMPLING_RATE_HZ = 100.0
SAMPLES = 6000
FFT_SAMPLES = 8192
FREQUENCY_HZ = np.fft.rfftfreq(FFT_SAMPLES, 1.0 / SAMPLING_RATE_HZ)


def background_rms(station: Station, level_db: float) -> np.ndarray:
    """Return the expected noise amplitude above 1 Hz in counts on Z, N, E."""  # (3,)
    high = FREQUENCY_HZ > 1.0
    step_hz = FREQUENCY_HZ[1]
    rms = [
        np.sqrt(noise_spectrum(station, FREQUENCY_HZ, horizontal, level_db)[high].sum() * step_hz)
        for horizontal in (False, True)
    ]
    return np.array([rms[0], rms[1], rms[1]])


def station_noise(
    rng: np.random.Generator, station: Station, level_db: float, transient_share: float
) -> np.ndarray:
    """Return one minute of noise in counts on Z, N, E: (3, samples).

    `level_db` moves the band above 1 Hz up or down from the station's average (day and night),
    `transient_share` is the chance that the trace holds footsteps, vehicles or electric spikes.
    """
    bins = FREQUENCY_HZ.size
    spectrum = rng.standard_normal((3, bins)) + 1j * rng.standard_normal((3, bins))
    for c, horizontal in enumerate((False, True, True)):
        density = noise_spectrum(station, FREQUENCY_HZ, horizontal, level_db)
        spectrum[c] *= np.sqrt(density * SAMPLING_RATE_HZ * FFT_SAMPLES / 4.0)
    noise = np.fft.irfft(spectrum, FFT_SAMPLES)[:, :SAMPLES]
    rms = background_rms(station, level_db)
    time_s = np.arange(SAMPLES) / SAMPLING_RATE_HZ
    for frequency in station.line_frequencies_hz:
        beat = 1.0 + 0.4 * np.sin(2.0 * np.pi * rng.uniform(0.02, 0.5) * time_s + rng.uniform(0, 6))
        phase = rng.uniform(0.0, 2.0 * np.pi, (3, 1))
        amplitude = rng.uniform(0.2, 1.5) * rms * rng.uniform(0.3, 1.0, 3)
        noise += amplitude[:, None] * beat * np.sin(2.0 * np.pi * frequency * time_s[None] + phase)
    if rng.random() < transient_share:
        for _ in range(rng.integers(1, 5)):
            noise += _burst(rng, time_s) * rms[:, None]
    if rng.random() < 0.015:
        noise[rng.integers(0, 3), rng.integers(0, SAMPLES)] += rng.normal(0.0, 40.0) * rms[0]
    return noise


def _burst(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """Draw a passing disturbance in units of the noise: a narrow-band packet or a short rattle."""
    centre_s, width_s = rng.uniform(0.0, 60.0), np.exp(rng.uniform(np.log(0.03), np.log(4.0)))
    frequency_hz = np.exp(rng.uniform(np.log(1.5), np.log(35.0)))
    envelope = np.exp(-0.5 * ((time_s - centre_s) / width_s) ** 2)
    carrier = np.sin(2.0 * np.pi * frequency_hz * time_s + rng.uniform(0.0, 6.3, (3, 1)))
    if rng.random() < 0.4:
        carrier = carrier * rng.standard_normal(time_s.size)
    amplitude = np.exp(rng.uniform(np.log(1.5), np.log(15.0)))
    return amplitude * rng.uniform(0.2, 1.0, (3, 1)) * envelope * carrier
