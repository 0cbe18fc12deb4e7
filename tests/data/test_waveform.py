import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data.waveform import (
    NORMALISATIONS,
    cut,
    cut_picks,
    fixed_start,
    is_live,
    normalise,
    start_bound,
)
from tests import golden_files

ARRAYS = golden_files.load("augment.npz")
cases = functools.partial(golden_files.cases, "augment.json")


def array(case, name):
    """Golden arrays are (components, samples)."""
    return ARRAYS[f"{case['id']}/{name}"].T


@pytest.mark.parametrize("case", cases("normalize"))
def test_normalise_golden(case):
    data, expected = array(case, "in_data"), array(case, "out_data")
    # The original sums in float32: an offset leaves some of its rounding in the (unit) noise.
    rounding = 2 * np.finfo(np.float32).eps * np.abs(data).max()
    rounding += case.get("max_abs_error_against_float64", 0.0)
    ours = normalise(data, case["mode"] or "none")
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-6 + rounding)


@pytest.mark.parametrize("case", cases("cut"))
def test_cut_golden(case):
    data, window = array(case, "in_data"), case["window"]
    p, s = case["ppks"], case["spks"]
    start = case["start"]
    if start is not None:
        bound = start_bound(len(data), window, p, case["min_event_gap"])
        assert case["draws"] == [{"fn": "randint", "args": [0, bound]}]
    else:
        start = 0
    np.testing.assert_array_equal(cut(data, start, window), array(case, "out_data"))
    assert cut_picks(p, start, window) == case["out_ppks"]
    assert cut_picks(s, start, window) == case["out_spks"]


@pytest.mark.parametrize("case", cases("cut_fixed"))
def test_cut_fixed_golden(case):
    window = case["window"]
    start = fixed_start(case["ppks"][0], window, case["ratio"])
    np.testing.assert_array_equal(
        cut(array(case, "in_data"), start, window), array(case, "out_data")
    )
    assert cut_picks(case["ppks"], start, window) == case["out_ppks"]
    assert cut_picks(case["spks"], start, window) == case["out_spks"]


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 400),
    offset=st.sampled_from([0.0, -30.0, 1e5]),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_normalise_mean_and_deviation(seed, n, offset, scale):
    rng = np.random.default_rng(seed)
    waveform = ((rng.standard_normal((n, 3)) + offset) * scale).astype(np.float32)
    before = waveform.copy()
    out = normalise(waveform, "std").astype(np.float64)
    np.testing.assert_array_equal(waveform, before)
    alive = waveform.max(axis=0) > waveform.min(axis=0)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(out.std(axis=0)[alive], 1, rtol=1e-5)
    largest = normalise(waveform, "max").max(axis=0)
    np.testing.assert_allclose(largest[alive], 1, rtol=1e-5)


def test_normalise_large_offset_against_float64():
    waveform = (np.random.default_rng(0).standard_normal((6000, 3)) + 1e5).astype(np.float32)
    exact = waveform.astype(np.float64)
    exact = (exact - exact.mean(0)) / exact.std(0)
    np.testing.assert_allclose(normalise(waveform, "std"), exact, atol=1e-6)


@pytest.mark.parametrize("mode", NORMALISATIONS)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 12345.678])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_component_becomes_zero(mode, value, dtype):
    waveform = np.random.default_rng(0).standard_normal((6000, 3)).astype(dtype)
    waveform[:, 1] = value
    out = normalise(waveform, mode)
    assert not out[:, 1].any()
    assert out[:, 0].any()
    assert out.dtype == np.float32


def test_max_divides_by_signed_maximum():
    waveform = np.array([[-9.0], [1.0], [8.0]], np.float32)
    np.testing.assert_allclose(normalise(waveform, "max"), [[-9 / 8], [1 / 8], [1.0]], rtol=1e-6)


def test_none_removes_the_mean_only():
    waveform = np.array([[1.0], [2.0], [6.0]], np.float32)
    np.testing.assert_array_equal(normalise(waveform, "none"), [[-2.0], [-1.0], [3.0]])


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 300), mode=st.sampled_from(["std", "max"]))
def test_joint_scale_keeps_the_amplitude_ratios(seed, n, mode):
    rng = np.random.default_rng(seed)
    waveform = (rng.standard_normal((n, 3)) * [1, 30, 0.2] + [0, 5, -1]).astype(np.float32)
    out = normalise(waveform, f"joint_{mode}").astype(np.float64)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-5)
    ratios = waveform.std(axis=0, dtype=np.float64) / waveform[:, 0].std(dtype=np.float64)
    np.testing.assert_allclose(out.std(axis=0) / out[:, 0].std(), ratios, rtol=1e-4)
    size = np.sqrt(np.square(out).mean()) if mode == "std" else np.abs(out).max()
    assert size == pytest.approx(1, rel=1e-5)
    # Whatever the unit of the record.
    again = normalise(waveform * np.float32(1e4), f"joint_{mode}")
    np.testing.assert_allclose(again, out, atol=1e-4)


