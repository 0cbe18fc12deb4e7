"""Resampling keeps times, lets nothing fold back, and does not depend on where a piece begins."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.data.resampling import SHIFTS, grid_index, grid_time_ns, resample_trace, to_grid

DAY_NS = 1_700_006_400_000_000_000  # a whole number of seconds
RATES = [40.0, 50.0, 62.5, 80.0, 99.98, 100.0, 120.0, 125.0, 200.0, 250.0, 500.0, 33.333333]


def onset(time_s):
    """An onset at 20 s: 8 Hz, growing within a fifth of a second; nothing before it matters."""
    after = np.clip(time_s - 20, 0, None)
    return after**3 * np.exp(-after / 0.15) * np.sin(2 * np.pi * 8 * after) * 1e4


@pytest.mark.parametrize("rate", [*RATES, 99.9998])
@pytest.mark.parametrize("start_s", [0.0, 0.0013, 0.005, 0.0099])
def test_an_onset_keeps_its_time(rate, start_s):
    # With a digitiser's offset.
    data = onset(np.arange(int(40 * rate)) / rate + start_s) + 5e5
    found, first = to_grid(data, DAY_NS + round(start_s * 1e9), rate, 100.0)
    time_s = (first - DAY_NS // 10**7 + np.arange(len(found))) / 100
    lags = np.linspace(-0.2, 0.2, 401)  # samples of 0.01 s
    misfit = [np.square(found - 5e5 - onset(time_s + lag / 100)).sum() for lag in lags]
    assert abs(lags[np.argmin(misfit)]) < 0.02
    assert min(misfit) < 1e-4 * np.square(found - 5e5).sum()


@pytest.mark.parametrize(("rate", "tone"), [(200.0, 55.0), (250.0, 70.0), (199.98, 55.0)])
def test_tones_above_nyquist_do_not_fold_back(rate, tone):
    def level_db(frequency):
        data = np.sin(2 * np.pi * frequency * np.arange(int(60 * rate)) / rate)
        return 20 * np.log10(np.sqrt(2) * to_grid(data, 0, rate, 100.0)[0][100:-100].std())

    assert level_db(tone) < -70
    assert level_db(42) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("rate", [200.0, 62.5, 50.0, 99.98, 100.0])
def test_a_constant_stays_constant_to_the_ends(rate):
    data, _ = to_grid(np.full(2000, 123456.0), 7_003_000, rate, 100.0)
    np.testing.assert_allclose(data, 123456.0, rtol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(RATES),
    st.integers(0, 10**8),
    st.integers(1, 2500),
    st.integers(0, 2500),
)
def test_a_part_of_a_record_gives_a_part_of_the_result(rate, offset_ns, first, length):
    data = np.random.default_rng(0).normal(0, 100, 5000)
    start = DAY_NS + offset_ns
    whole, whole_first = to_grid(data, start, rate, 100.0)
    part_start = start + round(Fraction(first) * 10**9 / Fraction(rate))
    part, part_first = to_grid(data[first : first + length + 1], part_start, rate, 100.0)
    shift = part_first - whole_first
    reach = 33 * max(1, round(100 / rate) + 1)
    inner = slice(reach, max(reach, len(part) - reach))
    # Start times are rounded to nanoseconds, which may tip a shift over to its neighbour.
    whole_number = Fraction(10**9) / Fraction(rate) % 1 == 0
    tolerance = 1e-6 if whole_number else 100 * np.pi / SHIFTS
    np.testing.assert_allclose(part[inner], whole[shift:][inner], atol=tolerance)


@given(st.sampled_from(RATES), st.integers(0, 10**9), st.lists(st.integers(1, 99), min_size=1))
def test_pieces_that_touch_touch_on_the_grid(rate, offset_ns, lengths):
    """Each point of the grid falls into one piece; at ends of nanoseconds into two, at most."""
    start, done, ends = DAY_NS + offset_ns, 0, []
    for length in lengths:
        piece_start = start + round(Fraction(done) * 10**9 / Fraction(rate))
        data, first = to_grid(np.zeros(length), piece_start, rate, 100.0)
        ends.append((first, first + len(data)))
        done += length
    assert all(abs(b[0] - a[1]) <= (rate in (99.98, 33.333333)) for a, b in pairwise(ends))
    assert ends[-1][1] - ends[0][0] == pytest.approx(done * 100 / rate, abs=1.001)


def test_samples_on_the_grid_are_left_alone():
    data = np.arange(50, dtype=np.int32)
    for offset_ns in (0, 150_000, -150_000):  # up to 1/64 of 10 ms
        found, first = to_grid(data, DAY_NS + offset_ns, 100.0, 100.0)
        assert found is data
        assert first == DAY_NS // 10**7
    assert to_grid(data, DAY_NS + 160_000, 100.0, 100.0)[0] is not data
    # Single precision, as in headers of SAC and miniSEED.
    assert to_grid(data, DAY_NS, float(1 / np.float32(0.01)), 100.0)[0] is data


def test_a_piece_between_two_points_of_the_grid_has_none():
    data, _ = to_grid(np.zeros(1), DAY_NS + 5_000_000, 200.0, 100.0)
    assert len(data) == 0


@given(st.integers(-(10**12), 10**12), st.sampled_from(RATES))
def test_grid_index_is_exact(index, rate):
    time_ns = grid_time_ns(index, rate)
    assert grid_index(time_ns, rate) == index
    other = grid_time_ns(grid_index(time_ns + 1234567, rate), rate)
    assert abs(other - time_ns) <= 5e8 / rate + 1234568


def test_the_first_sample_of_a_trace_stays_where_it_is():
    waveform = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    assert resample_trace(waveform, 100.0, 100.0).tolist() == waveform.tolist()
    assert resample_trace(waveform, 100.0, 50.0).shape == (200, 3)
    assert resample_trace(waveform, 50.0, 100.0).shape == (799, 3)
    time_s = np.arange(800) / 200
    wave = np.sin(2 * np.pi * 6 * time_s + 1)[:, None]
    halved = resample_trace(wave, 200.0, 100.0)[:, 0]
    np.testing.assert_allclose(halved[50:-50], wave[::2, 0][50:-50], atol=1e-3)
