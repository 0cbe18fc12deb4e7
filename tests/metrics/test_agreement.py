"""Scores against scikit-learn's, wherever both define the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from seismollm_jax.metrics import calibration
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.ranking import Ranking
from seismollm_jax.metrics.values import ValueMetrics

CLASSES = 3
DRAWS = st.builds(np.random.default_rng, st.integers(0, 2**32 - 1))


def probabilities(draw: np.random.Generator, rows: int) -> np.ndarray:
    """Few distinct values, so that many records have equal ones."""
    return draw.integers(0, 9, rows) / 8


@settings(max_examples=40)
@given(DRAWS, st.integers(CLASSES, 60))
def test_classes(draw: np.random.Generator, rows: int) -> None:
    target = np.append(np.arange(CLASSES), draw.integers(0, CLASSES, rows - CLASSES))
    predicted = draw.random((rows, CLASSES))
    found = ClassMetrics(CLASSES)
    found.update(predicted, target)
    scores, said = found.compute(), predicted.argmax(1)
    np.testing.assert_array_equal(found.confusion, sk.confusion_matrix(target, said))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        target, said, average="macro", zero_division=0
    )
    expected = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "accuracy": sk.accuracy_score(target, said),
    }
    # The original's 1e-6 in denominators.
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=2e-6)
    each = [(target == number, predicted[:, number]) for number in range(CLASSES)]
    areas = {
        "roc_auc": np.mean([sk.roc_auc_score(*one) for one in each]),
        "average_precision": np.mean([sk.average_precision_score(*one) for one in each]),
    }
    assert {name: scores[name] for name in areas} == pytest.approx(areas, rel=1e-12)


@settings(max_examples=40)
@given(DRAWS, st.integers(2, 80))
def test_areas_of_equal_probabilities_and_repeated_records(
    draw: np.random.Generator, rows: int
) -> None:
    """A resample counts records by weights, which scikit-learn knows as well."""
    score, positive = probabilities(draw, rows), draw.random(rows) < 0.4
    weights = draw.integers(0, 4, rows)
    positive[:2], weights[:2] = (True, False), 1
    roc, average = Ranking(score, positive).areas(weights)
    assert roc == pytest.approx(sk.roc_auc_score(positive, score, sample_weight=weights))
    assert average == pytest.approx(
        sk.average_precision_score(positive, score, sample_weight=weights)
    )


@settings(max_examples=40)
@given(DRAWS, st.integers(1, 80))
def test_reliability(draw: np.random.Generator, rows: int) -> None:
    probability, true = draw.random(rows), draw.random(rows) < 0.5
    found = calibration.reliability(
        {name: part.sum(0) for name, part in calibration.parts(probability, true).items()}
    )
    frequency, mean = calibration_curve(true, probability, n_bins=calibration.BINS)
    filled = found["count"] > 0
    np.testing.assert_allclose(found["frequency"][filled], frequency)
    np.testing.assert_allclose(found["probability"][filled], mean, rtol=1e-6)


@settings(max_examples=40)
@given(DRAWS, st.integers(2, 80))
def test_values(draw: np.random.Generator, rows: int) -> None:
    target = draw.uniform(0, 8, rows)
    predicted = target + draw.normal(0, 1, rows)
    found = ValueMetrics()
    found.update(predicted, target)
    scores = found.compute()
    expected = {
        "mae": sk.mean_absolute_error(target, predicted),
        "rmse": sk.root_mean_squared_error(target, predicted),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    spread = np.square(target - target.mean()).sum()
    # The original adds 1e-6 to the denominator.
    share = spread / (spread + 1e-6)
    assert 1 - scores["r2"] == pytest.approx(share * (1 - sk.r2_score(target, predicted)))