@pytest.mark.parametrize("mode", ["joint_std", "joint_max"])
def test_joint_scale_turns_with_the_sensor_or_its_sign(mode):
    """Unlike those of each component, so rotated and flipped records look like real ones."""
    waveform = np.random.default_rng(0).standard_normal((500, 3)) * [1, 8, 2]
    turn = np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
    first, turned = normalise(waveform, mode), normalise(waveform @ turn.T, mode)
    np.testing.assert_allclose(normalise(-waveform, mode), -first, rtol=1e-5)
    if mode == "joint_std":
        np.testing.assert_allclose(turned, first @ turn.T, atol=1e-5)


def test_a_dead_component_does_not_change_the_joint_scale():
    waveform = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32) * 7
    waveform[:, 1:] = 3.0
    out = normalise(waveform, "joint_std")
    np.testing.assert_allclose(out[:, :1], normalise(waveform[:, :1], "std"), rtol=1e-5)
    assert is_live(waveform).tolist() == [True, False, False]


@given(data=st.data(), seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60))
def test_samples_in_gaps_do_not_count(data, seed, n):
    rng = np.random.default_rng(seed)
    waveform = (rng.standard_normal((n, 3)) + 4).astype(np.float32)
    valid = rng.random((n, 3)) < data.draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    mode = data.draw(st.sampled_from(NORMALISATIONS))
    out = normalise(np.where(valid, waveform, np.nan).astype(np.float32), mode, valid)
    assert out.dtype == np.float32
    assert not out[~valid].any()
    if mode.startswith("joint"):
        centred = np.zeros((n, 3))
        for i in range(3):
            if valid[:, i].sum() > 1:
                part = waveform[valid[:, i], i].astype(np.float64)
                centred[valid[:, i], i] = part - part.mean()
        live = valid[:, valid.sum(axis=0) > 1]
        power = np.square(centred).sum() / max(live.sum(), 1)
        scale = np.sqrt(power) if mode == "joint_std" else np.abs(centred).max()
        np.testing.assert_allclose(out, centred / (scale or 1), atol=1e-5)
        return
    for i in range(3):
        here = valid[:, i]
        alone = normalise(waveform[here, i][:, None], mode)[:, 0]
        np.testing.assert_allclose(out[here, i], alone, atol=1e-5)


def test_unknown_mode():
    with pytest.raises(ValueError, match=r"'minmax'.*std, max, none, joint_std, joint_max"):
        normalise(np.zeros((4, 3), np.float32), "minmax")


@given(n=st.integers(1, 60), start=st.integers(-80, 80), window=st.integers(1, 80))
def test_cut_takes_the_samples_of_the_trace_and_zeros_elsewhere(n, start, window):
    waveform = np.arange(1, 3 * n + 1, dtype=np.float32).reshape(n, 3)
    out = cut(waveform, start, window)
    assert out.shape == (window, 3)
    assert out.dtype == np.float32
    for i in range(window):
        inside = 0 <= start + i < n
        np.testing.assert_array_equal(out[i], waveform[start + i] if inside else 0)


@given(
    samples=st.lists(st.integers(-50, 300), max_size=5),
    start=st.integers(-100, 200),
    window=st.integers(1, 200),
)
def test_picks_follow_the_window(samples, start, window):
    kept = cut_picks(samples, start, window)
    assert all(0 <= sample < window for sample in kept)
    inside = [sample for sample in samples if start <= sample <= start + window - 1]
    assert [sample + start for sample in kept] == inside


@given(data=st.data(), n=st.integers(2, 500), gap=st.integers(0, 60))
def test_random_window_lies_in_the_trace_and_holds_p(data, n, gap):
    window = data.draw(st.integers(1, n - 1))
    p = data.draw(st.lists(st.integers(0, n - 1), max_size=1))
    bound = start_bound(n, window, p, gap)
    assert 1 <= bound <= max(n - window, 1)
    last = bound - 1
    # P never lies before the window.
    assert all(last <= sample for sample in p)
