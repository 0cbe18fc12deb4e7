"""Whether coordinates, distances, back azimuths and times of a catalogue agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from seismollm_jax.data.check_findings import ERROR, WARNING, Finding, of_rows
from seismollm_jax.data.check_table import PLACES, seconds, station_names
from seismollm_jax.data.geodesy import distance_and_back_azimuth

DISTANCE_KM, DISTANCE_SHARE = 1.0, 0.02  # of which the larger one is allowed
BACK_AZIMUTH_DEG, LOCATION_KM = 2.0, 0.5  # angle, and what an error of the location adds to it
KM_PER_DEGREE = 111.19
BLOCK = 50_000  # pairs of points at once
TRIED = 5_000  # wrong rows on which explanations are tried
EXPLAINS, FEWEST = 0.5, 3  # share and number of wrong rows that make an explanation
S_P_KM_S = 8.0  # distance over S-P time in the crust
SLOW_KM_S, FAST_KM_S = 3.5, 14.0  # what sediments and the deep mantle make of it
S_P_MARGIN_S = 2.0
STATION_MOVED_DEG = 0.1
TIME_MARGIN_S = 10.0
FIRST_S, LAST_S = -2.84e9, 4.11e9  # 1880 and 2100, before and after all seismograms

Points = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def coordinates(table: pd.DataFrame) -> Points:
    """Latitude and longitude of station and event, float64; impossible ones are missing."""
    lat1, lon1, lat2, lon2 = (table[name].to_numpy(np.float64) for name in PLACES)
    lat1, lat2 = (np.where(np.abs(v) <= 90, v, np.nan) for v in (lat1, lat2))
    lon1, lon2 = (np.where(np.abs(v) <= 360, v, np.nan) for v in (lon1, lon2))
    return lat1, lon1, lat2, lon2


def measured(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """`distance_and_back_azimuth` in blocks: one pair near the antipode makes its block slow."""
    distance, azimuth = np.full((2, len(points[0])), np.nan)
    known = np.flatnonzero(np.isfinite(points).all(axis=0))
    for first in range(0, len(known), BLOCK):
        rows = known[first : first + BLOCK]
        distance[rows], azimuth[rows] = distance_and_back_azimuth(*(p[rows] for p in points))
    return distance, azimuth


def coordinate_findings(table: pd.DataFrame) -> list[Finding]:
    """Coordinates, depths and elevations that cannot be, and stations in several places."""
    found: list[Finding] = []
    for place in ("station", "event"):
        names = (f"{place}_latitude_deg", f"{place}_longitude_deg")
        lat, lon = (table[name].to_numpy(np.float64) for name in names)
        bad = np.flatnonzero((np.abs(lat) > 90) | (np.abs(lon) > 360))
        remedy = "Correct the coordinates: degrees, north and east positive."
        text = f"the {place}'s coordinates are not on the globe"
        found += of_rows(table, bad, ERROR, f"{place}_off_the_globe", text, remedy, names)
        null = np.flatnonzero((lat == 0) & (lon == 0))
        text = f"the {place} is at 0 N 0 E, which stands for missing coordinates"
        remedy = "Leave the cells empty where the place is not known."
        found += of_rows(table, null, ERROR, f"{place}_at_zero", text, remedy, names)
    for column, low, high, unit in (
        ("event_depth_km", -10, 800, "km"),
        ("station_elevation_m", -12_000, 9_000, "m"),
    ):
        values = table[column].to_numpy()
        bad = np.flatnonzero((values < low) | (values > high))
        text = f"{column} is not between {low} and {high}"
        remedy = f"Correct it; the unit is {unit}."
        found += of_rows(table, bad, WARNING, f"{column}_impossible", text, remedy, (column,))
    return found + _moved_stations(table)


def _moved_stations(table: pd.DataFrame) -> list[Finding]:
    names = station_names(table)
    codes = pd.factorize(names)[0]
    known = codes >= 0
    spread = []
    for column in PLACES[:2]:
        groups = table[column][known].groupby(codes[known])
        spread.append(groups.max() - groups.min())
    if not known.any():
        return []
    moved = (spread[0] > STATION_MOVED_DEG) | (spread[1] > STATION_MOVED_DEG)
    wrong = moved.index[moved].to_numpy()
    if not len(wrong):
        return []
    rows = np.unique(codes, return_index=True)[1][np.isin(np.unique(codes), wrong)]
    examples = [{"station": names.iloc[row]} for row in rows[:3].tolist()]
    text = f"the station's coordinates change by more than {STATION_MOVED_DEG:g} degrees"
    remedy = "Give different stations different codes; a split by station goes by them."
    return [Finding(WARNING, "station_moved", len(wrong), "stations", text, remedy, examples)]


def geometry_findings(table: pd.DataFrame) -> list[Finding]:
    """Distances and back azimuths that disagree with the coordinates."""
    points = coordinates(table)
    distance, azimuth = measured(points)
    found: list[Finding] = []

    given = table["distance_km"].to_numpy(np.float64)
    allowed = np.maximum(DISTANCE_KM, DISTANCE_SHARE * distance)
    rows = np.flatnonzero(np.abs(given - distance) > allowed)
    compared = int(np.isfinite(given + distance).sum())
    text = (
        f"the distance differs from that between the coordinates by more than {DISTANCE_KM:g} km "
        f"and {100 * DISTANCE_SHARE:g} %, out of {compared} that can be compared"
    )
    why = _explain(table, points, rows, _wrong_distances)
    found += of_rows(
        table,
        rows,
        ERROR,
        "distance_disagrees",
        text + why,
        "Correct distance or coordinates. An empty cell of a distance is better than a wrong one.",
        ("distance_km",),
        {"from_coordinates_km": np.round(distance[rows], 3)},
    )

    given = table["back_azimuth_deg"].to_numpy(np.float64)
    close = np.degrees(np.arcsin(np.clip(LOCATION_KM / np.maximum(distance, 1e-3), 0, 1)))
    rows = np.flatnonzero((apart(given, azimuth) > BACK_AZIMUTH_DEG + close) & (distance > 1))
    compared = int((np.isfinite(given + azimuth) & (distance > 1)).sum())
    text = (
        f"the back azimuth differs from that of the coordinates by more than "
        f"{BACK_AZIMUTH_DEG:g} degrees and {LOCATION_KM:g} km of location error, out of {compared} "
        "that can be compared"
    )
    why = _explain(table, points, rows, _wrong_azimuths)
    found += of_rows(
        table,
        rows,
        ERROR,
        "back_azimuth_disagrees",
        text + why,
        "Correct it: the direction from the station to the earthquake, clockwise from north. "
        "Without the column the reader of SeisBench's format and of folders computes it.",
        ("back_azimuth_deg",),
        {"from_coordinates_deg": np.round(azimuth[rows], 2)},
    )
    return found


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angle between two directions in degrees, 0 to 180."""
    return np.abs((first - second + 180) % 360 - 180)


