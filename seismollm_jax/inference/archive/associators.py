"""Input files of the associators PyOcto and GaMMA, made from a table of picks.

PyOcto (Münchmeyer 2024) takes picks with station, phase and time (seconds since 1970) and stations
with id and x, y, z in km, z downwards. GaMMA (Zhu et al. 2022) takes picks with id, timestamp, prob
and type, in lower case, and stations with id and x(km), y(km), z(km), z downwards too. Stations are
"NET.STA". Amplitudes are not written, so GaMMA needs use_amplitude = False.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from obspy import Inventory, UTCDateTime
from obspy.geodetics import gps2dist_azimuth

from seismollm_jax import atomic_files

SAME_S = 0.5  # picks of a phase this close on instruments of one station are one onset

PYOCTO_PICKS = ("station", "phase", "time", "probability")
GAMMA_PICKS = ("id", "timestamp", "type", "prob")


@dataclass
class _Onset:
    station: str
    phase: str
    time: UTCDateTime
    probability: float


def write(
    picks: Path, folder: Path, inventory: Inventory | None, *, pyocto: bool, gamma: bool
) -> list[str]:
    """Write `pyocto_picks.csv`, `gamma_picks.csv`, and with an inventory the stations' tables.

    Of picks of one phase within `SAME_S` at one station (of HH and HN, say) the most probable one
    is kept. With an inventory, picks of stations that it does not have are left out.

    Args:
        picks: table as of `predict.py`, by time.
        folder: for the files.
        inventory: station metadata.
        pyocto: write PyOcto's files.
        gamma: write GaMMA's files.

    Returns:
        What was done, in lines.
    """
    stations = None if inventory is None else station_table(inventory)
    known = None if stations is None else set(stations["id"])
    left_out: dict[str, int] = {}
    seen: set[str] = set()
    count = 0
    with ExitStack() as stack:

        def table(name: str, columns: tuple[str, ...]) -> Any:
            temporary = stack.enter_context(atomic_files.whole(folder / name))
            file = stack.enter_context(temporary.open("w", newline="", encoding="utf-8"))
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            return writer

        to_pyocto = table("pyocto_picks.csv", PYOCTO_PICKS) if pyocto else None
        to_gamma = table("gamma_picks.csv", GAMMA_PICKS) if gamma else None
        for onset in onsets(picks):
            if known is not None and onset.station not in known:
                left_out[onset.station] = left_out.get(onset.station, 0) + 1
                continue
            count += 1
            seen.add(onset.station)
            probability = f"{onset.probability:.4f}"
            if to_pyocto:
                seconds = f"{onset.time.ns / 1e9:.6f}"
                to_pyocto.writerow((onset.station, onset.phase, seconds, probability))
            if to_gamma:
                moment = onset.time.strftime("%Y-%m-%dT%H:%M:%S.%f")
                to_gamma.writerow((onset.station, moment, onset.phase.lower(), probability))
    lines = [f"{count} onsets at {len(seen)} stations for associators, in {folder}"]
    if left_out:
        names = ", ".join(f"{name} ({n} picks)" for name, n in sorted(left_out.items()))
        lines.append(f"not in the inventory, so left out for associators: {names}")
    if stations is not None:
        used = project(stations[stations["id"].isin(seen)].reset_index(drop=True))
        if pyocto:
            _save(used, folder / "pyocto_stations.csv")
        if gamma:
            renamed = {name: f"{name}(km)" for name in "xyz"} | {"elevation": "elevation_m"}
            _save(used.rename(columns=renamed), folder / "gamma_stations.csv")
    return lines


def onsets(picks: Path) -> Iterator[_Onset]:
    """Picks of a table, one for each onset at a station, roughly by time."""
    waiting: dict[tuple[str, str], _Onset] = {}
    with picks.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            station, phase = ".".join(row["trace_id"].split(".")[:2]), row["phase"]
            new = _Onset(station, phase, UTCDateTime(row["time"]), float(row["probability"]))
            before = waiting.get((station, phase))
            if before is None or new.time - before.time > SAME_S:
                waiting[station, phase] = new
                if before is not None:
                    yield before
            elif new.probability > before.probability:
                waiting[station, phase] = new
    yield from sorted(waiting.values(), key=lambda onset: onset.time)


def station_table(inventory: Inventory) -> pd.DataFrame:
    """id ("NET.STA"), latitude, longitude (degrees), elevation (m); of several epochs the last."""
    rows: dict[str, tuple[float, float, float]] = {}
    for network in inventory:
        for station in sorted(network, key=lambda s: s.start_date or UTCDateTime(0)):
            place = station.latitude, station.longitude, station.elevation or 0.0
            rows[f"{network.code}.{station.code}"] = place
    table = pd.DataFrame(
        [(name, *place) for name, place in sorted(rows.items())],
        columns=["id", "latitude", "longitude", "elevation"],
    )
    return table.astype({name: float for name in ("latitude", "longitude", "elevation")})


def project(stations: pd.DataFrame) -> pd.DataFrame:
    """Add x (east), y (north) and z (down), km, from the middle of the stations.

    Distance and azimuth from the middle are kept (azimuthal equidistant projection).
    """
    if stations.empty:
        return stations.assign(x=0.0, y=0.0, z=0.0)
    # The middle as a mean of directions, so that the date line does no harm.
    lat, lon = np.radians(stations["latitude"]), np.radians(stations["longitude"])
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    middle_lat = float(np.degrees(np.arctan2(z.mean(), np.hypot(x.mean(), y.mean()))))
    middle_lon = float(np.degrees(np.arctan2(y.mean(), x.mean())))
    places = [
        gps2dist_azimuth(middle_lat, middle_lon, latitude, longitude)[:2]
        for latitude, longitude in zip(stations["latitude"], stations["longitude"], strict=True)
    ]
    distance_km, azimuth = np.array(places).T * [[1e-3], [np.pi / 180]]
    return stations.assign(
        x=np.round(distance_km * np.sin(azimuth), 4),
        y=np.round(distance_km * np.cos(azimuth), 4),
        z=-stations["elevation"] / 1000,
    )


def _save(table: pd.DataFrame, path: Path) -> None:
    with atomic_files.whole(path) as temporary:
        table.to_csv(temporary, index=False)
