"""Physics of the synthetic records: sources, rays, motion of the ground, noise."""

import numpy as np
import pytest

from seismollm_jax.data.synthetic import (
    catalogue,
    earth,
    measures,
    network,
    source,
)
from seismollm_jax.data.synthetic.noise import SAMPLES, station_noise
from seismollm_jax.data.synthetic.seismogram import (
    ground_motion,
    minimum_phase,
    phase_motion,
)

SEED = 20


@pytest.fixture(scope="module")
def records():
    """Noise-free ground motion (3, samples) with its path and arrivals."""
    world, found = network.regions(SEED), []
    for index in range(60):
        rng = np.random.default_rng([SEED, 1, index])
        event = catalogue._event(rng, index, world[int(rng.integers(len(world)))])
        for path, level_db in catalogue._recording_paths(rng, event, 3):
            s_sample = 1000 + max(round((path.s_time_s - path.p_time_s) * 100), 5)
            found.append((path, level_db, s_sample, ground_motion(rng, path, 1000, s_sample)))
    return found


def test_nothing_moves_before_p(records):
    for _, _, s_sample, motion in records:
        assert np.abs(motion[:, :1000]).max() < 0.035 * np.abs(motion[:, 1000:s_sample]).max()


@pytest.mark.parametrize(("phase", "component", "factor"), [("P", 0, 0), ("S", 2, 2)])
def test_a_phase_begins_on_its_sample(records, phase, component, factor):
    """P on the vertical, S on the transverse, where the mechanism radiates them well."""
    onsets = []
    for path, *_ in records:
        if path.later_ray is None and abs(path.radiation[factor]) > 0.3:
            motion = np.abs(phase_motion(np.random.default_rng(7), path, phase, 1000)[component])
            first_swing = motion[1000:1030].max()
            onsets.append(int(np.flatnonzero(motion > 0.05 * first_swing)[0]) - 1000)
    assert len(onsets) > 20
    assert min(onsets) >= -1, onsets
    assert np.percentile(onsets, 90) <= 1, onsets


def test_first_motion_follows_the_mechanism(records):
    """The label agrees with the first sample that leaves zero and is absent where P is buried."""
    labels = []
    for path, _, _, motion in records:
        vertical = motion[0]
        label = measures.first_motion(vertical, 0.0, 1000, path.radiation[0])
        buried = measures.first_motion(vertical, np.abs(vertical).max(), 1000, path.radiation[0])
        assert buried == ""
        labels.append(label)
        if label:
            after = vertical[1000:1050]
            moved = after[np.argmax(np.abs(after) > 0.1 * np.abs(after).max())]
            assert (moved > 0) == (label == "U") == (path.radiation[0] > 0)
    assert set(labels) == {"U", "D", ""}
    assert 0.35 < np.mean(np.array([x for x in labels if x]) == "U") < 0.65


def test_p_particle_motion_points_back_to_the_source(records):
    errors = []
    for path, _, s_sample, motion in records:
        z, n, e = motion[:, 1000 : min(s_sample, 1100)]
        # Motion away from the source goes with motion upwards, whatever the first motion.
        azimuth = np.degrees(np.arctan2(-(z * e).sum(), -(z * n).sum()))
        errors.append(abs((azimuth - path.back_azimuth_deg + 180.0) % 360.0 - 180.0))
    assert np.median(errors) < 20.0
    assert np.mean(np.array(errors) < 90.0) > 0.9


def test_double_couple_radiates_the_known_energies():
    rng = np.random.default_rng(0)
    squares = np.mean(
        [
            np.square(
                source.radiation(
                    *source.random_mechanism(rng),
                    rng.uniform(0, 360),
                    np.degrees(np.arccos(rng.uniform(-1, 1))),
                )
            )
            for _ in range(8000)
        ],
        axis=0,
    )
    assert squares[0] == pytest.approx(4 / 15, rel=0.05)
    assert squares[1] + squares[2] == pytest.approx(2 / 5, rel=0.05)