def _shifted(points: Points) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Usual mistakes in coordinates -> distance and back azimuth without them."""
    lat1, lon1, lat2, lon2 = points
    return {
        "latitude and longitude of the station are exchanged": measured((lon1, lat1, lat2, lon2)),
        "latitude and longitude of the event are exchanged": measured((lat1, lon1, lon2, lat2)),
        "latitude and longitude of both are exchanged": measured((lon1, lat1, lon2, lat2)),
        "the sign of the station's longitude is wrong": measured((lat1, -lon1, lat2, lon2)),
        "the sign of the event's longitude is wrong": measured((lat1, lon1, lat2, -lon2)),
        "the sign of the station's latitude is wrong": measured((-lat1, lon1, lat2, lon2)),
        "the sign of the event's latitude is wrong": measured((lat1, lon1, -lat2, lon2)),
    }


def _wrong_distances(table: pd.DataFrame, points: Points) -> dict[str, np.ndarray]:
    """Explanation -> which rows it makes right."""
    given = table["distance_km"].to_numpy(np.float64)
    depth = table["event_depth_km"].to_numpy(np.float64)
    distance = measured(points)[0]

    def agrees(value: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.abs(value - other) <= np.maximum(DISTANCE_KM, DISTANCE_SHARE * other)

    found = {
        # A share alone: 1 km is much where the numbers are degrees.
        "the numbers are degrees": np.abs(given * KM_PER_DEGREE / distance - 1) < 0.03,
        "the numbers are metres": agrees(given / 1000, distance),
        "the numbers are miles": agrees(given * 1.609344, distance),
        "the numbers are distances from the hypocentre": agrees(given, np.hypot(distance, depth)),
    }
    shifted = _shifted(points).items()
    return found | {why: agrees(given, values[0]) for why, values in shifted}


def _wrong_azimuths(table: pd.DataFrame, points: Points) -> dict[str, np.ndarray]:
    """Explanation -> which rows it makes right."""
    given = table["back_azimuth_deg"].to_numpy(np.float64)
    distance, azimuth = measured(points)
    lat1, lon1, lat2, lon2 = points
    allowed = BACK_AZIMUTH_DEG + np.degrees(
        np.arcsin(np.clip(LOCATION_KM / np.maximum(distance, 1e-3), 0, 1))
    )
    forward = measured((lat2, lon2, lat1, lon1))[1]
    found = {
        "the numbers are azimuths from the earthquake to the station": (given, forward),
        "the numbers are counted anticlockwise from north": (-given, azimuth),
        "the numbers are counted anticlockwise from east": (90 - given, azimuth),
        "the numbers are radians": (np.degrees(given), azimuth),
    }
    found |= {why: (given, values[1]) for why, values in _shifted(points).items()}
    return {why: apart(*pair) <= allowed for why, pair in found.items()}


def _explain(
    table: pd.DataFrame,
    points: Points,
    rows: np.ndarray,
    explanations: Callable[[pd.DataFrame, Points], dict[str, np.ndarray]],
) -> str:
    """What would make most of the wrong rows right, as the end of a sentence."""
    tried = rows[:: max(1, len(rows) // TRIED)]
    if len(tried) < FEWEST:
        return ""
    lat1, lon1, lat2, lon2 = (p[tried] for p in points)
    found = explanations(table.iloc[tried], (lat1, lon1, lat2, lon2))
    right = {why: int(np.count_nonzero(agree)) for why, agree in found.items()}
    best = max(right, key=lambda why: right[why])
    if right[best] < max(FEWEST, EXPLAINS * len(tried)):
        return ""
    return f". {100 * right[best] / len(tried):.0f} % of them would agree if {best}"


def time_findings(table: pd.DataFrame) -> list[Finding]:
    """Arrival times that disagree with distance and origin time."""
    rate = table["sampling_rate_hz"].to_numpy(np.float64)
    p, s = (table[name].to_numpy(np.float64) / rate for name in ("p_sample", "s_sample"))
    depth = table["event_depth_km"].to_numpy(np.float64)
    distance = table["distance_km"].to_numpy(np.float64)
    nearest = np.hypot(distance, np.where(depth > 0, depth, 0))
    farthest = np.hypot(distance, np.where(depth > 0, depth, 50))  # depth not known
    s_p = np.where(s > p, s - p, np.nan)
    early = s_p < nearest / FAST_KM_S - S_P_MARGIN_S
    late = s_p > farthest / SLOW_KM_S + S_P_MARGIN_S
    rows = np.flatnonzero(early | late)
    with np.errstate(divide="ignore", invalid="ignore"):
        typical = float(_median(nearest / s_p))
    text = (
        f"S minus P does not fit the distance (distance over S-P outside {SLOW_KM_S:g} to "
        f"{FAST_KM_S:g} km/s with {S_P_MARGIN_S:g} s to spare; about {S_P_KM_S:g} is usual, the "
        f"median here is {typical:.1f})"
    )
    found = of_rows(
        table,
        rows,
        WARNING,
        "s_minus_p_and_distance",
        text,
        "Check the arrivals, the distance, and whether the sampling rate is right.",
        ("p_sample", "s_sample", "distance_km", "event_depth_km"),
        {"s_minus_p_s": np.round(s_p[rows], 2)},
    )
    for column in ("start_time", "origin_time"):
        at = seconds(table[column])
        odd = np.flatnonzero((at < FIRST_S) | (at > LAST_S))
        text = f"{column} is before 1880 or after 2100"
        remedy = "Correct it, or leave the cell empty."
        found += of_rows(table, odd, WARNING, f"{column}_impossible", text, remedy, (column,))
    travel = seconds(table["start_time"]) - seconds(table["origin_time"]) + p
    before = np.flatnonzero(travel < -0.5)
    where = np.isfinite(nearest)
    slow = np.where(where, farthest / 2 + TIME_MARGIN_S, 1500)
    fast = np.where(where, nearest / 14 - TIME_MARGIN_S, -0.5)
    odd = np.flatnonzero((travel >= -0.5) & ((travel > slow) | (travel < fast)))
    hint = ""
    wrong = np.concatenate([before, odd])
    if len(wrong) >= FEWEST:
        shift = _median((travel - np.where(where, nearest, 0) / 6)[wrong])
        hours = round(float(shift) / 3600)
        if hours and abs(shift - 3600 * hours) < 120:
            hint = f". Their median is off by {hours:+d} h, as if in local time"
    remedy = "Both times are UTC, the start time that of the first sample. Correct them."
    for name, selected, text in (
        ("p_before_origin", before, "P arrives before the origin time"),
        ("travel_time", odd, "the travel time of P does not fit the distance"),
    ):
        found += of_rows(
            table,
            selected,
            ERROR if name == "p_before_origin" else WARNING,
            name,
            text + hint,
            remedy,
            ("start_time", "origin_time", "p_sample", "distance_km"),
            {"travel_time_s": np.round(travel[selected], 2)},
        )
    return found


def _median(values: np.ndarray) -> np.floating:
    """Median of what is finite, NaN if nothing is."""
    values = values[np.isfinite(values)]
    return np.float64(np.median(values)) if len(values) else np.float64(np.nan)
