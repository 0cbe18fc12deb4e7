"""Scores over tolerance and threshold are those of the picks at each."""

import numpy as np
import pytest

from seismollm_jax.metrics import pick_curves
from seismollm_jax.metrics.peaks import at_threshold
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics

WINDOW, RATE = 400, 100.0


@pytest.fixture(params=[1, 3])
def picks(request):
    """Picks, their probabilities and the true ones, (rows, slots)."""
    draw, shape = np.random.default_rng(request.param), (60, request.param)
    target = np.where(draw.random(shape) < 0.8, draw.integers(20, 380, shape), NO_PICK)
    found = np.clip(np.where(target == NO_PICK, 77, target) + draw.integers(-30, 31, shape), 1, 398)
    heights = np.where(draw.random(shape) < 0.9, draw.uniform(0.05, 1, shape), np.nan)
    heights = heights.astype(np.float32)
    found, heights = np.where(np.isnan(heights), NO_PICK, found), heights
    return *at_threshold(found, heights, 0.05), target


def expected(predicted, target, tolerance_s=0.1):
    metric = PhaseMetrics(WINDOW, RATE, tolerance_s)
    metric.update(predicted, target)
    return metric.compute()


def test_over_threshold(picks):
    found, heights, target = picks
    parts = pick_curves.over_threshold(found, heights, target, WINDOW, 10)
    curve = pick_curves.scores({name: part.sum(0) for name, part in parts.items()})
    for place in range(0, len(pick_curves.THRESHOLDS), 13):
        chosen, _ = at_threshold(found, heights, pick_curves.THRESHOLDS[place])
        scores = expected(chosen, target)
        for name in ("precision", "recall", "f1"):
            assert curve[name][place] == pytest.approx(scores[name]), (name, place)


def test_over_tolerance(picks):
    found, _, target = picks
    limits = [int(tolerance * RATE) for tolerance in pick_curves.TOLERANCES_S]
    assert limits == [10 * n for n in range(1, 11)]
    parts = pick_curves.over_tolerance(found, target, WINDOW, limits)
    curve = pick_curves.scores({name: part.sum(0) for name, part in parts.items()})
    for place, tolerance in enumerate(pick_curves.TOLERANCES_S):
        scores = expected(found, target, tolerance)
        assert curve["f1"][place] == pytest.approx(scores["f1"])
    assert (np.diff(curve["recall"]) >= 0).all()


def test_area():
    """Three picks, two of them right, of two arrivals: recall 1/2 at 1, 1 at 2/3."""
    target = np.array([[100], [200], [NO_PICK]])
    found, heights = np.array([[100], [205], [300]]), np.float32([[0.9], [0.5], [0.7]])
    parts = pick_curves.over_threshold(found, heights, target, WINDOW, 10)
    sums = {name: part.sum(0) for name, part in parts.items()}
    assert pick_curves.area(sums) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    nothing = {name: part * 0 for name, part in sums.items()}
    assert np.isnan(pick_curves.area(nothing))


def test_hits_for_calibration():
    found, target = np.array([[90, 300, NO_PICK]]), np.array([[NO_PICK, 100, 315]])
    assert pick_curves.is_hit(found, target, WINDOW, 10).tolist() == [[True, False, False]]
