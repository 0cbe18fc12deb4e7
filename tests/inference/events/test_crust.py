"""Travel times in the crust of iasp91, and the distances that go with S minus P."""

import numpy as np
import pytest
from obspy.taup import TauPyModel

from seismollm_jax.inference.events import crust


@pytest.fixture(scope="module")
def taup() -> TauPyModel:
    return TauPyModel("iasp91")


@pytest.mark.parametrize("depth_km", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("distance_km", [8.0, 90.0, 250.0, 500.0])
def test_first_arrivals_are_those_of_the_sphere(
    taup: TauPyModel, depth_km: float, distance_km: float
) -> None:
    for phase, names in (("P", ["p", "Pg", "P", "Pn"]), ("S", ["s", "Sg", "S", "Sn"])):
        arrivals = taup.get_travel_times(depth_km, distance_km / 111.195, names)
        found = float(crust.travel_time_s(phase, distance_km, depth_km))
        assert found == pytest.approx(min(a.time for a in arrivals), abs=0.02, rel=0.008)


def test_distances_of_s_minus_p_go_there_and_back() -> None:
    for depth_km in (0.0, 10.0):
        for distance_km in (30.0, 120.0, 480.0):
            s, p = (float(crust.travel_time_s(x, distance_km, depth_km)) for x in "SP")
            assert crust.sp_distance_km(s - p, depth_km) == pytest.approx(distance_km, abs=1)
    assert crust.sp_distance_km(0.5, 10.0) == 0  # less than from right below
    assert crust.sp_distance_km(1.0) == pytest.approx(1 / (1 / 3.36 - 1 / 5.8))


def test_the_range_holds_what_crusts_are_like() -> None:
    assert crust.distance_range_km(1.0)[0] == 0
    for sp_s in (6.0, 20.0, 45.0):
        low, high = crust.distance_range_km(sp_s)
        middle = crust.sp_distance_km(sp_s)
        assert low < 0.85 * middle < 1.15 * middle < high
        assert low > 0.3 * middle
        assert high < 1.4 * middle
    ranges = [crust.distance_range_km(sp_s) for sp_s in range(50)]
    assert (np.diff(ranges, axis=0) >= 0).all()


def test_the_longest_s_minus_p_is_that_of_500_km() -> None:
    assert crust.sp_distance_km(crust.LONGEST_SP_S) == pytest.approx(500, abs=0.1)


def test_how_long_p_was_under_way() -> None:
    assert crust.p_travel_time_s(50.0, 6.0) == pytest.approx(6.0 / (5.8 / 3.36 - 1))
    assert crust.p_travel_time_s(58.0) == pytest.approx(10.15, abs=0.01)  # from 10 km below


def test_no_foci_in_the_mantle() -> None:
    with pytest.raises(ValueError, match="a focus at 40 km is not in the crust"):
        crust.travel_time_s("P", 10.0, 40)
