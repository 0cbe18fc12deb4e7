"""Picks, events and stations out of QuakeML and StationXML, through ObsPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.data.catalogue_tables import EVENTS, PICKS, STATIONS, tidy_picks
from seismollm_jax.data.records import NO_POLARITY
from seismollm_jax.data.tidy import POLARITY_WORDS


def read_stations(path: Path) -> pd.DataFrame:
    """Stations of a StationXML file, the columns `STATIONS`; of several epochs the first counts.

    Raises ValueError for a file that ObsPy cannot read.
    """
    import obspy

    inventory = _parsed(obspy.read_inventory, path, "STATIONXML", "StationXML")
    rows = [
        (network.code, station.code, station.latitude, station.longitude, station.elevation)
        for network in inventory
        for station in network
    ]
    stations = pd.DataFrame(rows, columns=list(STATIONS))
    return stations.drop_duplicates(["network", "station"], ignore_index=True)


def read_quakeml(path: Path, counts: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Picks (`PICKS`) and events (`EVENTS`) of a QuakeML file.

    Origin and magnitude are the preferred ones, else the first. The phase is that of the preferred
    origin's arrivals, else the pick's own hint. Picks that were rejected are left out and counted.

    Raises ValueError for a file that ObsPy cannot read.
    """
    import obspy

    picks: list[tuple[Any, ...]] = []
    events: list[tuple[Any, ...]] = []
    rejected = 0
    for event in _parsed(obspy.read_events, path, "QUAKEML", "QuakeML"):
        event_id = str(event.resource_id.id)
        origin = event.preferred_origin() or (event.origins[0] if event.origins else None)
        magnitude = event.preferred_magnitude() or (event.magnitudes or [None])[0]
        events.append((
            event_id,
            *((origin.time and origin.time.ns, origin.latitude, origin.longitude)
              if origin else (None, None, None)),
            origin.depth / 1000 if origin and origin.depth is not None else None,
            *((magnitude.mag, magnitude.magnitude_type) if magnitude else (None, None)),
        ))  # fmt: skip
        arrivals = origin.arrivals if origin else []
        phases = {arrival.pick_id.id: arrival.phase for arrival in arrivals if arrival.pick_id}
        for pick in event.picks:
            if pick.evaluation_status == "rejected":
                rejected += 1
                continue
            names = ("network_code", "station_code", "location_code")
            codes = [getattr(pick.waveform_id, name, None) or "" for name in names]
            phase = phases.get(pick.resource_id.id) or pick.phase_hint or ""
            motion = POLARITY_WORDS.get(str(pick.polarity), NO_POLARITY)
            picks.append((event_id, *codes, phase, pick.time.ns, motion))
    if rejected:
        text = "rejected picks, left out"
        counts[text] = counts.get(text, 0) + rejected
    found = pd.DataFrame(events, columns=list(EVENTS))
    for column in EVENTS[2:6]:
        found[column] = found[column].astype(np.float64)
    found["origin_time"] = found["origin_time"].astype("Int64")
    return tidy_picks(pd.DataFrame(picks, columns=list(PICKS)), counts), found


def _parsed(read: Callable[..., Any], path: Path, file_format: str, name: str) -> Any:
    try:
        return read(str(path), format=file_format)
    except Exception as error:  # a parser of many layers, which raises anything
        raise ValueError(
            f"{path} cannot be read as {name} ({type(error).__name__}: {error}); is it complete?"
        ) from error
