"""Regions with their crust and stations, and what each station does to ground motion and noise."""

from dataclasses import dataclass

import numpy as np

from seismollm_jax.data.synthetic.earth import Crust, displaced

REGIONS = 26  # one network code each, XA to XZ
# Band and instrument codes of the stations, with their shares.
SENSORS = {"HH": 0.32, "EH": 0.22, "DP": 0.14, "HN": 0.18, "BH": 0.14}

# Peterson (1993), U.S. Geological Survey Open-File Report 93-322, tables 3 and 4: acceleration
# spectral density A + B log10(period) in dB relative to 1 (m/s^2)^2/Hz, from each period on.
_PERIOD_LOW_S = [0.1, 0.17, 0.4, 0.8, 1.24, 2.4, 4.3, 5.0, 6.0, 10.0, 12.0, 15.6, 21.9, 31.6, 45.0]
_A_LOW = [-162.36, -166.7, -170.0, -166.4, -168.6, -159.98, -141.1, -71.36, -97.26, -132.18]
_A_LOW += [-205.27, -37.65, -114.37, -160.58, -187.5]
_B_LOW = [5.64, 0.0, -8.3, 28.9, 52.48, 29.81, 0.0, -99.77, -66.49, -31.57, 36.16, -104.33]
_B_LOW += [-47.1, -16.28, 0.0]
_PERIOD_HIGH_S = [0.1, 0.22, 0.32, 0.8, 3.8, 4.6, 6.3, 7.9, 15.4, 20.0]
_A_HIGH = [-108.73, -150.34, -122.31, -116.85, -108.48, -74.66, 0.66, -93.37, 73.54, -151.52]
_B_HIGH = [-17.23, -80.5, -23.87, 32.51, 18.08, -32.95, -127.18, -22.42, -162.98, 10.01]


@dataclass(frozen=True, slots=True)
class Station:
    """A station: where it stands, the ground below it, its instrument and its noise.

    The soft layer (`layer_m` thick, velocities `layer_vp_km_s` and `layer_vs_km_s`) steepens the
    rays, delays the waves, converts them at its base and resonates. `site_bumps` are
    (class, centre in ln Hz, width, log amplitude) of smooth site amplification, class 0 for the
    vertical and 1 for the horizontals; `noise_bumps` the same in dB of power for the noise.
    """

    network: str
    code: str
    sensor: str
    latitude_deg: float
    longitude_deg: float
    elevation_m: float
    layer_m: float
    layer_vp_km_s: float
    layer_vs_km_s: float
    kappa_s: float
    site_bumps: tuple[tuple[int, float, float, float], ...]
    noise_bumps: tuple[tuple[int, float, float, float], ...]
    microseism_level: float
    cultural_level: float
    line_frequencies_hz: tuple[float, ...]
    natural_frequency_hz: float
    self_noise_db: float
    counts_per_unit: float
    clip_counts: float
    digital_step_counts: float


@dataclass(frozen=True, slots=True)
class Region:
    """A seismic network and the crust and seismicity below it."""

    network: str
    latitude_deg: float
    longitude_deg: float
    aperture_km: float
    crust: Crust
    q_at_1_hz: float
    q_exponent: float
    stress_drop_pa: float
    median_depth_km: float
    smallest_magnitude: float
    b_value: float
    clusters: tuple[tuple[float, float], ...]  # distance in km and azimuth from the centre
    stations: tuple[Station, ...]


def regions(seed: int) -> tuple[Region, ...]:
    """Draw the networks of one synthetic world, which depend on the seed alone."""
    return tuple(_region(np.random.default_rng([seed, 0, i]), i) for i in range(REGIONS))


