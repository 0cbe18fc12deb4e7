"""Three-component ground motion of one earthquake at one station.

Each of P and S is a train of impulses (direct wave, conversions at the base of the soft layer,
reverberations, multipaths) convolved with a minimum-phase wavelet, so that nothing comes before its
onset, plus scattered coda: noise of the same spectrum under an envelope that starts at the onset
and decays with lapse time, faster at higher frequency (Aki & Chouet 1975).
"""

from dataclasses import dataclass

import numpy as np

from seismollm_jax.data.synthetic.earth import Ray, free_surface
from seismollm_jax.data.synthetic.network import Region, Station, sensor_response, site_response
from seismollm_jax.data.synthetic.noise import FFT_SAMPLES, FREQUENCY_HZ, SAMPLES, SAMPLING_RATE_HZ
from seismollm_jax.data.synthetic.source import velocity_spectrum

VISIBLE = 0.03  # a wavelet begins where it first reaches this share of its peak
BAND_CENTRES_HZ = np.array([0.7, 2.0, 5.0, 12.0, 28.0])  # bands in which coda decays alike
MEAN_RADIATION = {"P": np.sqrt(4.0 / 15.0), "S": np.sqrt(2.0 / 5.0)}  # over the focal sphere


@dataclass(frozen=True, slots=True)
class WavePath:
    """One earthquake seen from one station. Times are after the origin, angles in degrees."""

    region: Region
    station: Station
    moment_nm: float
    corner_hz: float
    depth_km: float
    distance_km: float
    back_azimuth_deg: float
    ray: Ray
    later_ray: Ray | None
    p_time_s: float
    s_time_s: float
    radiation: tuple[float, float, float]  # P, SV, SH


def wave_spectrum(
    path: WavePath, phase: str, horizontal: bool, frequency_hz: np.ndarray
) -> np.ndarray:
    """Discrete amplitude spectrum in counts of a phase with radiation coefficient one."""
    region, station = path.region, path.station
    slower = 1.0 if phase == "P" else region.crust.vp_over_vs
    wave_km_s = region.crust.velocity_km_s(path.depth_km) / slower
    layer_km_s = station.layer_vp_km_s if phase == "P" else station.layer_vs_km_s
    time_s = path.p_time_s if phase == "P" else path.s_time_s
    # P corner above S corner as in Madariaga (1976); Qp above Qs as commonly observed.
    corner_hz = path.corner_hz * (1.5 if phase == "P" else 1.0)
    q = region.q_at_1_hz * np.maximum(frequency_hz, 1.0) ** region.q_exponent
    if phase == "P":
        q = 1.6 * q
    spectrum = velocity_spectrum(
        frequency_hz, path.moment_nm, corner_hz, wave_km_s, path.ray.length_km
    )
    spectrum *= np.exp(-np.pi * frequency_hz * time_s / q) * np.sqrt(wave_km_s / layer_km_s)
    spectrum *= site_response(station, phase, frequency_hz, horizontal)
    return SAMPLING_RATE_HZ * spectrum * sensor_response(station, frequency_hz)


