"""Reliability by bins."""

import numpy as np
import pytest

from seismollm_jax.metrics import calibration


def test_known_bins():
    probability = np.array([[0.05, np.nan], [0.1, 0.95], [0.15, 1.0], [0.0, 0.93]], np.float32)
    right = np.array([[True, True], [False, True], [True, False], [False, True]])
    parts = calibration.parts(probability, right)
    assert parts["count"].shape == (4, calibration.BINS)
    found = calibration.reliability({name: part.sum(0) for name, part in parts.items()})
    assert found["count"].tolist() == [3, 1, *[0] * 7, 3]  # an upper edge belongs to its bin
    assert found["frequency"][[0, 1, 9]] == pytest.approx([1 / 3, 1, 2 / 3])
    assert found["probability"][[0, 1, 9]] == pytest.approx([0.05, 0.15, 0.96])
    assert np.isnan(found["frequency"][2:9]).all()
    error = (3 * (1 / 3 - 0.05) + 0.85 + 3 * (0.96 - 2 / 3)) / 7
    assert found["error"] == pytest.approx(error, rel=1e-6)


def test_honest_probabilities_have_no_error():
    draw = np.random.default_rng(0)
    probability = draw.random(200_000).astype(np.float32)
    parts = calibration.parts(probability, draw.random(200_000) < probability)
    found = calibration.reliability({name: part.sum(0) for name, part in parts.items()})
    assert found["error"] < 0.01
    assert np.isnan(
        calibration.reliability(calibration.parts(probability[:0], probability[:0] > 0))["error"]
    ).all()
