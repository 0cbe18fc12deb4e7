"""Where stations are, from an inventory."""

from pathlib import Path

import pytest
from obspy import UTCDateTime
from obspy.core.inventory import Channel, Inventory, Network, Station

from seismollm_jax.inference import stations

MOVED = UTCDateTime(2020, 1, 1)


@pytest.fixture
def inventory() -> Inventory:
    """One station that moved, with a borehole instrument, and one without channels."""
    place = {"elevation": 0.0, "depth": 0.0}
    channel = Channel(code="HHZ", location_code="10", latitude=47.01, longitude=11.0, **place)
    sites = [
        Station("A", 47.0, 11.0, 0.0, start_date=UTCDateTime(2010, 1, 1), end_date=MOVED),
        Station("A", 48.0, 12.0, 0.0, start_date=MOVED),
        Station("B", 46.0, 10.0, 0.0),
    ]
    sites[0].channels.append(channel)
    return Inventory(networks=[Network("XX", stations=sites)], source="test")


def test_place(inventory: Inventory) -> None:
    before, after = MOVED - 86400, MOVED + 86400
    assert stations.place(inventory, "XX.A.10.HH", before) == (47.01, 11.0)
    assert stations.place(inventory, "XX.A..HH", before) == (47.0, 11.0)
    assert stations.place(inventory, "XX.A.10.HH", after) == (48.0, 12.0)
    assert stations.place(inventory, "XX.B..EH", after) == (46.0, 10.0)
    assert stations.place(inventory, "XX.C..EH", after) is None
    assert stations.place(inventory, "YY.A..HH", after) is None


def test_files(inventory: Inventory, tmp_path: Path) -> None:
    path = tmp_path / "stations.xml"
    inventory.write(str(path), format="STATIONXML")
    assert [site.code for site in stations.read(path)[0]] == ["A", "A", "B"]
    with pytest.raises(FileNotFoundError, match=r"no inventory .*none\.xml"):
        stations.read(tmp_path / "none.xml")
    path.write_text("latitude,longitude\n")
    with pytest.raises(ValueError, match=r"stations\.xml cannot be read as an inventory .*Station"):
        stations.read(path)