def test_travel_times_agree_with_integration_along_the_ray():
    crust = earth.Crust(5.2, 0.04, 33.0, 8.0, 1.73)
    for distance_km in (1.0, 8.0, 30.0, 90.0):
        ray = earth.direct_ray(crust, distance_km, 9.0)
        depths = np.linspace(0.0, 9.0, 200_001)
        slowness = 1.0 / (crust.surface_km_s + crust.gradient_per_s * depths)
        if ray.takeoff_deg > 90.0:  # straight up: one leg
            vertical = np.sqrt(slowness**2 - ray.ray_parameter_s_km**2)
            assert np.trapezoid(slowness**2 / vertical, depths) == pytest.approx(
                ray.travel_time_s, rel=1e-4
            )
            assert np.trapezoid(ray.ray_parameter_s_km / vertical, depths) == pytest.approx(
                distance_km, rel=1e-3
            )
    assert earth.head_wave(crust, 30.0, 9.0) is None
    near, far = (earth.head_wave(crust, d, 9.0) for d in (150.0, 230.0))
    assert far.travel_time_s - near.travel_time_s == pytest.approx(80.0 / 8.0)
    # At its critical distance the head wave cannot come before the direct wave.
    assert earth.head_wave(crust, 100.0, 9.0).travel_time_s > (
        earth.direct_ray(crust, 100.0, 9.0).travel_time_s - 1.0
    )


def test_free_surface_doubles_vertical_incidence():
    p_motion, sv_motion = earth.free_surface(0.0, 4.0, 2.0)
    assert p_motion == pytest.approx((0.0, 2.0))
    assert sv_motion == pytest.approx((2.0, 0.0))


def test_minimum_phase_wavelets_are_causal():
    frequency = np.fft.rfftfreq(8192, 0.01)
    amplitude = frequency / (1.0 + (frequency / 3.0) ** 2) * np.exp(-0.05 * frequency)
    wavelet = np.fft.irfft(minimum_phase(amplitude), 8192)
    assert np.abs(wavelet[-2000:]).max() < 1e-3 * np.abs(wavelet).max()
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(wavelet))[1:], amplitude[1:], rtol=1e-6, atol=1e-6 * amplitude.max()
    )


def test_magnitudes_follow_gutenberg_richter():
    rng = np.random.default_rng(1)
    drawn = np.array([source.gutenberg_richter(rng, 1.0, 5.0, 1.0) for _ in range(20_000)])
    assert drawn.min() >= 1.0
    assert drawn.max() <= 5.0
    # Aki's (1965) maximum-likelihood b value, hardly touched by a truncation four units up.
    assert np.log10(np.e) / (drawn.mean() - 1.0) == pytest.approx(1.0, rel=0.03)


def test_larger_earthquakes_have_lower_corners_and_longer_periods():
    corners = [
        source.corner_frequency_hz(source.seismic_moment_nm(m), 3e6, 3.5) for m in (1.0, 3.0, 5.0)
    ]
    assert corners == sorted(corners, reverse=True)
    assert corners[0] / corners[1] == pytest.approx(10.0)  # two magnitude units: moment 10^3


def test_noise_has_the_power_its_spectrum_says():
    station = next(
        s
        for region in network.regions(SEED)
        for s in region.stations
        if s.sensor == "HH" and not s.line_frequencies_hz
    )
    rng = np.random.default_rng(2)
    noise = np.stack([station_noise(rng, station, 0.0, 0.0) for _ in range(12)])
    power = np.abs(np.fft.rfft(noise[:, 0])) ** 2 * 2.0 / (SAMPLES * 100.0)
    frequency = np.fft.rfftfreq(SAMPLES, 0.01)
    for low, high in ((4.0, 6.0), (12.0, 20.0)):
        band = (frequency > low) & (frequency < high)
        expected = network.noise_spectrum(station, frequency, False)[band].mean()
        assert power[:, band].mean() == pytest.approx(expected, rel=0.25)