def _region(rng: np.random.Generator, index: int) -> Region:
    # Every third network is a dense local one (geothermal field, fault segment), where S follows
    # P within a second or two; the others are regional.
    local = index % 3 == 0
    nearest = np.log(3.0 if local else 15.0)
    aperture = float(np.exp(rng.uniform(nearest, np.log(14.0) if local else np.log(160.0))))
    surface, gradient = rng.uniform(4.4, 5.8), rng.uniform(0.015, 0.045)
    thickness = rng.uniform(27.0, 40.0)
    mantle = max(rng.uniform(7.7, 8.2), surface + gradient * thickness + 0.3)
    latitude, longitude = rng.uniform(-50.0, 62.0), rng.uniform(-180.0, 180.0)
    network = "X" + chr(ord("A") + index)
    clusters = tuple(
        (float(aperture * rng.gamma(2.0, 0.35)), float(rng.uniform(0.0, 360.0)))
        for _ in range(rng.integers(4, 12))
    )
    stations = tuple(
        _station(rng, network, i, latitude, longitude, aperture, local)
        for i in range(rng.integers(8, 17))
    )
    return Region(
        network=network,
        latitude_deg=float(latitude),
        longitude_deg=float(longitude),
        aperture_km=aperture,
        crust=Crust(surface, gradient, thickness, mantle, float(rng.uniform(1.67, 1.83))),
        q_at_1_hz=float(np.exp(rng.uniform(np.log(40.0), np.log(220.0)))),
        q_exponent=float(rng.uniform(0.3, 0.8)),
        stress_drop_pa=float(10.0 ** rng.normal(6.4, 0.25)),
        median_depth_km=float(rng.uniform(1.2, 5.0) if local else rng.uniform(4.0, 13.0)),
        smallest_magnitude=float(rng.uniform(0.0, 0.8) if local else rng.uniform(0.3, 3.2)),
        b_value=float(rng.uniform(0.8, 1.15)),
        clusters=clusters,
        stations=stations,
    )


def _station(
    rng: np.random.Generator,
    network: str,
    index: int,
    latitude: float,
    longitude: float,
    aperture_km: float,
    local: bool,
) -> Station:
    position = displaced(
        latitude, longitude, aperture_km * np.sqrt(rng.random()), rng.uniform(0.0, 360.0)
    )
    sensor = str(rng.choice(list(SENSORS), p=list(SENSORS.values())))
    layer_vs = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
    velocity_sensor = sensor != "HN"
    analogue = sensor == "EH" and rng.random() < 0.3  # twelve-bit telemetry
    bits = 12 if analogue else 24
    gain = rng.uniform(7.5, 8.6) if analogue else rng.uniform(7.8, 9.4)
    cultural_lines = rng.integers(1, 4) if rng.random() < 0.3 else 0
    return Station(
        network=network,
        code=f"S{network[1]}{index:02d}",
        sensor=sensor,
        latitude_deg=round(position[0], 4),
        longitude_deg=round(position[1], 4),
        elevation_m=float(rng.integers(0, 2200)),
        layer_m=float(np.exp(rng.uniform(np.log(15.0), np.log(350.0)))),
        layer_vp_km_s=min(layer_vs * float(rng.uniform(1.75, 3.0)), 4.2),
        layer_vs_km_s=layer_vs,
        kappa_s=float(np.exp(rng.uniform(np.log(0.01), np.log(0.05 if local else 0.06)))),
        site_bumps=_bumps(rng, 10, 0.35),
        noise_bumps=_bumps(rng, 12, 3.0),
        microseism_level=float(rng.uniform(0.15, 0.85)),
        cultural_level=float(np.clip(rng.normal(0.71, 0.13), 0.15, 0.95)),
        line_frequencies_hz=tuple(float(f) for f in rng.uniform(1.5, 35.0, cultural_lines)),
        natural_frequency_hz=float(
            rng.choice([1 / 120, 1 / 30, 0.5, 1.0])
            if sensor in ("HH", "BH")
            else rng.choice([1, 2, 4.5])
        ),
        self_noise_db=float(rng.uniform(-135.0, -110.0) if not velocity_sensor else -185.0),
        counts_per_unit=float(10.0 ** (gain if velocity_sensor else rng.uniform(5.0, 6.4))),
        clip_counts=2.0 ** (bits - 1),
        digital_step_counts=1.0 if bits == 12 or rng.random() < 0.5 else 0.0,
    )


