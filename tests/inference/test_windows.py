"""Windows cover everything, sit on an absolute grid, and come together again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.inference.windows import (
    Stitcher,
    check_blinding,
    cut,
    inner_starts,
    overlap_samples,
    window_starts,
)

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


def whole(samples):
    return np.ones(samples, bool)


@given(SIZES, st.data())
def test_windows_lie_on_the_grid_and_cover_what_wants_an_answer(size, data):
    samples, window, overlap, anchor = size
    common = overlap_samples(window, overlap)
    before = data.draw(st.integers(0, common))
    after = data.draw(st.integers(0, common - before))
    where = np.random.default_rng(samples).random(samples) < 0.2
    starts = window_starts(where, window, overlap, anchor, (before, after))
    covered = np.zeros(samples + 2 * window, bool)
    for start in starts:
        used = slice(start + before + window, start + 2 * window - after)
        covered[used] = True
        assert where[max(0, start + before) : max(0, start + window - after)].any()
        assert (anchor + start) % (window - common) == 0
    assert covered[window : window + samples][where].all()
    assert np.all(np.diff(starts) > 0)


@given(SIZES, st.integers(0, 300), st.integers(0, 300))
def test_a_part_of_a_record_has_the_same_windows(size, first, length):
    samples, window, overlap, anchor = size
    every = set((window_starts(whole(samples), window, overlap, anchor) + anchor).tolist())
    length = min(length, max(samples - first, 0))
    part = window_starts(whole(length), window, overlap, anchor + first) + anchor + first
    assert set(part.tolist()) <= every


@given(SIZES, st.sampled_from(["avg", "max"]), st.data())
def test_an_identity_model_gives_the_record_back(size, stacking, data):
    samples, window, overlap, anchor = size
    common = overlap_samples(window, overlap)
    before = data.draw(st.integers(0, common))
    after = data.draw(st.integers(0, common - before))
    record = np.random.default_rng(samples).normal(size=(samples, 3)).astype(np.float32)
    stitcher = Stitcher(samples, window, 3, (before, after), stacking)
    starts = window_starts(whole(samples), window, overlap, anchor, (before, after))
    for start in starts.tolist():
        output = cut(record, start, window)
        assert output.shape == (window, 3)
        stitcher.add(start, output, data.draw(st.floats(0.1, 1)))
    np.testing.assert_allclose(stitcher.result(), record, rtol=1e-5)


@given(SIZES)
def test_inner_windows_do_not_leave_the_record(size):
    samples, window, overlap, anchor = size
    starts = inner_starts(samples, window, overlap, anchor)
    covered = np.zeros(samples, bool)
    for start in starts:
        covered[start : start + window] = True
        assert start >= 0
        assert start + window <= max(samples, window)
    assert covered.all()
    assert np.all(np.diff(starts) <= window - overlap_samples(window, overlap))
    step = window - overlap_samples(window, overlap)
    assert ((starts[1:-1] + anchor) % step == 0).all()


def stitch(outputs, starts, samples, blinding=(0, 0), stacking="avg", weights=None):
    stitcher = Stitcher(samples, outputs.shape[1], outputs.shape[2], blinding, stacking)
    for i, (start, output) in enumerate(zip(starts, outputs, strict=True)):
        stitcher.add(start, output, 1.0 if weights is None else weights[i])
    return stitcher.result()[:, 0]


def test_blinded_parts_do_not_count():
    windows = np.ones((5, 10, 1), np.float32)
    windows[:, :2] = windows[:, -2:] = 100  # what blinding is for
    curve = stitch(windows, range(0, 25, 5), 30, (2, 2))
    assert np.isnan(curve[:2]).all()
    assert np.isnan(curve[-2:]).all()
    assert (curve[2:-2] == 1).all()


def test_max_and_mean_of_two_windows():
    outputs = np.stack([np.full((4, 1), 1.0), np.full((4, 1), 3.0)])
    assert stitch(outputs, [0, 2], 6).tolist() == [1, 1, 2, 2, 3, 3]
    assert stitch(outputs, [0, 2], 6, stacking="max").tolist() == [1, 1, 3, 3, 3, 3]
    assert stitch(outputs, [0, 2], 6, weights=[1, 0.25])[2] == pytest.approx(1.75 / 1.25)


def test_windows_may_reach_beyond_the_record():
    outputs = np.arange(8.0).reshape(2, 4, 1)
    assert stitch(outputs, [-2, 3], 5).tolist()[:2] == [2, 3]
    assert np.isnan(stitch(outputs, [-2, 3], 5)[2])
    assert stitch(outputs, [-2, 3], 5).tolist()[3:] == [4, 5]


@pytest.mark.parametrize("stacking", ["avg", "max"])
def test_nan_of_the_model_is_not_hidden(stacking):
    outputs = np.zeros((2, 4, 1))
    outputs[1, 1] = np.nan
    curve = stitch(outputs, [0, 2], 6, stacking=stacking)
    assert np.flatnonzero(np.isnan(curve)).tolist() == [3]


@pytest.mark.parametrize("stacking", ["avg", "max"])
def test_what_no_window_has_reached_is_nan(stacking):
    curve = stitch(np.ones((1, 4, 2)), [4], 8, stacking=stacking)
    assert np.isnan(curve[:4]).all()
    assert (curve[4:] == 1).all()


def test_a_fraction_and_samples_mean_the_same():
    assert overlap_samples(6000, 0.5) == overlap_samples(6000, 3000) == 3000
    assert overlap_samples(6000, 0.7) == 4200
    for wrong in (-1, 6000, 1.5, 0.99999):
        with pytest.raises(ValueError, match="overlap is"):
            overlap_samples(6000, wrong)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="leaves nothing"):
        Stitcher(4, 4, 1, (2, 2))
    with pytest.raises(ValueError, match="'median'"):
        Stitcher(4, 4, 1, stacking="median")
    assert check_blinding(100, 0.5, (20, 30)) == (20, 30)
    with pytest.raises(ValueError, match=r"holes between windows .* give overlap=51 or more"):
        check_blinding(100, 0.5, (20, 31))
    for wrong in ((1,), (-1, 0), 5, (0.5, 1), "ab"):
        with pytest.raises(ValueError, match="two whole numbers"):
            check_blinding(100, 0.5, wrong)
