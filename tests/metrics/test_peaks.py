"""Peak picking and detection against recorded values of the PyTorch original, and as rules."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seismollm_jax.metrics.peaks import at_threshold, detections, find_peaks, pick_batch
from seismollm_jax.metrics.phases import NO_PICK

GOLDEN = Path(__file__).parent.parent / "golden"
PICKS = json.loads((GOLDEN / "picks.json").read_text())
PICK_ARRAYS = np.load(GOLDEN / "picks.npz")
DETECTIONS = json.loads((GOLDEN / "detections.json").read_text())
DETECTION_ARRAYS = np.load(GOLDEN / "detections.npz")


def of_group(content, group):
    return [
        pytest.param(case, id=case["id"]) for case in content["cases"] if case["group"] == group
    ]


@pytest.mark.parametrize("case", of_group(PICKS, "pick"))
def test_golden_picks(case):
    picks, heights = pick_batch(
        PICK_ARRAYS["traces"], case["threshold"], case["min_distance"], case["topk"]
    )
    expected = PICK_ARRAYS[f"{case['id']}/out_picks"]
    np.testing.assert_array_equal(picks, expected)
    assert picks.dtype == np.int64
    row, slot = np.nonzero(expected != NO_PICK)
    np.testing.assert_array_equal(
        heights[row, slot], PICK_ARRAYS["traces"][row, expected[row, slot]]
    )
    assert np.isnan(heights[expected == NO_PICK]).all()


@pytest.mark.parametrize("case", of_group(PICKS, "pick_distance_1"))
def test_golden_picks_without_distance(case):
    trace = PICK_ARRAYS["traces"][PICKS["trace_names"].index(case["trace"])]
    picks, heights = pick_batch(trace[None], case["threshold"], 1, case["topk"])
    if case["error"] is None:
        np.testing.assert_array_equal(picks, PICK_ARRAYS[f"{case['id']}/out_picks"])
        return
    # The original fails on more peaks than slots; here the highest ones fill the slots.
    every = find_peaks(trace, case["threshold"], 1, None)
    assert len(every) > case["topk"]
    assert set(picks[0]) <= set(every.tolist())
    np.testing.assert_array_equal(np.sort(heights[0]), np.sort(trace[every])[-case["topk"] :])


@pytest.mark.parametrize("case", of_group(PICKS, "pick_short"))
def test_golden_short_traces(case):
    trace = PICK_ARRAYS[f"{case['id']}/in_trace"]
    picks, _ = pick_batch(trace, case["threshold"], case["min_distance"], case["topk"])
    np.testing.assert_array_equal(picks, PICK_ARRAYS[f"{case['id']}/out_picks"])


@pytest.mark.parametrize("case", of_group(PICKS, "outputs"))
def test_golden_model_outputs(case):
    outputs = PICK_ARRAYS[f"{case['id']}/in_outputs"]  # (batch, channels, samples)
    min_distance = int(case["min_peak_dist_seconds"] * case["sampling_rate"])
    for channel, phase in ((1, "ppk"), (2, "spk")):
        picks, _ = pick_batch(
            outputs[:, channel], case[f"{phase}_threshold"], min_distance, case["topk"]
        )
        np.testing.assert_array_equal(picks, PICK_ARRAYS[f"{case['id']}/out_{phase}"])


@pytest.mark.parametrize("case", of_group(DETECTIONS, "detect"))
def test_golden_detections(case):
    found = detections(DETECTION_ARRAYS["traces"], case["threshold"], case["topk"])
    np.testing.assert_array_equal(found, DETECTION_ARRAYS[f"{case['id']}/out_pairs"])
    assert found.dtype == np.int64


CURVES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(0, 60)),
    # few levels: many ties, plateaus and samples exactly at the threshold
    elements=st.sampled_from([np.float32(v) for v in (0, 0.2, 0.3, 0.5, 0.9, np.nan)]),
)


@given(CURVES, st.integers(0, 12), st.integers(1, 6))
def test_batch_equals_single_traces(curves, min_distance, max_picks):
    picks, _ = pick_batch(curves, 0.3, min_distance, max_picks)
    for curve, row in zip(curves, picks, strict=True):
        single = find_peaks(curve, 0.3, min_distance, max_picks)
        np.testing.assert_array_equal(row[row != NO_PICK], single)
        assert np.all(row[len(single) :] == NO_PICK)


@given(CURVES, st.integers(0, 12), st.one_of(st.none(), st.integers(1, 6)))
def test_what_a_pick_is(curves, min_distance, max_picks):
    for curve in curves:
        found = find_peaks(curve, 0.3, min_distance, max_picks)
        assert np.all(np.diff(found) > max(min_distance if min_distance > 1 else 0, 0))
        assert max_picks is None or len(found) <= max_picks
        for i in found:
            assert 0 < i < len(curve) - 1
            assert curve[i] >= np.float32(0.3)
            assert curve[i] > curve[i - 1]
            assert curve[i] >= curve[i + 1]


@given(CURVES, st.integers(2, 12))
def test_unlimited_picks_leave_no_peak_unexplained(curves, min_distance):
    for curve in curves:
        found = find_peaks(curve, 0.3, min_distance, None)
        for i in find_peaks(curve, 0.3, 0, None):
            near = found[np.abs(found - i) <= min_distance]
            assert len(near)
            assert curve[near].max() >= curve[i]


@given(CURVES)
def test_detections_mark_exactly_the_samples_above(curves):
    found = detections(curves, 0.3, max_detections=40)
    for curve, row in zip(curves, found.reshape(len(curves), -1, 2), strict=True):
        marked = np.zeros(len(curve), bool)
        for first, last in row[row[:, 1] >= row[:, 0]]:
            marked[first : last + 1] = True
        np.testing.assert_array_equal(marked, curve > np.float32(0.3))
        lengths = row[:, 1] - row[:, 0]
        assert np.all(np.diff(lengths) <= 0)


def test_later_of_equal_peaks_wins_however_many():
    curve = np.zeros(400, np.float32)
    curve[5::10] = 0.8
    assert find_peaks(curve, 0.3, 5, 1).tolist() == [395]


def test_bad_arguments_name_the_shape():
    with pytest.raises(ValueError, match=r"\(2, 8\)"):
        find_peaks(np.zeros((2, 8)), 0.3, 10)
    with pytest.raises(ValueError, match=r"\(8,\)"):
        pick_batch(np.zeros(8), 0.3, 10)
    with pytest.raises(ValueError, match="not 0"):
        pick_batch(np.zeros((2, 8)), 0.3, 10, 0)
    with pytest.raises(ValueError, match=r"\(8,\)"):
        detections(np.zeros(8))


def test_a_batch_takes_milliseconds():
    curves = np.random.default_rng(0).random((128, 8192), np.float32) * 0.29
    curves[:, 1000::1500] = 0.9
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        pick_batch(curves, 0.3, 100)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


@given(st.data(), st.integers(1, 4), st.integers(0, 6))
def test_a_higher_threshold_leaves_a_subset(data, max_picks, distance):
    """So that all thresholds can be judged by one pass with a low one."""
    height = st.sampled_from([0.0, 0.05, 0.2, 0.4, 0.4, 0.6, 0.8, 1.0, float("nan")])
    curves = data.draw(hnp.arrays(np.float32, (3, 20), elements=height.map(np.float32)))
    low, high = sorted(data.draw(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1))))
    found = at_threshold(*pick_batch(curves, low, distance, max_picks), high)
    expected = pick_batch(curves, high, distance, max_picks)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype
