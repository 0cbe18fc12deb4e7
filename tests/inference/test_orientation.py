"""Components of any orientation are turned to up, north and east."""

import numpy as np
import pytest
from obspy import Inventory, Stream, Trace, UTCDateTime
from obspy.core.inventory import Channel, Network, Station

from seismollm_jax.inference.streams import segments

START = UTCDateTime(2024, 1, 1)


def inventory(orientations, start=START - 86400, end=None):
    """Channel code -> (azimuth, dip)."""
    channels = [
        Channel(
            code, "", 0.0, 0.0, 0.0, 0.0, azimuth=azimuth, dip=dip, sample_rate=100.0,
            start_date=start, end_date=end,
        )
        for code, (azimuth, dip) in orientations.items()
    ]  # fmt: skip
    return Inventory([Network("XX", [Station("ABC", 0.0, 0.0, 0.0, channels=channels)])])


def ground(samples=3000):
    """Up, north, east."""
    return np.random.default_rng(0).normal(0, 100, (3, samples)).round()


def stream(channels):
    return Stream(
        Trace(data, {"network": "XX", "station": "ABC", "channel": code, "starttime": START,
                     "sampling_rate": 100.0})
        for code, data in channels.items()
    )  # fmt: skip


def seen(azimuth):
    _, north, east = ground()
    angle = np.radians(azimuth)
    return north * np.cos(angle) + east * np.sin(angle)


@pytest.mark.parametrize(("one", "two"), [(30, 120), (0, 90), (200, 290), (10, 280), (350, 60)])
def test_horizontals_of_any_azimuth(one, two):
    found = stream({"HHZ": ground()[0], "HH1": seen(one), "HH2": seen(two)})
    known = inventory({"HHZ": (0, -90), "HH1": (one, 0), "HH2": (two, 0)})
    (segment,), coverage = segments(found, 100.0, inventory=known)
    np.testing.assert_allclose(segment.data, ground().T, atol=1e-2)
    assert coverage.notes == []


def test_it_agrees_with_obspy():
    from obspy.signal.rotate import rotate2zne

    up, one, two = ground()[0], seen(37), seen(130)
    known = inventory({"HHZ": (0, -90), "HH1": (37, 0), "HH2": (130, 0)})
    (segment,), _ = segments(stream({"HHZ": up, "HH1": one, "HH2": two}), 100.0, inventory=known)
    np.testing.assert_allclose(
        segment.data.T, rotate2zne(up, 0, -90, one, 37, 0, two, 130, 0), atol=1e-2
    )


def test_names_alone_do_not_make_n_and_e():
    found = stream({"HHN": seen(5), "HHE": seen(95), "HHZ": -ground()[0]})
    known = inventory({"HHZ": (0, 90), "HHN": (5, 0), "HHE": (95, 0)})
    (segment,), _ = segments(found, 100.0, inventory=known)
    np.testing.assert_allclose(segment.data, ground().T, atol=1e-2)


def test_only_where_both_have_data():
    channels = {"HHZ": ground()[0], "HH1": seen(30), "HH2": seen(120)[:2000]}
    known = inventory({"HHZ": (0, -90), "HH1": (30, 0), "HH2": (120, 0)})
    (segment,), coverage = segments(stream(channels), 100.0, inventory=known)
    np.testing.assert_allclose(segment.data[:2000], ground().T[:2000], atol=1e-2)
    np.testing.assert_allclose(segment.data[2000:, 1], seen(30)[2000:], rtol=1e-5)
    assert "at 30 degrees cannot be turned without the other one" in coverage.notes[0]


def test_a_sensor_that_is_turned_on_the_way():
    first = inventory({"HHZ": (0, -90), "HH1": (30, 0), "HH2": (120, 0)}, end=START + 15)
    later = inventory({"HHZ": (0, -90), "HH1": (60, 0), "HH2": (150, 0)}, start=START + 15)
    parts = {"HHZ": [ground()[0]] * 2, "HH1": [seen(30), seen(60)], "HH2": [seen(120), seen(150)]}
    found = Stream()
    for code, (before, after) in parts.items():
        found += stream({code: before[:1400]})
        found += stream({code: after}).slice(START + 16)
    (segment,), _ = segments(found, 100.0, inventory=first + later)
    where = segment.valid.all(1)
    assert where.sum() == 2800
    np.testing.assert_allclose(segment.data[where], ground().T[where], atol=1e-2)


def test_what_the_inventory_does_not_know_stays_as_it_is():
    channels = {"HHZ": ground()[0], "HH1": seen(30), "HH2": seen(120)}
    (segment,), coverage = segments(
        stream(channels), 100.0, inventory=inventory({"HHZ": (0, -90), "HH1": (30, 0)})
    )
    np.testing.assert_allclose(segment.data[:, 2], seen(120), rtol=1e-5)
    assert "has no orientation of HH2" in coverage.notes[0]
    nearly = inventory({"HHZ": (0, -90), "HH1": (30, 0), "HH2": (40, 0)})
    (segment,), coverage = segments(stream(channels), 100.0, inventory=nearly)
    np.testing.assert_allclose(segment.data[:, 1], seen(30), rtol=1e-5)
    assert "at 30 and 40 degrees, not across each other" in coverage.notes[0]
