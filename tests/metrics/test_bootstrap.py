"""Resampled events."""

import numpy as np
import pytest
from scipy import stats

from seismollm_jax.metrics.bootstrap import Resampling, groups_of, interval
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics
from seismollm_jax.metrics.values import ValueMetrics

DRAW = np.random.default_rng(1)
ROWS = 400
PICKS = DRAW.integers(50, 950, (ROWS, 2))
ANGLES = DRAW.uniform(0, 360, ROWS)
CASES = {
    "phase": (
        PhaseMetrics(1000, 100.0),
        np.where(DRAW.random((ROWS, 2)) < 0.8, PICKS + DRAW.integers(-12, 13, (ROWS, 2)), NO_PICK),
        np.where(DRAW.random((ROWS, 2)) < 0.9, PICKS, NO_PICK),
    ),
    "value": (ValueMetrics(), DRAW.normal(3, 1, (ROWS, 1)), DRAW.normal(3, 1, (ROWS, 1))),
    "angle": (ValueMetrics(circular=True), (ANGLES + DRAW.normal(0, 50, ROWS)) % 360, ANGLES),
    "class": (ClassMetrics(2), DRAW.random((ROWS, 2)), DRAW.integers(0, 2, ROWS)),
}


def both_ways(metric, predicted, target, resampling):
    """All scores of each resample."""
    found = metric.scores(resampling.sums(metric.parts(predicted, target)))
    others = metric.weighted(predicted, target)
    return found | (resampling.apply(others) if others else {})


@pytest.mark.parametrize("case", CASES)
def test_a_resample_has_the_scores_of_its_records(case):
    """Of each draw, records that are in it several times and all."""
    metric, predicted, target = CASES[case]
    resampling = Resampling(groups_of(np.arange(ROWS) // 3), resamples=4)
    found = both_ways(metric, predicted, target, resampling)
    times = resampling.apply(lambda weights: {"rows": weights})["rows"]
    assert (times.sum(1) > 0).all()
    for number, of_row in enumerate(times):
        rows = np.repeat(np.arange(ROWS), of_row)
        again = type(metric)(**{name: getattr(metric, name) for name in settings_of(metric)})
        again.update(predicted[rows], target[rows])
        expected = again.compute()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][number] == pytest.approx(value, rel=1e-9, abs=1e-9), name


def settings_of(metric):
    names = ("window_samples", "sampling_rate_hz", "tolerance_s", "circular", "classes")
    return [name for name in names if hasattr(metric, name)]


def test_as_wide_as_that_of_scipy():
    values = DRAW.exponential(2, 300)
    sums = Resampling(np.arange(300), 4000).sums({"x": values, "n": np.ones(300, np.uint8)})
    low, high = interval(sums["x"] / sums["n"])
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.08 * width)
    assert high == pytest.approx(expected.high, abs=0.08 * width)


def test_records_of_an_event_are_no_further_evidence():
    """Each record five times over, as if five stations agreed: the interval stays."""
    values = DRAW.normal(0, 1, 50)
    events = np.array([f"event {n}" for n in range(50)], object)

    def mean(values, events):
        resampling = Resampling(groups_of(events))
        sums = resampling.sums({"x": values, "n": np.ones(len(values), np.uint8)})
        return interval(sums["x"] / sums["n"])

    once = mean(values, events)
    assert mean(np.repeat(values, 5), np.repeat(events, 5)) == pytest.approx(once)
    alone = mean(np.repeat(values, 5), np.full(250, None))
    assert alone[1] - alone[0] < 0.6 * (once[1] - once[0])


def test_records_without_an_event_are_one_each():
    found = groups_of(np.array(["b", None, "a", "b", np.nan, None], object))
    assert found.tolist() == [0, 1, 2, 0, 3, 4]
    assert Resampling(found).events == 5


def test_bounds_of_what_is_sometimes_undefined():
    values = np.array([[1.0, np.nan, np.nan]] * 20 + [[2.0, 5.0, np.nan]] * 20)
    low, high = interval(values)
    np.testing.assert_array_equal(low, [1, 5, np.nan])
    np.testing.assert_array_equal(high, [2, 5, np.nan])
    assert np.isnan(interval(np.full(9, np.nan))).all()