def minimum_phase(amplitude: np.ndarray) -> np.ndarray:
    """Complex spectrum of the causal wavelet with this amplitude, by folding the real cepstrum.

    Oppenheim & Schafer, Discrete-Time Signal Processing, chapter 13.
    """
    floor = amplitude.max() * 1e-8
    cepstrum = np.fft.irfft(np.log(np.maximum(amplitude, floor)), FFT_SAMPLES)
    cepstrum[1 : FFT_SAMPLES // 2] *= 2.0
    cepstrum[FFT_SAMPLES // 2 + 1 :] = 0.0
    return np.exp(np.fft.rfft(cepstrum))


def ground_motion(
    rng: np.random.Generator, path: WavePath, p_sample: int, s_sample: int
) -> np.ndarray:
    """Return the noise-free record in counts on Z, N, E: (3, samples)."""
    motion = phase_motion(rng, path, "P", p_sample) + phase_motion(rng, path, "S", s_sample)
    # From radial and transverse to north and east; radial points away from the source.
    azimuth = np.radians(path.back_azimuth_deg + 180.0)
    vertical, radial, transverse = motion
    north = radial * np.cos(azimuth) - transverse * np.sin(azimuth)
    east = radial * np.sin(azimuth) + transverse * np.cos(azimuth)
    return np.stack([vertical, north, east])


def phase_motion(rng: np.random.Generator, path: WavePath, phase: str, onset: int) -> np.ndarray:
    """Return P or S with its coda in counts on Z, radial, transverse: (3, samples).

    `onset` is the sample on which the direct wave begins.
    """
    station, p_slowness = path.station, path.ray.ray_parameter_s_km
    s_slowness = p_slowness * path.region.crust.vp_over_vs

    def surface(slowness: float, kind: int) -> np.ndarray:  # kind 0 for P, 1 for SV
        motion = free_surface(slowness, station.layer_vp_km_s, station.layer_vs_km_s)[kind]
        return np.array([motion[1], motion[0], 0.0])  # Z, radial, transverse

    p_factor, sv_factor, sh_factor = path.radiation
    if phase == "P":
        polarisation = surface(p_slowness, 0)
        direct, converted = p_factor * polarisation, surface(p_slowness, 1)
    else:
        polarisation = np.zeros(3)
        direct = sv_factor * surface(s_slowness, 1) + sh_factor * np.array([0.0, 0.0, 2.0])
        converted = surface(p_slowness, 0)
    amplitude = [wave_spectrum(path, phase, h, FREQUENCY_HZ) for h in (False, True)]
    wavelet = np.stack([minimum_phase(a) for a in amplitude])[[0, 1, 1]]
    shape = np.abs(np.fft.irfft(wavelet[:2], FFT_SAMPLES))
    early = int(np.argmax((shape > VISIBLE * shape.max(1, keepdims=True)).any(0)))
    train = _impulses(rng, path, phase, direct, converted, onset - early)
    motion = np.fft.irfft(np.fft.rfft(train) * wavelet, FFT_SAMPLES)[:, :SAMPLES]
    level = 2.0 * MEAN_RADIATION[phase] * np.array(amplitude)[[0, 1, 1]]
    motion[:, onset:] += _coda(rng, path, phase, level, polarisation, SAMPLES - onset)
    return motion


def _impulses(
    rng: np.random.Generator,
    path: WavePath,
    phase: str,
    direct: np.ndarray,
    converted: np.ndarray,
    start: int,
) -> np.ndarray:
    """Impulses of one phase on Z, radial, transverse, the first at sample `start`."""
    train = np.zeros((3, FFT_SAMPLES))

    def add(delay_s: float, motion: np.ndarray) -> None:
        sample = start + round(delay_s * SAMPLING_RATE_HZ)
        if 0 <= sample < SAMPLES:
            train[:, sample] += motion

    # Scattering along the path takes from the direct wave what it gives to the coda.
    direct = direct * 10.0 ** -abs(rng.normal(0.0, 0.35))
    mean = 2.0 * MEAN_RADIATION[phase]
    ruptures = 1 + rng.poisson(min(4.0, 1.0 / path.corner_hz))  # large events break in steps
    weights = rng.dirichlet(np.full(ruptures, 2.0))
    delays = np.concatenate([[0.0], np.sort(rng.exponential(1.2 / path.corner_hz, ruptures - 1))])
    later = path.later_ray
    for weight, delay in zip(weights, delays, strict=True):
        if later is None:
            add(delay, weight * direct)
        else:  # a weak head wave, then the direct wave through the crust
            slower = 1.0 if phase == "P" else path.region.crust.vp_over_vs
            add(delay, 0.25 * weight * direct)
            wait_s = (later.travel_time_s - path.ray.travel_time_s) * slower
            add(delay + wait_s, weight * direct)

    station = path.station
    layer_km = station.layer_m / 1000.0
    lag_s = layer_km / station.layer_vs_km_s - layer_km / station.layer_vp_km_s
    size = float(np.abs(direct).max())
    strength = rng.uniform(0.0, 0.35) * rng.choice([-1.0, 1.0])
    # P to S arrives after P; S to P arrives before S and hides its onset.
    add(lag_s if phase == "P" else -lag_s, strength * size * converted)
    echo_s = 2.0 * layer_km / (station.layer_vp_km_s if phase == "P" else station.layer_vs_km_s)
    for n, reflection in enumerate(-(rng.uniform(0.1, 0.5) ** np.arange(1, 4)), start=1):
        add(n * echo_s, reflection * (-1.0) ** (n - 1) * direct)
    # Multipaths: P paths stay near the ray, S paths come with any polarisation.
    along = direct / max(np.linalg.norm(direct), 1e-12)
    paths, spread_s = (8, rng.uniform(0.1, 1.0)) if phase == "P" else (20, rng.uniform(0.05, 0.4))
    for delay in rng.exponential(spread_s, rng.poisson(paths)):
        stray = rng.standard_normal(3) * ([0.5, 0.25, 0.25] if phase == "P" else [0.4, 0.8, 0.8])
        if phase == "P":
            stray += rng.standard_normal() * along
        add(0.02 + delay, 0.25 * mean * np.exp(-delay) * stray)
    return train


def _coda(
    rng: np.random.Generator,
    path: WavePath,
    phase: str,
    level: np.ndarray,
    polarisation: np.ndarray,
    samples: int,
) -> np.ndarray:
    """Return the scattered waves after one onset on Z, radial, transverse: (3, samples).

    Much of the P coda is scattered forwards and keeps the polarisation of the ray; the rest of it
    and all of the S coda come from everywhere.
    """
    lapse_s = max(path.p_time_s if phase == "P" else path.s_time_s, 0.3)
    time_s = (np.arange(samples) + 1.0) / SAMPLING_RATE_HZ
    # Envelopes broaden with distance (Saito et al. 2002); the rise time makes emergent onsets.
    rise_s = np.exp(rng.uniform(np.log(0.01), np.log(0.25))) * (1.0 + lapse_s / 6.0)
    if path.later_ray is not None:
        level = 0.4 * level
        rise_s += path.later_ray.travel_time_s - path.ray.travel_time_s
    power = rng.uniform(0.0, 1.5) if phase == "P" else rng.uniform(1.3, 3.0)
    decay = (1.0 + time_s / lapse_s) ** -power * (1.0 - np.exp(-time_s / rise_s))
    q = 0.8 * path.region.q_at_1_hz * np.maximum(BAND_CENTRES_HZ, 1.0) ** path.region.q_exponent
    envelopes = decay * np.exp(-np.pi * BAND_CENTRES_HZ[:, None] * time_s / q[:, None])
    # Energy of the coda in units of the energy of the direct wave.
    ratio = np.exp(rng.normal(np.log(16.0 if phase == "P" else 2.5), 0.7)) * (lapse_s / 3.0) ** 0.2
    envelopes *= np.sqrt(ratio / (envelopes[2] ** 2).sum())
    stray = rng.uniform(0.35, 0.9)
    partition = [1.0, stray, stray] if phase == "P" else [0.55, 1.0, 1.0]
    bins = FREQUENCY_HZ.size
    white = rng.standard_normal((3, bins)) + 1j * rng.standard_normal((3, bins))
    white *= np.sqrt(FFT_SAMPLES / 2.0) * np.array(partition)[:, None]
    if phase == "P":
        forward = rng.uniform(0.4, 0.95)
        white[1] *= np.sqrt(1.0 - forward**2)
        white[1] += forward * white[0] * polarisation[1] / polarisation[0]
    white *= level
    coda = np.zeros((3, samples))
    for weight, envelope in zip(_BAND_WEIGHTS, envelopes, strict=True):
        coda += np.fft.irfft(white * weight, FFT_SAMPLES)[:, :samples] * envelope
    return coda


def _band_weights() -> np.ndarray:
    """Smooth bands around the centres, adding up to one in power at every frequency."""
    position = np.interp(
        np.log(np.maximum(FREQUENCY_HZ, 1e-3)),
        np.log(BAND_CENTRES_HZ),
        np.arange(BAND_CENTRES_HZ.size),
    )
    distance = np.abs(position - np.arange(BAND_CENTRES_HZ.size)[:, None])
    return np.cos(0.5 * np.pi * np.minimum(distance, 1.0))


_BAND_WEIGHTS = _band_weights()
