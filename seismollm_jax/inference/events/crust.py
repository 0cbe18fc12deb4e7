"""Times of P and S over local and regional distances, in a crust of flat layers.

Velocities are those of iasp91 (Kennett and Engdahl 1991, doi:10.1111/j.1365-246X.1991.tb06724.x):
Vp/Vs is 1.73 in the crust and 1.80 below it, and Vp 5.8, 6.5 and 8.04 km/s. That makes a second
of S minus P 8.0 km of a path through the upper crust and some 10 km of one along the Moho.
"""

from __future__ import annotations

import functools

import numpy as np

THICKNESS_KM = (20.0, 15.0)  # of the layers of the crust; the mantle is below
VELOCITY_KM_S = {"P": (5.8, 6.5, 8.04), "S": (3.36, 3.75, 4.47)}
LARGEST_KM = 500.0  # distance; the range of the task
DEPTHS_KM = (0.0, 10.0, 20.0, 30.0)  # of the foci that a distance is judged by
USUAL_KM = 10.0  # depth of a focus of which nothing is known
VP_VS = VELOCITY_KM_S["P"][0] / VELOCITY_KM_S["S"][0]

# What real crusts and picks may differ by. Vp/(Vp/Vs - 1), kilometres a second of S minus P, is 6.5
# where Vp is 5.5 and Vp/Vs 1.85 (sediments, fractured rock) and 9.6 where they are 6.7 and 1.70.
TOLERANCE = 0.2  # of the distance
TOLERANCE_KM = 5.0  # and this much more


def travel_time_s(phase: str, distance_km: np.ndarray | float, depth_km: float) -> np.ndarray:
    """Time of the first P or S, of the direct wave and those along the layers' tops.

    Args:
        phase: "P" or "S".
        distance_km: epicentral, 0 to some 500.
        depth_km: of the focus, above the Moho.

    Raises:
        ValueError: a focus below the Moho.
    """
    if not 0 <= depth_km <= sum(THICKNESS_KM):
        raise ValueError(f"a focus at {depth_km} km is not in the crust of {sum(THICKNESS_KM)} km")
    distance = np.asarray(distance_km, np.float64)
    velocities = VELOCITY_KM_S[phase]
    tops = np.concatenate([[0.0], np.cumsum(THICKNESS_KM)])
    above = np.clip(depth_km - tops[:-1], 0, THICKNESS_KM)  # of each layer, above the focus
    first = _direct(distance, above, velocities)
    for layer in range(1, len(velocities)):
        if tops[layer] < depth_km:
            continue
        legs = np.where(np.arange(len(THICKNESS_KM)) < layer, 2.0 * np.array(THICKNESS_KM), 0.0)
        first = np.fmin(first, _head(distance, legs - above, velocities, layer))
    return first


def _direct(distance: np.ndarray, legs: np.ndarray, velocities: tuple[float, ...]) -> np.ndarray:
    """A ray straight up through `legs` km of each layer; along the surface if there are none."""
    used = legs > 0
    if not used.any():
        return distance / velocities[0]
    v, h = np.array(velocities[: len(legs)])[used], legs[used]
    sine = 1 - np.geomspace(1, 1e-9, 400)  # at the focus's fastest layer, 0 to nearly 1
    slowness = (sine / v.max())[:, None]
    cosine = np.sqrt(1 - (slowness * v) ** 2)
    reach, time = (h * slowness * v / cosine).sum(1), (h / v / cosine).sum(1)
    return np.interp(distance, reach, time)


def _head(
    distance: np.ndarray, legs: np.ndarray, velocities: tuple[float, ...], layer: int
) -> np.ndarray:
    """A wave along the top of a layer, down to it and up through `legs`; nan where there is none.

    There is none nearer than its critical distance, and below a layer that is faster.
    """
    used = legs > 0
    v, h = np.array(velocities[: len(legs)])[used], legs[used]
    fast = velocities[layer]
    if (v >= fast).any():
        return np.full(distance.shape, np.nan)
    cosine = np.sqrt(1 - (v / fast) ** 2)
    time = distance / fast + (h * cosine / v).sum()
    return np.where(distance >= (h * v / fast / cosine).sum(), time, np.nan)


@functools.lru_cache(maxsize=8)
def _table(depth_km: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances, km, and S minus P there, which rises with them."""
    distance = np.arange(0.0, 2 * LARGEST_KM + 1)
    apart = travel_time_s("S", distance, depth_km) - travel_time_s("P", distance, depth_km)
    return distance, np.maximum.accumulate(apart)


LONGEST_SP_S = float(np.interp(LARGEST_KM, *_table(0.0)))
"""S minus P at the largest distance of the task."""


def sp_distance_km(sp_s: float, depth_km: float = 0.0) -> float:
    """Epicentral distance for S minus P, 0 where even the depth is too far for it.

    Of a focus at the surface; nearby that is the distance to a focus at any depth.
    """
    distance, apart = _table(depth_km)
    return float(np.interp(sp_s, apart, distance))


def distance_range_km(sp_s: float) -> tuple[float, float]:
    """The epicentral distances that go with S minus P: of foci down to 30 km, and tolerances.

    Near the station a deeper focus is nearer to it, far away the other way round.
    """
    found = [sp_distance_km(sp_s, depth_km) for depth_km in DEPTHS_KM]
    low = min(found) * (1 - TOLERANCE) - TOLERANCE_KM
    return max(0.0, low), max(found) * (1 + TOLERANCE) + TOLERANCE_KM


def p_travel_time_s(distance_km: float, sp_s: float | None = None) -> float:
    """How long P was under way: by S minus P and Vp/Vs (Wadati), else from a usual depth."""
    if sp_s is not None:
        return sp_s / (VP_VS - 1)
    return float(travel_time_s("P", distance_km, USUAL_KM))
