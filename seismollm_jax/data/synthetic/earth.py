"""Geometry, travel times and free-surface response of the synthetic crust.

Velocity grows linearly with depth, so a direct ray is an arc of a circle and its travel time, ray
parameter and take-off angle are closed formulae (Aki & Richards, Quantitative Seismology, 2nd ed.,
section 9.3). Below the crust lies a faster half-space that carries the head wave Pn. The ratio
Vp / Vs is constant within a region, so the S ray follows the P ray and only its time is longer.
"""

from dataclasses import dataclass

import numpy as np

EARTH_RADIUS_KM = 6371.0
KM_PER_DEGREE = np.pi * EARTH_RADIUS_KM / 180.0


@dataclass(frozen=True, slots=True)
class Crust:
    """P velocity `surface_km_s + gradient_per_s * depth` above a mantle of constant velocity."""

    surface_km_s: float
    gradient_per_s: float
    thickness_km: float
    mantle_km_s: float
    vp_over_vs: float

    def velocity_km_s(self, depth_km: float) -> float:
        """P velocity in the crust at a depth, in km/s."""
        return self.surface_km_s + self.gradient_per_s * depth_km


@dataclass(frozen=True, slots=True)
class Ray:
    """One P ray from the source to the surface.

    `takeoff_deg` is measured from the downward vertical (0 down, 180 up), `ray_parameter_s_km` is
    the horizontal slowness, `length_km` the distance over which amplitudes spread.
    """

    travel_time_s: float
    ray_parameter_s_km: float
    takeoff_deg: float
    length_km: float


def great_circle(
    latitude_a_deg: float, longitude_a_deg: float, latitude_b_deg: float, longitude_b_deg: float
) -> tuple[float, float]:
    """Distance from a to b in km, and the azimuth at a towards b in degrees, on a sphere."""
    lat_a, lat_b = np.radians(latitude_a_deg), np.radians(latitude_b_deg)
    dlon = np.radians(longitude_b_deg - longitude_a_deg)
    east = np.cos(lat_b) * np.sin(dlon)
    north = np.cos(lat_a) * np.sin(lat_b) - np.sin(lat_a) * np.cos(lat_b) * np.cos(dlon)
    up = np.sin(lat_a) * np.sin(lat_b) + np.cos(lat_a) * np.cos(lat_b) * np.cos(dlon)
    distance_km = EARTH_RADIUS_KM * np.arctan2(np.hypot(east, north), up)
    return float(distance_km), float(np.degrees(np.arctan2(east, north)) % 360.0)


def displaced(
    latitude_deg: float, longitude_deg: float, distance_km: float, azimuth_deg: float
) -> tuple[float, float]:
    """Latitude and longitude (degrees) of the point at a distance and azimuth, on a sphere."""
    lat, azimuth = np.radians(latitude_deg), np.radians(azimuth_deg)
    arc = distance_km / EARTH_RADIUS_KM
    new_lat = np.arcsin(np.sin(lat) * np.cos(arc) + np.cos(lat) * np.sin(arc) * np.cos(azimuth))
    dlon = np.arctan2(
        np.sin(azimuth) * np.sin(arc) * np.cos(lat), np.cos(arc) - np.sin(lat) * np.sin(new_lat)
    )
    longitude = (longitude_deg + np.degrees(dlon) + 180.0) % 360.0 - 180.0
    return float(np.degrees(new_lat)), float(longitude)


def direct_ray(crust: Crust, distance_km: float, depth_km: float) -> Ray:
    """Trace the ray that stays in the crust: an arc of a circle centred above the surface."""
    v0, k, vh = crust.surface_km_s, crust.gradient_per_s, crust.velocity_km_s(depth_km)
    distance_km = max(distance_km, 1e-3)  # straight overhead the circle degenerates to a line
    chord2 = distance_km**2 + depth_km**2
    time_s = np.arccosh(1.0 + k**2 * chord2 / (2.0 * v0 * vh)) / k
    bottom_km = (chord2 + 2.0 * depth_km * v0 / k) / (2.0 * distance_km)  # from the station
    slowness = 1.0 / (k * np.hypot(bottom_km, v0 / k))
    angle = np.degrees(np.arcsin(min(1.0, slowness * vh)))
    takeoff = angle if distance_km > bottom_km else 180.0 - angle
    return Ray(float(time_s), float(slowness), float(takeoff), float(np.sqrt(chord2)))


def head_wave(crust: Crust, distance_km: float, depth_km: float) -> Ray | None:
    """Trace the ray along the top of the mantle (Pn), or None short of the critical distance."""
    if depth_km >= crust.thickness_km:
        return None
    slowness, k = 1.0 / crust.mantle_km_s, crust.gradient_per_s
    u_top, u_source, u_moho = (
        slowness * crust.velocity_km_s(z) for z in (0.0, depth_km, crust.thickness_km)
    )

    def cosine(u: float) -> float:
        return np.sqrt(1.0 - u * u)

    def delay(u: float) -> float:  # antiderivative of the vertical slowness, times k
        return cosine(u) + np.log(u / (1.0 + cosine(u)))

    legs_km = (cosine(u_source) + cosine(u_top) - 2.0 * cosine(u_moho)) / (k * slowness)
    if distance_km < legs_km:
        return None
    time_s = slowness * distance_km + (2.0 * delay(u_moho) - delay(u_source) - delay(u_top)) / k
    takeoff = np.degrees(np.arcsin(u_source))
    return Ray(float(time_s), slowness, float(takeoff), float(np.hypot(distance_km, depth_km)))


def free_surface(
    ray_parameter_s_km: float, vp_km_s: float, vs_km_s: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Surface displacement (radial, vertical) for unit incident P and for unit incident SV.

    Radial is positive away from the source, vertical positive up. Aki & Richards (2002), problem
    5.6; beyond the critical angle of SV the evanescent vertical slowness is taken as zero.
    """
    p = ray_parameter_s_km
    q_p = np.sqrt(max(0.0, 1.0 / vp_km_s**2 - p * p))
    q_s = np.sqrt(max(0.0, 1.0 / vs_km_s**2 - p * p))
    bracket = 1.0 / vs_km_s**2 - 2.0 * p * p
    rayleigh = bracket**2 + 4.0 * p * p * q_p * q_s
    scale_p, scale_s = vp_km_s / vs_km_s**2 / rayleigh, 1.0 / vs_km_s / rayleigh
    incident_p = (4.0 * scale_p * p * q_p * q_s, 2.0 * scale_p * q_p * bracket)
    incident_sv = (2.0 * scale_s * q_s * bracket, -4.0 * scale_s * p * q_p * q_s)
    return incident_p, incident_sv
