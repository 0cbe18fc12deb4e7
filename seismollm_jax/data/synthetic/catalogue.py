"""Earthquakes, the stations that record them, and the labelled traces."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from seismollm_jax.data.synthetic.earth import (
    Ray,
    direct_ray,
    displaced,
    great_circle,
    head_wave,
)
from seismollm_jax.data.synthetic.measures import coda_end, first_motion, snr_db
from seismollm_jax.data.synthetic.network import Region, Station, noise_spectrum
from seismollm_jax.data.synthetic.noise import (
    SAMPLES,
    SAMPLING_RATE_HZ,
    background_rms,
    station_noise,
)
from seismollm_jax.data.synthetic.seismogram import WavePath, ground_motion, wave_spectrum
from seismollm_jax.data.synthetic.source import (
    corner_frequency_hz,
    gutenberg_richter,
    radiation,
    random_mechanism,
    seismic_moment_nm,
)

FARTHEST_KM = 220.0
LARGEST_MAGNITUDE = 6.5
FIRST_DAY = datetime(2000, 1, 1)
SLOT_S = 600.0  # each earthquake has ten minutes of its own, so trace names never collide


@dataclass(frozen=True, slots=True)
class Event:
    """Hypocentre, size and mechanism of one earthquake."""

    index: int
    region: Region
    origin_time: datetime
    latitude_deg: float
    longitude_deg: float
    depth_km: float
    magnitude: float
    corner_hz: float
    mechanism: tuple[float, float, float]  # strike, dip, rake in degrees


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one earthquake at one station."""

    event: Event
    p_sample: int
    s_sample: int
    p_travel_s: float
    distance_km: float
    back_azimuth_deg: float
    snr_db: tuple[float, float, float]  # Z, N, E
    coda_end_sample: int
    first_motion: str  # "U", "D" or "" where it is not clear


@dataclass(frozen=True, slots=True)
class Trace:
    """One record; `reading` is None on noise."""

    waveform: np.ndarray  # (samples, 3) float32 counts, Z, N, E
    station: Station
    start_time: datetime
    reading: Reading | None


def earthquake(seed: int, index: int, world: tuple[Region, ...], max_stations: int) -> list[Trace]:
    """All traces of earthquake `index`, a function of the seed and the index alone.

    An earthquake that no station could record is drawn again (from the same stream), so the list
    is never empty.
    """
    rng = np.random.default_rng([seed, 1, index])
    while True:
        event = _event(rng, index, world[int(rng.integers(len(world)))])
        paths = _recording_paths(rng, event, max_stations)
        if paths:
            return [_trace(rng, event, path, level_db) for path, level_db in paths]


def noise(seed: int, index: int, world: tuple[Region, ...]) -> Trace:
    """Noise trace `index`, a function of the seed and the index alone."""
    rng = np.random.default_rng([seed, 2, index])
    region = world[int(rng.integers(len(world)))]
    station = region.stations[int(rng.integers(len(region.stations)))]
    counts = station_noise(rng, station, float(rng.normal(0.0, 4.0)), transient_share=0.4)
    # The last minute of a slot, after the latest possible earthquake record.
    start = FIRST_DAY + timedelta(seconds=SLOT_S * index + 540.0)
    return Trace(_digitised(counts, station), station, start, None)


def _event(rng: np.random.Generator, index: int, region: Region) -> Event:
    distance, azimuth = region.clusters[int(rng.integers(len(region.clusters)))]
    spread_km = 0.12 * region.aperture_km
    latitude, longitude = displaced(region.latitude_deg, region.longitude_deg, distance, azimuth)
    latitude, longitude = displaced(
        latitude, longitude, abs(rng.normal(0.0, spread_km)), rng.uniform(0.0, 360.0)
    )
    depth = float(np.clip(region.median_depth_km * np.exp(rng.normal(0.0, 0.45)), 0.3, 25.0))
    largest = min(LARGEST_MAGNITUDE, region.smallest_magnitude + 4.5)
    magnitude = round(gutenberg_richter(rng, region.smallest_magnitude, largest, region.b_value), 1)
    stress_drop = region.stress_drop_pa * 10.0 ** rng.normal(0.0, 0.3)
    vs = region.crust.velocity_km_s(depth) / region.crust.vp_over_vs
    seconds = SLOT_S * index + round(float(rng.uniform(0.0, 420.0)), 2)
    return Event(
        index=index,
        region=region,
        origin_time=FIRST_DAY + timedelta(milliseconds=round(1000.0 * seconds)),
        latitude_deg=round(latitude, 4),
        longitude_deg=round(longitude, 4),
        depth_km=round(depth, 2),
        magnitude=magnitude,
        corner_hz=corner_frequency_hz(seismic_moment_nm(magnitude), stress_drop, vs),
        mechanism=random_mechanism(rng),
    )


