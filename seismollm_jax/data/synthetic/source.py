"""Earthquake sources: magnitudes, double couples and Brune's spectrum."""

import numpy as np

DENSITY_KG_M3 = 2700.0


def gutenberg_richter(
    rng: np.random.Generator, smallest: float, largest: float, b_value: float
) -> float:
    """Draw a magnitude from the Gutenberg-Richter law, truncated at both ends."""
    beta = b_value * np.log(10.0)
    lost = 1.0 - np.exp(-beta * (largest - smallest))
    return float(smallest - np.log(1.0 - rng.random() * lost) / beta)


def seismic_moment_nm(magnitude: float) -> float:
    """Seismic moment in N m of a moment magnitude (Hanks & Kanamori 1979)."""
    return float(10.0 ** (1.5 * magnitude + 9.05))


def corner_frequency_hz(moment_nm: float, stress_drop_pa: float, vs_km_s: float) -> float:
    """S corner frequency of a circular crack (Brune 1970, corrected 1971)."""
    radius_m = (7.0 * moment_nm / (16.0 * stress_drop_pa)) ** (1.0 / 3.0)
    return float(2.34 * vs_km_s * 1000.0 / (2.0 * np.pi * radius_m))


def velocity_spectrum(
    frequency_hz: np.ndarray, moment_nm: float, corner_hz: float, wave_km_s: float, path_km: float
) -> np.ndarray:
    """Amplitude spectrum of far-field ground velocity, in m, for a unit radiation coefficient.

    Brune's (1970) omega-square source in a whole space, spreading as 1 / r to 100 km and as
    1 / sqrt(r) beyond, where energy is trapped in the crust.
    """
    spreading_m = 1000.0 * (path_km if path_km < 100.0 else np.sqrt(100.0 * path_km))
    level = moment_nm / (4.0 * np.pi * DENSITY_KG_M3 * (wave_km_s * 1000.0) ** 3 * spreading_m)
    return level * 2.0 * np.pi * frequency_hz / (1.0 + (frequency_hz / corner_hz) ** 2)


def random_mechanism(rng: np.random.Generator) -> tuple[float, float, float]:
    """Strike, dip and rake in degrees of a double couple with uniformly distributed orientation."""
    dip = np.degrees(np.arccos(rng.uniform(0.0, 1.0)))
    return float(rng.uniform(0.0, 360.0)), float(dip), float(rng.uniform(-180.0, 180.0))


def radiation(
    strike_deg: float, dip_deg: float, rake_deg: float, azimuth_deg: float, takeoff_deg: float
) -> tuple[float, float, float]:
    """Radiation coefficients (P, SV, SH) of a double couple.

    Aki & Richards (2002), equations 4.89-4.91; `azimuth_deg` points from source to station and
    `takeoff_deg` is measured from the downward vertical. A positive P coefficient is compression.
    """
    dip, rake, takeoff = np.radians([dip_deg, rake_deg, takeoff_deg])
    phi = np.radians(azimuth_deg - strike_deg)
    sin_r, cos_r, sin_d, cos_d = np.sin(rake), np.cos(rake), np.sin(dip), np.cos(dip)
    sin_2d, cos_2d = np.sin(2 * dip), np.cos(2 * dip)
    sin_i, sin_2i, cos_2i = np.sin(takeoff), np.sin(2 * takeoff), np.cos(2 * takeoff)
    sin_p, cos_p, sin_2p, cos_2p = np.sin(phi), np.cos(phi), np.sin(2 * phi), np.cos(2 * phi)
    p = (
        cos_r * sin_d * sin_i**2 * sin_2p
        - cos_r * cos_d * sin_2i * cos_p
        + sin_r * sin_2d * (np.cos(takeoff) ** 2 - sin_i**2 * sin_p**2)
        + sin_r * cos_2d * sin_2i * sin_p
    )
    sv = (
        sin_r * cos_2d * cos_2i * sin_p
        - cos_r * cos_d * cos_2i * cos_p
        + 0.5 * cos_r * sin_d * sin_2i * sin_2p
        - 0.5 * sin_r * sin_2d * sin_2i * (1.0 + sin_p**2)
    )
    sh = (
        cos_r * cos_d * np.cos(takeoff) * sin_p
        + cos_r * sin_d * sin_i * cos_2p
        + sin_r * cos_2d * np.cos(takeoff) * cos_p
        - 0.5 * sin_r * sin_2d * sin_i * sin_2p
    )
    return float(p), float(sv), float(sh)
