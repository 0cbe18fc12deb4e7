"""Phase and detection scores against recorded values of the PyTorch original, and as sums."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from seismollm_jax.metrics.detections import DetectionMetrics
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics, is_pick, match

GOLDEN = Path(__file__).parent.parent / "golden"
CONTENT = json.loads((GOLDEN / "metrics.json").read_text())
ARRAYS = np.load(GOLDEN / "metrics.npz")
CASES = [case for case in CONTENT["cases"] if case["group"] in ("ppk", "spk", "det")]
TOLERANCE = {"std": 5e-3}  # the original takes differences of float32 squares


def compare(actual, expected):
    for name, value in expected.items():
        assert actual[name] == pytest.approx(value, rel=TOLERANCE.get(name, 1e-4), abs=1e-5), name


def empty(case):
    if case["group"] == "det":
        return DetectionMetrics(case["num_samples"])
    return PhaseMetrics(case["num_samples"], case["sampling_rate"], case["time_threshold"])


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES])
def test_golden(case):
    merged = empty(case)
    if case["group"] != "det":
        assert merged.tolerance_samples == case["tolerance_samples"]
    for k in range(case["batches"]):
        batch = empty(case)
        batch.update(ARRAYS[f"{case['id']}/in_pred{k}"], ARRAYS[f"{case['id']}/in_target{k}"])
        if case["flag"] != "reference-defect":
            compare(batch.compute(), case["per_batch"][k])
        merged.merge(batch)
    scores = merged.compute()
    if case["flag"] != "reference-defect":
        compare(scores, case["merged"])
        return
    # The original turns unmatched predictions into picks at sample 0. By hand: 4 predictions,
    # 6 targets, the first prediction of each row 5 samples late.
    assert (merged.sums["picks_predicted"], merged.sums["picks_target"]) == (4, 6)
    assert scores["hits"] == 3
    assert scores["mae_hit_s"] == pytest.approx(0.05)
    assert scores["mean"] == pytest.approx(-5 / 3)


def test_figures_over_hits_are_in_seconds():
    metrics = PhaseMetrics(6000, 100.0)
    metrics.update(
        np.array([104, 198, 5000, NO_PICK, 300]), np.array([100, 200, 400, 700, NO_PICK])
    )
    scores = metrics.compute()
    assert scores["n"] == 5
    assert scores["hits"] == 2
    assert scores["mean"] == pytest.approx((-4 + 2) / 5)
    assert scores["mean_hit_s"] == pytest.approx(-0.01)
    assert scores["mae_hit_s"] == pytest.approx(0.03)
    assert scores["std_hit_s"] == pytest.approx(0.03)
    assert scores["precision"] == pytest.approx(2 / 4, rel=1e-5)
    assert scores["recall"] == pytest.approx(2 / 4, rel=1e-5)


def test_nothing_to_average_is_nan_not_zero():
    scores = PhaseMetrics(6000, 100.0).compute()
    assert scores.pop("n") == scores.pop("hits") == 0
    assert all(math.isnan(value) for value in scores.values())
    missed = PhaseMetrics(6000, 100.0)
    missed.update(np.array([NO_PICK]), np.array([100]))
    scores = missed.compute()
    assert math.isnan(scores["mean_hit_s"])
    assert scores["recall"] == 0
    assert scores["mae"] == 0
    assert math.isnan(DetectionMetrics(100).compute()["f1"])


def test_equal_residuals_have_no_spread():
    metrics = PhaseMetrics(6000, 50.0, 0.5)
    for _ in range(37):
        metrics.update(np.array([107, 1207]), np.array([100, 1200]))
    assert metrics.compute()["std"] == pytest.approx(0, abs=1e-6)
    assert metrics.compute()["std_hit_s"] == pytest.approx(0, abs=1e-6)


PICK = st.one_of(st.just(NO_PICK), st.integers(-5, 110))


@given(st.data(), st.integers(1, 12), st.integers(1, 4))
def test_any_division_into_batches_gives_the_same(data, rows, slots):
    predicted = data.draw(hnp.arrays(np.int64, (rows, slots), elements=PICK))
    target = data.draw(hnp.arrays(np.int64, (rows, slots), elements=PICK))
    cut = data.draw(st.integers(0, rows))
    whole, left, right = (PhaseMetrics(100, 100.0) for _ in range(3))
    whole.update(predicted, target)
    left.update(predicted[:cut], target[:cut])
    padding = np.full((3, slots), 7)  # a padded last batch: masked rows must not count
    mask = np.arange(rows - cut + 3) < rows - cut
    right.update(
        np.concatenate([predicted[cut:], padding]), np.concatenate([target[cut:], padding]), mask
    )
    left.merge(right)
    assert left.compute() == pytest.approx(whole.compute(), nan_ok=True, abs=1e-9)


@given(st.data(), st.integers(1, 6), st.integers(2, 4))
def test_matching_only_reorders(data, rows, slots):
    predicted = data.draw(hnp.arrays(np.int64, (rows, slots), elements=PICK))
    target = data.draw(hnp.arrays(np.int64, (rows, slots), elements=PICK))
    matched = match(predicted, target, 100)
    np.testing.assert_array_equal(np.sort(matched, 1), np.sort(predicted, 1))
    both = is_pick(matched, 100) & is_pick(target, 100)
    pairs = np.minimum(is_pick(predicted, 100).sum(1), is_pick(target, 100).sum(1))
    np.testing.assert_array_equal(both.sum(1), pairs)


def test_unmatched_predictions_keep_their_value():
    matched = match(np.array([[2000, 505, 3100]]), np.array([[500, NO_PICK, NO_PICK]]), 6000)
    assert matched[0, 0] == 505
    assert sorted(matched[0, 1:]) == [2000, 3100]


SAMPLE = st.integers(-4, 14)


@given(st.data(), st.integers(1, 4))
def test_overlapping_ranges_count_once_and_empty_ones_not(data, rows):
    sides = [
        data.draw(hnp.arrays(np.int64, (rows, 2 * slots), elements=SAMPLE)) for slots in (1, 3)
    ]
    covered = [
        [
            {s for a, b in row.reshape(-1, 2).tolist() for s in range(a, b + 1) if 0 <= s < 10}
            for row in side
        ]
        for side in sides
    ]
    parts = DetectionMetrics(10).parts(*sides)
    pairs = list(zip(*covered, strict=True))
    assert parts["both"].tolist() == [len(found & true) for found, true in pairs]
    assert parts["predicted"].tolist() == [len(found) for found, _ in pairs]
    assert parts["target"].tolist() == [len(true) for _, true in pairs]


def test_errors_name_the_shapes():
    metrics = PhaseMetrics(100, 100.0)
    with pytest.raises(ValueError, match=r"\(3,\).*\(4,\)"):
        metrics.update(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ValueError, match="mask"):
        metrics.update(np.zeros(3, int), np.zeros(3, int), np.ones(2, bool))
    with pytest.raises(ValueError, match="settings"):
        metrics.merge(PhaseMetrics(100, 50.0))
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        DetectionMetrics(100).update(np.zeros((2, 3), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="windows of"):
        DetectionMetrics(100).merge(DetectionMetrics(50))
    with pytest.raises(ValueError, match="2 rows of predicted ranges and 3"):
        DetectionMetrics(100).update(np.zeros((2, 2), int), np.zeros((3, 2), int))


@given(st.data(), st.integers(1, 30), st.integers(1, 3))
def test_medians_are_those_of_the_hits(data, rows, slots):
    near = st.integers(-14, 14)
    target = np.full((rows, slots), 50) + 100 * np.arange(slots)
    predicted = target + data.draw(hnp.arrays(np.int64, (rows, slots), elements=near))
    metrics = PhaseMetrics(1000, 100.0)
    metrics.update(predicted, target)
    residual = (target - predicted)[np.abs(target - predicted) <= 10] / 100
    scores = metrics.compute()
    if not len(residual):
        assert math.isnan(scores["median_hit_s"])
        return
    assert scores["median_hit_s"] == pytest.approx(np.median(residual))
    deviation = stats.median_abs_deviation(residual)
    assert scores["mad_hit_s"] == pytest.approx(deviation, abs=1e-12)


def test_outliers_are_counted_among_pairs():
    metrics = PhaseMetrics(6000, 100.0)
    metrics.update(np.array([100, 201, 302, NO_PICK, 9]), np.array([100, 100, 201, 50, NO_PICK]))
    assert metrics.compute()["outlier_share"] == pytest.approx(1 / 3 + 1 / 3)