def _recording_paths(
    rng: np.random.Generator, event: Event, max_stations: int
) -> list[tuple[WavePath, float]]:
    """Stations that record the event above their noise, with the noise level of the moment."""
    wanted = int(rng.integers(1, max_stations + 1))
    threshold_db = rng.uniform(0.0, 12.0)  # catalogues differ in what their analysts pick
    paths: list[tuple[WavePath, float]] = []
    for i in rng.permutation(len(event.region.stations)):
        path = _path(rng, event, event.region.stations[i])
        level_db = float(rng.normal(0.0, 4.0))
        if path.distance_km < FARTHEST_KM and expected_snr_db(path, level_db) > threshold_db:
            paths.append((path, level_db))
        if len(paths) == wanted:
            break
    return paths


def _path(rng: np.random.Generator, event: Event, station: Station) -> WavePath:
    distance, azimuth = great_circle(
        event.latitude_deg, event.longitude_deg, station.latitude_deg, station.longitude_deg
    )
    _, back_azimuth = great_circle(
        station.latitude_deg, station.longitude_deg, event.latitude_deg, event.longitude_deg
    )
    crust = event.region.crust
    direct = direct_ray(crust, distance, event.depth_km)
    head = head_wave(crust, distance, event.depth_km)
    first: Ray = direct
    later: Ray | None = None
    if head is not None and head.travel_time_s < direct.travel_time_s:
        first, later = head, direct
    layer_km = station.layer_m / 1000.0
    # Lateral heterogeneity: about two per cent of either time, half of it common to both waves.
    common, alone = rng.normal(0.0, 0.012), rng.normal(0.0, 0.012)
    ratio = crust.vp_over_vs
    return WavePath(
        region=event.region,
        station=station,
        moment_nm=seismic_moment_nm(event.magnitude),
        corner_hz=event.corner_hz,
        depth_km=event.depth_km,
        distance_km=distance,
        back_azimuth_deg=back_azimuth,
        ray=first,
        later_ray=later,
        p_time_s=first.travel_time_s * (1.0 + common) + layer_km / station.layer_vp_km_s,
        s_time_s=first.travel_time_s * ratio * (1.0 + common + alone)
        + layer_km / station.layer_vs_km_s,
        radiation=radiation(*event.mechanism, azimuth, first.takeoff_deg),
    )


_COARSE_HZ = np.concatenate([[0.0], np.geomspace(1.0, 45.0, 48)])


def expected_snr_db(path: WavePath, level_db: float) -> float:
    """P signal-to-noise ratio above 1 Hz that the spectra promise on the vertical, in dB."""
    amplitude = wave_spectrum(path, "P", False, _COARSE_HZ)[1:] / SAMPLING_RATE_HZ
    density = noise_spectrum(path.station, _COARSE_HZ, False, level_db)[1:]
    duration_s = 0.6 + 1.0 / path.corner_hz
    energy = 2.0 * np.trapezoid(amplitude**2, _COARSE_HZ[1:])
    head_wave_db = 0.0 if path.later_ray is None else -10.0
    ratio = energy / duration_s / np.trapezoid(density, _COARSE_HZ[1:])
    return float(10.0 * np.log10(ratio)) + head_wave_db


def _trace(rng: np.random.Generator, event: Event, path: WavePath, level_db: float) -> Trace:
    station = path.station
    s_minus_p = max(round((path.s_time_s - path.p_time_s) * SAMPLING_RATE_HZ), 5)
    draw = rng.random()
    early, late = (3.0, 15.0) if draw < 0.82 else (15.0, 25.0) if draw < 0.95 else (25.0, 45.0)
    latest = SAMPLES - 300 - s_minus_p
    p_sample = min(round(float(rng.uniform(early, late)) * SAMPLING_RATE_HZ), latest)
    s_sample = p_sample + s_minus_p
    signal = ground_motion(rng, path, p_sample, s_sample)  # (3, samples)
    background = station_noise(rng, station, level_db, transient_share=0.12)
    waveform = _digitised(signal + background, station)
    rms = background_rms(station, level_db)
    p_travel_s = round(path.p_time_s, 4)
    reading = Reading(
        event=event,
        p_sample=p_sample,
        s_sample=s_sample,
        p_travel_s=p_travel_s,
        distance_km=path.distance_km,
        back_azimuth_deg=path.back_azimuth_deg,
        snr_db=snr_db(waveform, p_sample, s_sample),
        coda_end_sample=coda_end(signal, rms, s_sample),
        first_motion=first_motion(signal[0], rms[0], p_sample, path.radiation[0]),
    )
    since_origin = timedelta(microseconds=round(1e6 * p_travel_s) - p_sample * 10_000)
    return Trace(waveform, station, event.origin_time + since_origin, reading)


def _digitised(counts: np.ndarray, station: Station) -> np.ndarray:
    """Clip counts to the digitiser's range and, on some stations, round them: (samples, 3)."""
    counts = np.clip(counts, -station.clip_counts, station.clip_counts)
    if station.digital_step_counts:
        counts = np.rint(counts / station.digital_step_counts) * station.digital_step_counts
    return np.ascontiguousarray(counts.T, dtype=np.float32)
