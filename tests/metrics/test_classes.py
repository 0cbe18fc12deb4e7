"""Classification scores against recorded values of the PyTorch original, and as sums."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seismollm_jax.metrics.classes import ClassMetrics

GOLDEN = Path(__file__).parent.parent / "golden"
ARRAYS = np.load(GOLDEN / "metrics.npz")
CASES = [
    case
    for case in json.loads((GOLDEN / "metrics.json").read_text())["cases"]
    if case["group"] in ("pmp", "clr")
]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES])
def test_golden(case):
    merged = ClassMetrics(2)
    for k in range(case["batches"]):
        batch = ClassMetrics(2)
        batch.update(ARRAYS[f"{case['id']}/in_pred{k}"], ARRAYS[f"{case['id']}/in_target{k}"])
        found = batch.compute()  # a batch with one class has no area under a curve
        assert found | case["per_batch"][k] == pytest.approx(found, rel=1e-4, nan_ok=True)
        merged.merge(batch)
    found = merged.compute()
    assert found | case["merged"] == pytest.approx(found, rel=1e-4, nan_ok=True)


def test_known_counts():
    metrics = ClassMetrics(2)
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5], [np.nan, 0.1], [0.1, 0.9]])
    metrics.update(scores, np.array([0, 1, 1, 0, 1, -1]))
    np.testing.assert_array_equal(metrics.confusion, [[2, 0], [1, 1]])
    result = metrics.compute()
    assert result["accuracy"] == pytest.approx(3 / 5)
    assert result["precision"] == pytest.approx((2 / 3 + 1) / 2, rel=1e-5)
    assert result["recall"] == pytest.approx((1 + 1 / 3) / 2, rel=1e-5)
    assert (result["n"], result["n_missing"], result["n_invalid"]) == (5, 1, 1)


@given(st.data(), st.integers(0, 15))
def test_any_division_into_batches_gives_the_same(data, cut):
    scores = data.draw(hnp.arrays(np.float32, (15, 3), elements=st.floats(0, 1, width=32)))
    target = data.draw(hnp.arrays(np.int64, 15, elements=st.integers(-1, 2)))
    whole, left, right = (ClassMetrics(3) for _ in range(3))
    whole.update(scores, target)
    left.update(scores[:cut], target[:cut])
    right.update(
        np.concatenate([scores[cut:], np.ones((2, 3))]),
        np.append(target[cut:], [0, 1]),
        np.arange(17 - cut) < 15 - cut,
    )
    left.merge(right)
    assert left.compute() == pytest.approx(whole.compute(), nan_ok=True)


def test_empty_is_nan():
    result = ClassMetrics(2).compute()
    assert result["n"] == 0
    assert math.isnan(result["f1"])
    assert math.isnan(result["accuracy"])


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        ClassMetrics(2).update(np.zeros((4, 3)), np.zeros(4, int))
    with pytest.raises(ValueError, match=r"\(5,\)"):
        ClassMetrics(2).update(np.zeros((4, 2)), np.zeros(5, int))
    with pytest.raises(ValueError, match=r"0\.\.1.*\[0, 2\]"):
        ClassMetrics(2).update(np.zeros((2, 2)), np.array([0, 2]))
    with pytest.raises(ValueError, match="2 and 3"):
        ClassMetrics(2).merge(ClassMetrics(3))
