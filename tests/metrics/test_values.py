"""Errors of quantities against recorded values of the PyTorch original, and as sums."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from seismollm_jax.metrics.values import ValueMetrics, circular_mean_degrees, wrap_degrees

GOLDEN = Path(__file__).parent.parent / "golden"
ARRAYS = np.load(GOLDEN / "metrics.npz")
CASES = [
    case
    for case in json.loads((GOLDEN / "metrics.json").read_text())["cases"]
    if case["group"] in ("emg", "smg", "dis", "baz", "ptt")
]


def compare(actual, expected, skip):
    for name, value in expected.items():
        if name not in skip:
            tolerance = 5e-3 if name == "std" else 1e-4
            assert actual[name] == pytest.approx(value, rel=tolerance, abs=1e-5), name


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES])
def test_golden(case):
    # The original gives nan and 1 where it has not summed squares.
    skip = ("std", "r2") if case["flag"] == "reference-defect" else ()
    merged = ValueMetrics(circular=case["group"] == "baz")
    for k in range(case["batches"]):
        batch = ValueMetrics(circular=case["group"] == "baz")
        batch.update(ARRAYS[f"{case['id']}/in_pred{k}"], ARRAYS[f"{case['id']}/in_target{k}"])
        compare(batch.compute(), case["per_batch"][k], skip)
        merged.merge(batch)
    scores = merged.compute()
    compare(scores, case["merged"], skip)
    assert math.isfinite(scores["std"])
    assert scores["r2"] < 1


DEGREES = st.floats(0, 359.99)


@given(
    hnp.arrays(np.float64, 20, elements=DEGREES),
    hnp.arrays(np.float64, 20, elements=DEGREES),
    st.integers(0, 20),
    st.booleans(),
)
def test_any_division_into_batches_gives_the_same(predicted, target, cut, circular):
    whole, left, right = (ValueMetrics(circular) for _ in range(3))
    whole.update(predicted, target)
    left.update(predicted[:cut], target[:cut])
    right.update(
        np.append(predicted[cut:], 99)[:, None],
        np.append(target[cut:], 1)[:, None],
        np.arange(21 - cut) < 20 - cut,
    )
    left.merge(right)
    assert left.compute() == pytest.approx(whole.compute(), nan_ok=True, rel=1e-9, abs=1e-9)


@given(hnp.arrays(np.float64, 20, elements=st.floats(-359.99, 359.99)))
def test_wrapping_keeps_the_direction(difference):
    wrapped = wrap_degrees(difference)
    assert np.all(np.abs(wrapped) <= 180)
    turns = (wrapped - difference) / 360
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)


def test_circular_r2_does_not_depend_on_where_north_lies():
    rng = np.random.default_rng(3)
    target = rng.normal(0, 20, 200) % 360  # around north: the arithmetic mean points south
    predicted = target + rng.normal(0, 5, 200)
    results = []
    for turn in (0, 90, 180):
        metrics = ValueMetrics(circular=True)
        metrics.update((predicted + turn) % 360, (target + turn) % 360)
        results.append(metrics.compute())
    circular = [r["r2_circular"] for r in results]
    assert circular == pytest.approx([circular[0]] * 3, rel=1e-6)
    assert 0.9 < circular[0] < 1
    assert results[0]["r2"] > results[2]["r2"]  # the plain one flatters data around north
    assert "r2_circular" not in ValueMetrics().compute()


def test_circular_mean_around_north():
    assert circular_mean_degrees(np.array([350.0, 20.0])) == pytest.approx(5)


def test_missing_targets_are_counted_and_left_out():
    metrics = ValueMetrics()
    metrics.update(np.array([1.0, 5.0, 3.0]), np.array([2.0, np.nan, 3.0]))
    scores = metrics.compute()
    assert (scores["n"], scores["n_missing"]) == (2, 1)
    assert scores["mean"] == 0.5


def test_a_nan_prediction_is_not_hidden():
    metrics = ValueMetrics()
    metrics.update(np.array([1.0, np.nan]), np.array([2.0, 2.0]))
    assert math.isnan(metrics.compute()["mae"])


def test_empty_is_nan():
    scores = ValueMetrics(circular=True).compute()
    assert scores["n"] == 0
    assert math.isnan(scores["mae"])
    assert math.isnan(scores["r2_circular"])


def test_errors_name_the_shapes():
    with pytest.raises(ValueError, match=r"\(3,\).*\(4,\)"):
        ValueMetrics().update(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        ValueMetrics().update(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="mask"):
        ValueMetrics().update(np.zeros(3), np.zeros(3), np.ones(2, bool))
    with pytest.raises(ValueError, match="angle"):
        ValueMetrics().merge(ValueMetrics(circular=True))


def test_statistics_on_the_circle_agree_with_scipy():
    draw = np.random.default_rng(0)
    target = draw.uniform(0, 360, 500)
    predicted = (target + draw.normal(20, 70, 500)) % 360
    metrics = ValueMetrics(circular=True)
    metrics.update(predicted, target)
    scores, residual = metrics.compute(), target - predicted
    limits = {"high": 180, "low": -180}
    assert scores["circular_mean"] == pytest.approx(stats.circmean(residual, **limits))
    assert scores["circular_std"] == pytest.approx(stats.circstd(residual, **limits))
    assert "circular_std" not in ValueMetrics().compute()
