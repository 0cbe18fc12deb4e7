"""What an inventory says of a station: where it is."""

from __future__ import annotations

from pathlib import Path

from obspy import Inventory, UTCDateTime
from obspy import read_inventory as read_file


def read(path: str | Path) -> Inventory:
    """Station metadata from a file, StationXML or another format that ObsPy reads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no format that ObsPy knows, or a damaged file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no inventory {path}")
    try:
        return read_file(str(path))
    except Exception as error:  # the many formats raise anything at all on broken files
        raise ValueError(
            f"{path} cannot be read as an inventory ({type(error).__name__}: {error}); give "
            "StationXML or another format of ObsPy"
        ) from error


def place(inventory: Inventory, trace_id: str, time: UTCDateTime) -> tuple[float, float] | None:
    """Latitude and longitude of an instrument at a time, of its station if it is not listed itself.

    Args:
        inventory: of ObsPy.
        trace_id: "NET.STA.LOC.HH".
        time: of the answer; stations move.

    Returns:
        Degrees; None if the inventory has nothing there.
    """
    network, station, location, instrument = trace_id.split(".")
    found = inventory.select(network=network, station=station, time=time)
    places = [(site.latitude, site.longitude) for net in found for site in net]
    exact = [
        (channel.latitude, channel.longitude)
        for net in found
        for site in net
        for channel in site.channels
        if channel.location_code == location and channel.code.startswith(instrument)
    ]
    for latitude, longitude in [*exact, *places]:
        if latitude is not None and longitude is not None:
            return float(latitude), float(longitude)
    return None
