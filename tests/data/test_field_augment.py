"""What rotation, polarity flips, added events and recorded noise do to a trace and every label."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.data import field_augment as fa
from seismollm_jax.data.records import DOWN, NO_POLARITY, UP, Record
from tests.data.field_records import level, trace

LABELS = ("p_samples", "s_samples", "magnitude", "distance_km", "back_azimuth_deg", "polarity")
ANGLES = st.floats(0, 360, exclude_max=True)


def p_wave(back_azimuth_deg: float, polarity: int = UP, *, seed: int = 0) -> Record:
    """A P wave from a known direction: compression moves up and away from the source."""
    rng = np.random.default_rng(seed)
    pulse = np.zeros(400)
    pulse[150:250] = np.abs(rng.standard_normal(100)) + 0.1
    pulse *= 1 if polarity == UP else -1
    away = math.radians(back_azimuth_deg + 180)
    motion = np.stack([pulse, 0.6 * pulse * np.cos(away), 0.6 * pulse * np.sin(away)], axis=1)
    noise = 1e-3 * rng.standard_normal((400, 3))
    return Record(
        (motion + noise).astype(np.float32),
        [150],
        [260],
        magnitude=3.0,
        distance_km=20.0,
        back_azimuth_deg=back_azimuth_deg,
        polarity=polarity,
        snr_db=(30.0, 31.0, 32.0),
    )


def measured_back_azimuth(waveform: np.ndarray) -> float:
    """From the particle motion: the horizontals that go with an upward motion point away."""
    z, n, e = (waveform - waveform.mean(0)).astype(np.float64).T
    return math.degrees(math.atan2(-(z @ e), -(z @ n))) % 360


def first_motion(record: Record) -> int:
    return UP if record.waveform[record.p_samples[0] + 1, 0] > 0 else DOWN


def difference(a: float, b: float) -> float:
    return abs((a - b + 180) % 360 - 180)


def labels(record: Record, *left_out: str) -> dict[str, object]:
    return {name: getattr(record, name) for name in LABELS if name not in left_out}


# -- rotation --------------------------------------------------------------------------------


@given(back_azimuth_deg=ANGLES, angle_deg=ANGLES, polarity=st.sampled_from([UP, DOWN]))
def test_the_particle_motion_of_a_rotated_p_wave_gives_the_rotated_label(
    back_azimuth_deg: float, angle_deg: float, polarity: int
) -> None:
    record = p_wave(back_azimuth_deg, polarity)
    assert difference(measured_back_azimuth(record.waveform), back_azimuth_deg) < 1
    turned = fa.rotate(record, angle_deg)
    assert difference(measured_back_azimuth(turned.waveform), turned.back_azimuth_deg) < 1
    assert difference(turned.back_azimuth_deg, back_azimuth_deg + angle_deg) < 1e-6
    assert 0 <= np.float32(turned.back_azimuth_deg) < 360
    assert labels(turned, "back_azimuth_deg") == labels(record, "back_azimuth_deg")
    assert first_motion(turned) == polarity
    np.testing.assert_array_equal(turned.waveform[:, 0], record.waveform[:, 0])
    assert turned.waveform.dtype == np.float32
    back = fa.rotate(turned, 360 - angle_deg)
    np.testing.assert_allclose(back.waveform, record.waveform, atol=1e-5)


def test_a_quarter_turn_clockwise_sends_north_to_east() -> None:
    record = Record(np.array([[0, 1, 0], [5, 0, 1]], np.float32), [], [], back_azimuth_deg=300.0)
    turned = fa.rotate(record, 90.0)
    np.testing.assert_allclose(turned.waveform, [[0, 0, 1], [5, -1, 0]], atol=1e-6)
    assert turned.back_azimuth_deg == 30


def test_rotation_up_to_360_is_north() -> None:
    turned = fa.rotate(p_wave(90.0), 270 - 1e-9)
    assert turned.back_azimuth_deg == 0


@pytest.mark.parametrize("dead", [(1,), (2,), (1, 2)])
def test_what_a_dead_horizontal_would_have_recorded_is_not_made_up(dead: tuple[int, ...]) -> None:
    record = p_wave(30.0)
    record.waveform[:, dead] = 7.0
    assert fa.rotate(record, 50.0) is record


def test_a_dead_vertical_stays_dead() -> None:
    record = p_wave(30.0)
    record.waveform[:, 0] = 7.0
    turned = fa.rotate(record, 50.0)
    assert (turned.waveform[:, 0] == 7).all()
    assert turned.back_azimuth_deg == 80


def test_a_missing_back_azimuth_stays_missing() -> None:
    turned = fa.rotate(dataclasses.replace(p_wave(0.0), back_azimuth_deg=math.nan), 50.0)
    assert math.isnan(turned.back_azimuth_deg)


# -- polarity --------------------------------------------------------------------------------


@given(back_azimuth_deg=ANGLES, polarity=st.sampled_from([UP, DOWN]))
def test_a_flip_turns_the_first_motion_and_its_label_and_nothing_else(
    back_azimuth_deg: float, polarity: int
) -> None:
    record = p_wave(back_azimuth_deg, polarity)
    flipped = fa.flip_polarity(record)
    assert flipped.polarity == first_motion(flipped) == 1 - polarity
    assert labels(flipped, "polarity") == labels(record, "polarity")
    assert difference(measured_back_azimuth(flipped.waveform), back_azimuth_deg) < 1
    again = fa.flip_polarity(flipped)
    assert again.polarity == polarity
    np.testing.assert_array_equal(again.waveform, record.waveform)


def test_a_missing_polarity_stays_missing() -> None:
    record = dataclasses.replace(p_wave(0.0), polarity=NO_POLARITY)
    assert fa.flip_polarity(record).polarity == NO_POLARITY


# -- superposition ---------------------------------------------------------------------------


@given(
    p_donor=st.integers(0, 300),
    delay=st.integers(1, 90),
    place=st.integers(0, 399),
    scale=st.floats(0.01, 100),
    taper=st.integers(0, 40),
    after_s=st.integers(1, 120),
)
def test_the_added_event_arrives_where_its_picks_say(
    p_donor: int, delay: int, place: int, scale: float, taper: int, after_s: int
) -> None:
    place, n_donor = min(place, 399 - delay), p_donor + delay + after_s
    host, donor = trace(1), trace(2, [p_donor], [p_donor + delay], n=n_donor)
    before = host.waveform.copy(), donor.waveform.copy()
    both = fa.superpose(host, donor, place, scale, taper)
    np.testing.assert_array_equal(host.waveform, before[0])
    np.testing.assert_array_equal(donor.waveform, before[1])
    assert both.p_samples == sorted([100, place])
    assert both.s_samples == sorted([160, place + delay])
    added = both.waveform.astype(np.float64) - host.waveform
    first = max(p_donor - taper, 0)
    mean = donor.waveform[first:].mean(axis=0, dtype=np.float64)
    tolerance = 1e-5 * (np.abs(both.waveform).max() + scale * np.abs(donor.waveform).max())
    # From P to S, and on to the fade or to the end of the host, it is the donor's own trace.
    faded = max(n_donor - taper, p_donor + delay + 1)
    length = min(faded - p_donor, 400 - place)
    expected = scale * (donor.waveform[p_donor : p_donor + length] - mean)
    np.testing.assert_allclose(added[place : place + length], expected, atol=tolerance)
    # Nothing before the fade and after the donor's end; less than the donor in the fades.
    start = place - (p_donor - first)
    assert not added[: max(start, 0)].any()
    assert not added[max(place + n_donor - p_donor, 0) :].any()
    lead = added[max(start, 0) : place]
    whole = scale * (donor.waveform[p_donor - len(lead) : p_donor] - mean)
    assert (np.abs(lead) <= np.abs(whole) + tolerance).all()


def test_one_number_for_two_events_goes_missing() -> None:
    both = fa.superpose(p_wave(30.0), p_wave(80.0), 20, 1.0, 5)
    assert all(map(math.isnan, (both.magnitude, both.distance_km, both.back_azimuth_deg)))
    assert both.polarity == NO_POLARITY


def test_a_dead_component_does_not_record_the_other_event() -> None:
    host = trace(1)
    host.waveform[:, 1] = 3.0
    both = fa.superpose(host, trace(2), 30, 1.0, 5)
    assert (both.waveform[:, 1] == 3).all()
    changed = both.waveform[200:300] != host.waveform[200:300]  # the donor ends at 330
    assert changed[:, [0, 2]].mean() > 0.99


@given(
    data=st.data(),
    n=st.integers(2, 60),
    delay=st.integers(1, 30),
    gap=st.integers(1, 10),
    count=st.integers(0, 3),
)
def test_places_are_all_those_where_the_event_fits(
    data: st.DataObject, n: int, delay: int, gap: int, count: int
) -> None:
    pairs = [
        sorted(data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2, unique=True)))
        for _ in range(count)
    ]
    p, s = sorted(a for a, _ in pairs), sorted(b for _, b in pairs)

    def fits(x: int) -> bool:
        if x + delay >= n:
            return False
        if any(abs(x - a) < gap for a in p) or any(abs(x + delay - b) < gap for b in s):
            return False
        return all((x < a) == (x + delay < b) for a, b in zip(p, s, strict=True))

    ranges = fa.places(p, s, delay, n, gap)
    found = [x for first, last in ranges for x in range(first, last + 1)]
    assert found == [x for x in range(n) if fits(x)]


# -- recorded noise --------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), snr_db=st.floats(-20, 40))
@settings(max_examples=30)
def test_noise_is_so_far_below_the_event_and_leaves_the_labels(seed: int, snr_db: float) -> None:
    record = trace(3)
    noise = np.random.default_rng(seed).standard_normal((400, 3)).astype(np.float32)
    noise = noise * np.float32([1, 10, 0.1]) + np.float32(5)
    noisy = fa.add_recorded_noise(record, noise, snr_db, coda_ratio=2.0)
    added = noisy.waveform.astype(np.float64) - record.waveform
    event = record.waveform[100:280]  # S and twice S minus P after it
    ratio_db = 20 * math.log10(level(event) / level(added))
    assert ratio_db == pytest.approx(snr_db, abs=0.05)
    centred = noise - noise.mean(0)
    scale = (added * centred).sum() / np.square(centred).sum()
    np.testing.assert_allclose(added, scale * centred, atol=1e-5 * np.abs(noisy.waveform).max())
    assert labels(noisy) == labels(record)
    assert noisy.snr_db is record.snr_db


def test_noise_on_noise_is_measured_over_the_whole_trace() -> None:
    quiet = dataclasses.replace(trace(3), p_samples=[], s_samples=[])
    noise = trace(4, [], []).waveform
    added = fa.add_recorded_noise(quiet, noise, 6.0, 2.0).waveform - quiet.waveform
    assert 20 * math.log10(level(quiet.waveform) / level(added)) == pytest.approx(6, abs=0.01)


def test_dead_components_do_not_record_noise_and_silence_adds_none() -> None:
    record = trace(3)
    record.waveform[:, 2] = -4.0
    noisy = fa.add_recorded_noise(record, trace(4).waveform, 0.0, 2.0)
    assert (noisy.waveform[:, 2] == -4).all()
    assert fa.add_recorded_noise(record, np.ones((400, 3), np.float32), 0.0, 2.0) is record
    silent = Record(np.zeros((400, 3), np.float32), [100], [160])
    assert fa.add_recorded_noise(silent, trace(4).waveform, 0.0, 2.0) is silent


@given(n=st.integers(2, 50), wanted=st.integers(1, 150), seed=st.integers(0, 2**32 - 1))
def test_noise_of_any_length_fits_without_a_step(n: int, wanted: int, seed: int) -> None:
    ramp = np.arange(n, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    fitted = fa.fit_length(ramp, wanted, np.random.default_rng(seed))
    assert fitted.shape == (wanted, 3)
    assert (np.abs(np.diff(fitted[:, 0])) == 1).all()