def _bumps(
    rng: np.random.Generator, count: int, spread: float
) -> tuple[tuple[int, float, float, float], ...]:
    return tuple(
        (
            int(rng.integers(0, 2)),
            float(rng.uniform(np.log(0.1), np.log(50.0))),
            float(rng.uniform(0.2, 0.8)),
            float(rng.normal(0.0, spread)),
        )
        for _ in range(count)
    )


def _bump_sum(
    bumps: tuple[tuple[int, float, float, float], ...], frequency_hz: np.ndarray, horizontal: bool
) -> np.ndarray:
    log_f = np.log(np.maximum(frequency_hz, 1e-3))
    total = np.zeros_like(log_f)
    for kind, centre, width, height in bumps:
        if kind == horizontal:
            total += height * np.exp(-0.5 * ((log_f - centre) / width) ** 2)
    return total


def sensor_response(station: Station, frequency_hz: np.ndarray) -> np.ndarray:
    """Amplitude response in counts per m/s of ground velocity, with the digitiser's low-pass."""
    omega = 2.0 * np.pi * frequency_hz
    if station.sensor == "HN":
        response = omega
    else:
        ratio = frequency_hz / station.natural_frequency_hz
        response = ratio**2 / np.sqrt((1.0 - ratio**2) ** 2 + 2.0 * ratio**2)
    # BH channels were recorded at 40 Hz and resampled, so nothing is left above about 18 Hz.
    low_pass = (
        np.exp(-0.5 * (frequency_hz / 11.0) ** 4)
        if station.sensor == "BH"
        else 1.0 / np.sqrt(1.0 + (frequency_hz / 43.0) ** 8)
    )
    return station.counts_per_unit * response * low_pass


def site_response(
    station: Station, phase: str, frequency_hz: np.ndarray, horizontal: bool
) -> np.ndarray:
    """Amplification of the ground below the station: smooth bumps, kappa and layer resonance.

    The high-frequency decay exp(-pi kappa f) follows Anderson & Hough (1984), milder for P;
    the layer resonates at a quarter of its wavelength, mostly on the horizontals.
    """
    log_gain = _bump_sum(station.site_bumps, frequency_hz, horizontal)
    log_gain -= np.pi * station.kappa_s * (0.4 if phase == "P" else 1.0) * frequency_hz
    if horizontal:
        resonance_hz = 1000.0 * station.layer_vs_km_s / (4.0 * station.layer_m)
        octaves = np.log(np.maximum(frequency_hz, 1e-3) / resonance_hz)
        log_gain += 0.5 * np.log(2.5 / station.layer_vs_km_s) * np.exp(-0.5 * (octaves / 0.3) ** 2)
    return np.exp(log_gain)


def noise_spectrum(
    station: Station, frequency_hz: np.ndarray, horizontal: bool, level_db: float = 0.0
) -> np.ndarray:
    """Power spectral density of the noise in counts^2 / Hz, one-sided.

    Ground noise lies between Peterson's low and high noise models; `microseism_level` and
    `cultural_level` say how far up, below and above 1 Hz. `level_db` raises the band above 1 Hz.
    """
    period_s = np.clip(1.0 / np.maximum(frequency_hz, 1e-3), 0.1, 60.0)
    low, high = (
        np.take(a, i) + np.take(b, i) * np.log10(period_s)
        for a, b, i in (
            (_A_LOW, _B_LOW, np.searchsorted(_PERIOD_LOW_S, period_s, side="right") - 1),
            (_A_HIGH, _B_HIGH, np.searchsorted(_PERIOD_HIGH_S, period_s, side="right") - 1),
        )
    )
    cultural = 1.0 / (1.0 + np.maximum(frequency_hz, 1e-3) ** -3.0)
    share = station.microseism_level * (1.0 - cultural) + station.cultural_level * cultural
    power_db = low + share * (high - low) + (level_db + 3.0 * horizontal) * cultural
    power_db += _bump_sum(station.noise_bumps, frequency_hz, horizontal)
    power = 10.0 ** (power_db / 10.0) + 10.0 ** (station.self_noise_db / 10.0)
    omega = 2.0 * np.pi * np.maximum(frequency_hz, 1e-3)
    spectrum = power / omega**2 * sensor_response(station, frequency_hz) ** 2
    spectrum[..., 0] = 0.0
    return spectrum
