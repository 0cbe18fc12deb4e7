"""Input files of PyOcto and GaMMA."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from obspy import UTCDateTime
from obspy.core.inventory import Inventory, Network, Station

from seismollm_jax.inference.archive import associators

PLACES = {"XX.ONE": (47.0, 11.0, 500.0), "XX.TWO": (47.0, 11.2, 1500.0), "YY.FAR": (47.1, 11.1, 0)}
ROWS = [
    ("XX.ONE..HH", "P", "2020-01-01T00:00:01.000000Z", 0.6),
    ("XX.ONE..HN", "P", "2020-01-01T00:00:01.300000Z", 0.9),  # the same onset
    ("XX.ONE..HN", "S", "2020-01-01T00:00:01.400000Z", 0.5),
    ("XX.TWO.00.EH", "P", "2020-01-01T00:00:02.250000Z", 0.7),
    ("XX.ONE..HH", "P", "2020-01-01T00:00:02.400000Z", 0.4),  # another one
    ("ZZ.NEW..HH", "P", "2020-01-01T00:00:03.000000Z", 0.8),
]


@pytest.fixture
def picks(tmp_path: Path) -> Path:
    columns = ["trace_id", "phase", "time", "probability"]
    path = tmp_path / "picks.csv"
    pd.DataFrame(ROWS, columns=columns).to_csv(path, index=False)
    return path


@pytest.fixture
def inventory() -> Inventory:
    networks: dict[str, Network] = {}
    for name, (latitude, longitude, elevation) in PLACES.items():
        network, code = name.split(".")
        found = networks.setdefault(network, Network(network))
        found.stations.append(Station(code, latitude, longitude, elevation))
    # An earlier place of a station; the last one counts.
    early = Station("ONE", 40.0, 10.0, 0.0, start_date=UTCDateTime(1990, 1, 1))
    networks["XX"].stations[0].start_date = UTCDateTime(2010, 1, 1)
    networks["XX"].stations.append(early)
    return Inventory(list(networks.values()), source="test")


def test_onsets_without_an_inventory(picks: Path, tmp_path: Path) -> None:
    lines = associators.write(picks, tmp_path, None, pyocto=True, gamma=False)
    assert lines == [f"5 onsets at 3 stations for associators, in {tmp_path}"]
    table = pd.read_csv(tmp_path / "pyocto_picks.csv")
    assert list(table) == ["station", "phase", "time", "probability"]
    second = UTCDateTime(2020, 1, 1).timestamp
    found = {
        (r.station, r.phase, round(r.time - second, 6), r.probability) for r in table.itertuples()
    }
    assert found == {
        ("XX.ONE", "P", 1.3, 0.9),
        ("XX.ONE", "S", 1.4, 0.5),
        ("XX.ONE", "P", 2.4, 0.4),
        ("XX.TWO", "P", 2.25, 0.7),
        ("ZZ.NEW", "P", 3.0, 0.8),
    }
    assert not (tmp_path / "gamma_picks.csv").exists()
    assert not (tmp_path / "pyocto_stations.csv").exists()


def test_both_with_an_inventory(picks: Path, inventory: Inventory, tmp_path: Path) -> None:
    lines = associators.write(picks, tmp_path, inventory, pyocto=True, gamma=True)
    assert lines[1] == "not in the inventory, so left out for associators: ZZ.NEW (1 picks)"
    table = pd.read_csv(tmp_path / "gamma_picks.csv", parse_dates=["timestamp"])
    assert list(table) == ["id", "timestamp", "type", "prob"]
    assert set(table["type"]) == {"p", "s"}
    assert table["timestamp"].dt.tz is None  # GaMMA takes that for UTC
    stations = pd.read_csv(tmp_path / "pyocto_stations.csv")
    assert list(stations) == ["id", "latitude", "longitude", "elevation", "x", "y", "z"]
    assert stations["id"].tolist() == ["XX.ONE", "XX.TWO"]  # those with picks
    assert set(pd.read_csv(tmp_path / "pyocto_picks.csv")["station"]) == set(stations["id"])
    # 0.2 degrees at 47 north are 15.21 km, the middle between them.
    np.testing.assert_allclose(stations["x"], [-7.606, 7.606], atol=0.01)
    np.testing.assert_allclose(stations["y"], 0, atol=0.01)
    np.testing.assert_allclose(stations["z"], [-0.5, -1.5])
    gamma = pd.read_csv(tmp_path / "gamma_stations.csv")
    assert {"id", "x(km)", "y(km)", "z(km)", "elevation_m"} < set(gamma)
    assert gamma["z(km)"].tolist() == stations["z"].tolist()


def test_projection_over_the_date_line() -> None:
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "latitude": [-18.0, -18.0, -17.9],
            "longitude": [179.9, -179.9, 180.0],
            "elevation": 0.0,
        }
    )
    found = associators.project(table)
    assert found["x"].iloc[1] - found["x"].iloc[0] == pytest.approx(21.18, abs=0.05)
    assert found["y"].iloc[2] - found["y"].iloc[0] == pytest.approx(11.07, abs=0.05)
    assert associators.project(table[:0]).empty
