"""Areas under curves by their definitions, and as scikit-learn gives them for its own examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.ranking import Ranking


def areas(score, positive, weights=None):
    score, positive = np.array(score, np.float32), np.array(positive, bool)
    weights = np.ones(len(score)) if weights is None else np.array(weights)
    return Ranking(score, positive).areas(weights)


def test_known_areas():
    # The examples of scikit-learn's roc_auc_score and average_precision_score.
    assert areas([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx((0.75, 0.8333333))
    assert areas([0.5, 0.5], [0, 1]) == pytest.approx((0.5, 0.5))
    assert areas([0.9, 0.1], [1, 0]) == (1, 1)


RECORDS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.9]), st.booleans(), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


@given(RECORDS)
def test_areas_by_definition(records):
    """A record that counts twice is a record that is there twice."""
    every = [(score, positive) for score, positive, times in records for _ in range(times)]
    roc, average = areas(*zip(*records, strict=True))
    positives = [score for score, positive in every if positive]
    negatives = [score for score, positive in every if not positive]
    if not positives:
        assert np.isnan(roc)
        assert np.isnan(average)
        return
    expected, before = 0.0, 0.0
    for threshold in sorted({score for score, _ in every}, reverse=True):
        reached = [positive for score, positive in every if score >= threshold]
        recall = sum(reached) / len(positives)
        expected += (recall - before) * sum(reached) / len(reached)
        before = recall
    assert average == pytest.approx(expected)
    if not negatives:
        assert np.isnan(roc)
        return
    wins = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
    assert roc == pytest.approx(np.mean(wins))


def test_areas_of_classes_leave_out_what_has_none():
    metrics = ClassMetrics(2)
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [np.nan, 0.5], [0.1, 0.9]])
    metrics.update(scores[:3], np.array([0, 0, 1]))
    other = ClassMetrics(2)
    other.update(scores[3:], np.array([1, 0, -1]))
    metrics.merge(other)
    found = metrics.compute()
    assert found["roc_auc"] == pytest.approx(3 / 4)
    up, down = (1 + 2 / 3) / 2, (1 + 2 / 3) / 2
    assert found["average_precision"] == pytest.approx((up + down) / 2)
