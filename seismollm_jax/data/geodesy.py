"""Distances and azimuths on the WGS84 ellipsoid, for many pairs of points at once."""

from __future__ import annotations

import numpy as np

SEMI_MAJOR_KM = 6378.137
FLATTENING = 1 / 298.257223563
ROUNDS = 200  # of an iteration that settles in a few, but near the antipode


def distance_and_back_azimuth(
    station_latitude_deg: np.ndarray,
    station_longitude_deg: np.ndarray,
    event_latitude_deg: np.ndarray,
    event_longitude_deg: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Epicentral distance in km, and the azimuth at the station towards the event in [0, 360).

    The inverse formulae of Vincenty (1975, doi:10.1179/sre.1975.23.176.88), good to a millimetre.
    All arguments are in degrees and of one shape, as are the results (float64). NaN where a
    coordinate is missing or impossible, where the points are almost antipodal (the formulae do not
    converge), and for the back azimuth of an event right below the station.
    """
    lat1, lon1, lat2, lon2 = (
        np.asarray(value, np.float64)
        for value in (
            *(station_latitude_deg, station_longitude_deg),
            *(event_latitude_deg, event_longitude_deg),
        )
    )
    known = (np.abs(lat1) <= 90) & (np.abs(lat2) <= 90)
    known &= (np.abs(lon1) <= 360) & (np.abs(lon2) <= 360)
    # The poles themselves have no reduced latitude of finite tangent; 1 um beside them will do.
    lat1, lat2 = (np.clip(np.where(known, v, 0.0), -90 + 1e-11, 90 - 1e-11) for v in (lat1, lat2))
    difference = np.radians(np.where(known, lon2 - lon1, 0.0))
    difference = np.arctan2(np.sin(difference), np.cos(difference))
    u1, u2 = (np.arctan((1 - FLATTENING) * np.tan(np.radians(v))) for v in (lat1, lat2))
    sin1, cos1, sin2, cos2 = np.sin(u1), np.cos(u1), np.sin(u2), np.cos(u2)
    lam, change = difference, np.full(difference.shape, np.inf)
    for _ in range(ROUNDS):
        east = cos2 * np.sin(lam)
        north = cos1 * sin2 - sin1 * cos2 * np.cos(lam)
        sin_sigma = np.hypot(east, north)
        cos_sigma = sin1 * sin2 + cos1 * cos2 * np.cos(lam)
        sigma = np.arctan2(sin_sigma, cos_sigma)
        apart = np.where(sin_sigma > 0, sin_sigma, 1.0)
        sin_alpha = np.where(sin_sigma > 0, cos1 * cos2 * np.sin(lam) / apart, 0.0)
        cos2_alpha = 1 - sin_alpha**2
        off_equator = np.where(cos2_alpha > 1e-15, cos2_alpha, 1.0)
        cos_2m = np.where(cos2_alpha > 1e-15, cos_sigma - 2 * sin1 * sin2 / off_equator, 0.0)
        c = FLATTENING / 16 * cos2_alpha * (4 + FLATTENING * (4 - 3 * cos2_alpha))
        inner = cos_2m + c * cos_sigma * (2 * cos_2m**2 - 1)
        new = difference + (1 - c) * FLATTENING * sin_alpha * (sigma + c * sin_sigma * inner)
        lam, change = new, np.abs(new - lam)
        if not (change > 1e-12).any():
            break
    b = SEMI_MAJOR_KM * (1 - FLATTENING)
    u_squared = cos2_alpha * (SEMI_MAJOR_KM**2 - b**2) / b**2
    k = (np.sqrt(1 + u_squared) - 1) / (np.sqrt(1 + u_squared) + 1)
    series = k * (1 - 3 / 8 * k**2)
    cubic = cos_2m / 6 * (4 * sin_sigma**2 - 3) * (4 * cos_2m**2 - 3)
    correction = cos_2m + series / 4 * (cos_sigma * (2 * cos_2m**2 - 1) - series * cubic)
    distance = b * (1 + k**2 / 4) / (1 - k) * (sigma - series * sin_sigma * correction)
    azimuth = np.degrees(np.arctan2(east, north)) % 360
    azimuth = np.where(azimuth >= 360, 0.0, azimuth)  # what a tiny negative angle rounds to
    known = known & (change <= 1e-9) & (np.abs(lam) <= np.pi + 1e-9)
    return np.where(known, distance, np.nan), np.where(known & (sin_sigma > 0), azimuth, np.nan)


def destination(
    latitude_deg: np.ndarray,
    longitude_deg: np.ndarray,
    azimuth_deg: np.ndarray,
    distance_km: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude, in [-180, 180), of the points at an azimuth and a distance.

    The direct formulae of Vincenty (1975), good to a millimetre. All arguments and results are of
    one shape; NaN where one is missing.
    """
    lat, lon, azimuth, distance = (
        np.asarray(value, np.float64)
        for value in (latitude_deg, longitude_deg, azimuth_deg, distance_km)
    )
    b = SEMI_MAJOR_KM * (1 - FLATTENING)
    cos1, sin1 = np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))
    u1 = np.arctan2((1 - FLATTENING) * np.sin(np.radians(lat)), np.cos(np.radians(lat)))
    sin_u, cos_u = np.sin(u1), np.cos(u1)
    sigma1 = np.arctan2(sin_u, cos_u * cos1)  # along the line, from the equator
    sin_alpha = cos_u * sin1
    cos2_alpha = 1 - sin_alpha**2
    u_squared = cos2_alpha * (SEMI_MAJOR_KM**2 - b**2) / b**2
    k = (np.sqrt(1 + u_squared) - 1) / (np.sqrt(1 + u_squared) + 1)
    first, second = (1 + k**2 / 4) / (1 - k), k * (1 - 3 / 8 * k**2)
    sigma = distance / (b * first)
    for _ in range(ROUNDS):
        cos_2m = np.cos(2 * sigma1 + sigma)
        cubic = cos_2m / 6 * (4 * np.sin(sigma) ** 2 - 3) * (4 * cos_2m**2 - 3)
        inner = cos_2m + second / 4 * (np.cos(sigma) * (2 * cos_2m**2 - 1) - second * cubic)
        new = distance / (b * first) + second * np.sin(sigma) * inner
        sigma, change = new, np.abs(new - sigma)
        if not (change > 1e-12).any():
            break
    cos_2m = np.cos(2 * sigma1 + sigma)
    south = np.hypot(sin_alpha, sin_u * np.sin(sigma) - cos_u * np.cos(sigma) * cos1)
    north = sin_u * np.cos(sigma) + cos_u * np.sin(sigma) * cos1
    latitude = np.degrees(np.arctan2(north, (1 - FLATTENING) * south))
    lam = np.arctan2(
        np.sin(sigma) * sin1, cos_u * np.cos(sigma) - sin_u * np.sin(sigma) * cos1
    )  # on the auxiliary sphere
    c = FLATTENING / 16 * cos2_alpha * (4 + FLATTENING * (4 - 3 * cos2_alpha))
    inner = cos_2m + c * np.cos(sigma) * (2 * cos_2m**2 - 1)
    turned = lam - (1 - c) * FLATTENING * sin_alpha * (sigma + c * np.sin(sigma) * inner)
    longitude = (lon + np.degrees(turned) + 180) % 360 - 180
    return latitude, longitude
