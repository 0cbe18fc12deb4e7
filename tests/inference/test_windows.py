"""Windows cover everything, sit on an absolute grid, and come together again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.inference.windows import Stitcher, cut, overlap_samples, stitch, window_starts

SIZES = (
    st.tuples(st.integers(0, 400), st.integers(2, 60))
    .flatmap(
        lambda size: st.tuples(
            st.just(size[0]),
            st.just(size[1]),
            st.one_of(st.integers(1, size[1] - 1), st.floats(0, 0.95)),
            st.integers(0, 10**12),
        )
    )
    .filter(lambda s: s[2] >= 1 or round(s[1] * s[2]) < s[1])
)


@given(SIZES)
def test_every_sample_is_covered_and_no_window_leaves_the_record(size):
    samples, window, overlap, anchor = size
    starts = window_starts(samples, window, overlap, anchor)
    covered = np.zeros(samples, bool)
    for start in starts:
        covered[start : start + window] = True
        assert start >= 0
        assert start + window <= max(samples, window)
    assert covered.all()
    assert np.all(np.diff(starts) > 0)
    assert np.all(np.diff(starts) <= window - overlap_samples(window, overlap))


@given(SIZES, st.integers(0, 300), st.integers(0, 300))
def test_windows_stay_where_they_are_in_absolute_time(size, first, length):
    samples, window, overlap, anchor = size
    whole = set((window_starts(samples, window, overlap, anchor) + anchor).tolist())
    part_length = min(length, max(samples - first, 0))
    part = window_starts(part_length, window, overlap, anchor + first) + anchor + first
    step = window - overlap_samples(window, overlap)
    for start in part[1:-1]:
        assert start in whole
        assert start % step == 0


@given(SIZES, st.sampled_from(["mean", "max"]), st.data())
def test_an_identity_model_gives_the_record_back(size, how, data):
    samples, window, overlap, anchor = size
    before = data.draw(st.integers(0, window - 1))
    after = data.draw(st.integers(0, window - 1 - before))
    record = np.random.default_rng(samples).normal(size=(samples, 3)).astype(np.float32)
    starts = window_starts(samples, window, overlap, anchor)
    windows = cut(record, starts, window)
    assert windows.shape == (len(starts), window, 3)
    np.testing.assert_array_equal(stitch(windows, starts, samples, (before, after), how), record)


def test_blinded_parts_count_only_where_nothing_else_is():
    starts = window_starts(30, 10, 5)
    windows = np.ones((len(starts), 10, 1), np.float32)
    windows[:, :2] = windows[:, -2:] = 100  # what blinding is for
    curve = stitch(windows, starts, 30, (2, 2))[:, 0]
    assert curve[:2].tolist() == curve[-2:].tolist() == [100, 100]
    assert np.all(curve[2:-2] == 1)
    no_overlap = stitch(windows[::2], starts[::2], 30, (2, 2))[:, 0]
    assert no_overlap[8:12].tolist() == [100] * 4  # better than a hole


def test_max_and_mean_of_two_windows():
    outputs = np.stack([np.full((4, 1), 1.0), np.full((4, 1), 3.0)])
    assert stitch(outputs, np.array([0, 2]), 6)[:, 0].tolist() == [1, 1, 2, 2, 3, 3]
    assert stitch(outputs, np.array([0, 2]), 6, how="max")[:, 0].tolist() == [1, 1, 3, 3, 3, 3]


@pytest.mark.parametrize("how", ["mean", "max"])
def test_nan_of_the_model_is_not_hidden(how):
    outputs = np.zeros((2, 4, 1))
    outputs[1, 1] = np.nan
    curve = stitch(outputs, np.array([0, 2]), 6, how=how)[:, 0]
    assert np.flatnonzero(np.isnan(curve)).tolist() == [3]


@pytest.mark.parametrize("how", ["mean", "max"])
def test_what_no_window_has_reached_is_nan(how):
    stitcher = Stitcher(np.array([0, 4]), 8, 4, 2, how=how)
    stitcher.add(4, np.ones((4, 2)))
    assert np.isnan(stitcher.result()[:4]).all()
    assert (stitcher.result()[4:] == 1).all()


def test_a_short_record_is_padded_at_its_end():
    record = np.arange(1, 6, dtype=np.float32)[:, None]
    windows = cut(record, window_starts(5, 8, 0.5, anchor=3), 8)
    assert windows[:, :, 0].tolist() == [[1, 2, 3, 4, 5, 0, 0, 0]]
    assert len(window_starts(0, 8, 0.5)) == 0


def test_a_fraction_and_samples_mean_the_same():
    assert overlap_samples(6000, 0.5) == overlap_samples(6000, 3000) == 3000
    assert overlap_samples(6000, 0.7) == 4200
    for wrong in (-1, 6000, 1.5, 0.99999):
        with pytest.raises(ValueError, match="overlap is"):
            overlap_samples(6000, wrong)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="leaves nothing"):
        stitch(np.zeros((1, 4, 1)), np.array([0]), 4, (2, 2))
    with pytest.raises(ValueError, match="'median'"):
        stitch(np.zeros((1, 4, 1)), np.array([0]), 4, how="median")
