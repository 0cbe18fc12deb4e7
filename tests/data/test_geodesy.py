"""Distances and azimuths on the ellipsoid."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obspy.geodetics import gps2dist_azimuth

from seismollm_jax.data.geodesy import destination, distance_and_back_azimuth

latitudes = st.integers(-8_990_000, 8_990_000).map(lambda steps: steps / 1e5)


longitudes = st.integers(-18_000_000, 18_000_000).map(lambda steps: steps / 1e5)


@given(latitudes, longitudes, latitudes, longitudes)
def test_distances_agree_with_obspy(a: float, b: float, c: float, d: float) -> None:
    distance, azimuth = distance_and_back_azimuth(*(np.array([v]) for v in (a, b, c, d)))
    with warnings.catch_warnings():  # about points that are almost antipodal, left out below
        warnings.simplefilter("ignore")
        metres, expected, _ = gps2dist_azimuth(a, b, c, d)
    if distance[0] < 19_900:
        assert distance[0] == pytest.approx(metres / 1000, abs=1e-3)
        if metres > 100:
            assert abs((azimuth[0] - expected + 180) % 360 - 180) < 0.01
    assert not azimuth[0] >= 360


def test_distances_of_impossible_coordinates_are_missing() -> None:
    found = distance_and_back_azimuth(*np.array([[0, 91, np.nan, 5], [0] * 4, [0] * 4, [0] * 4]))
    assert found[0][0] == 0
    assert np.isnan(found[0][1:3]).all()
    assert np.isnan(found[1][:3]).all()
    assert found[1][3] == pytest.approx(180)


@given(latitudes, longitudes, st.integers(0, 3599), st.integers(1, 2_000_000))
def test_destinations_are_where_they_should_be(
    latitude: float, longitude: float, tenths: int, metres: int
) -> None:
    azimuth, distance = tenths / 10, metres / 1000
    start = np.array([latitude]), np.array([longitude])
    end = destination(*start, np.array([azimuth]), np.array([distance]))
    found, back = distance_and_back_azimuth(*start, *end)
    assert found[0] == pytest.approx(distance, abs=1e-5)
    assert abs((back[0] - azimuth + 180) % 360 - 180) * np.radians(1) * distance < 1e-5
    assert -180 <= end[1][0] < 180


def test_destinations_of_missing_values_are_missing() -> None:
    latitude, longitude = destination(*np.array([[10.0, 0], [20, 0], [0, np.nan], [0, 1]]))
    assert (latitude[0], longitude[0]) == pytest.approx((10, 20))
    assert np.isnan([latitude[1], longitude[1]]).all()
