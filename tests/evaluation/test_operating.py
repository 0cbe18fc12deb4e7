"""Operating points against thresholds tried one by one, and which thresholds are used."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seismollm_jax import tasks
from seismollm_jax.evaluation import breakdown, curves, intervals, operating
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.metrics.peaks import at_threshold
from seismollm_jax.metrics.phases import NO_PICK
from seismollm_jax.metrics.pick_curves import THRESHOLDS
from seismollm_jax.tasks import thresholds

RECORDS, NOISE = 300, 80
RATES = THRESHOLDS.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Stand:
    """What an evaluation asks of an experiment."""

    task: Any
    context: Any


def catalogue(noise: int = NOISE) -> pd.DataFrame:
    draw, row = np.random.default_rng(0), np.arange(RECORDS)
    is_noise = row < noise
    return pd.DataFrame(
        {
            "category": pd.Categorical(np.where(is_noise, "noise", "earthquake")),
            "event_id": pd.Categorical(np.where(is_noise, None, [f"e{n % 40}" for n in row])),
            "network": pd.Categorical(np.full(RECORDS, "NA")),
            "station": pd.Categorical([f"S{n % 7 if n > 10 else 9}" for n in row]),
            **{f"snr_{c}_db": np.where(is_noise, np.nan, draw.uniform(-5, 50)) for c in "zne"},
            "distance_km": np.where(is_noise, np.nan, draw.uniform(0, 120, RECORDS)),
            "magnitude": np.where(is_noise, np.nan, draw.uniform(0, 4, RECORDS)),
        }
    )


def outcome(noise: int = NOISE, **options: Any) -> Evaluation:
    """Picks that are the better the more probable; on noise they are improbable."""
    task, draw = tasks.get("picking"), np.random.default_rng(1)
    context = task.context(window=6000, sampling_rate_hz=100.0, options=options)
    is_noise = (np.arange(RECORDS) < noise)[:, None]
    targets, candidates = {}, {}
    for phase in ("p", "s"):
        target = np.where(is_noise, NO_PICK, draw.integers(500, 5000, (RECORDS, 1)))
        height = np.where(is_noise, draw.beta(1, 6, (RECORDS, 1)), draw.beta(3, 2, (RECORDS, 1)))
        error = np.round(draw.normal(0, 4 / height**1.5)).astype(int)
        pick = np.where(is_noise, 3000, target + error)
        picks = at_threshold(pick, height.astype(np.float32), 0.05)
        candidates[f"{phase}_sample"], candidates[f"{phase}_probability"] = picks
        targets[f"{phase}_sample"] = target
        targets[f"{phase}_sample_labelled"] = (np.arange(RECORDS) % 9 > 0).astype(np.float32)
    experiment: Any = Stand(task, context)
    rows = np.arange(RECORDS)
    losses = draw.random(RECORDS).astype(np.float32)
    return Evaluation(experiment, rows, rows, losses, targets, candidates, [], {})


def at(found: Evaluation, short: str, threshold: float) -> Evaluation:
    option = {f"{short}_threshold": threshold}
    return found.at(found.experiment.context.with_options(**option))


def noise_rate(found: Evaluation, short: str) -> float:
    picks = (found.answers[f"{short}_sample"][:NOISE] != NO_PICK).sum()
    return picks / (NOISE * 60 / 3600)


@pytest.mark.parametrize("short", ["p", "s"])
def test_the_best_of_all_thresholds(short: str) -> None:
    found = outcome(false_picks_per_hour=3.0)
    points = operating.choose(found, catalogue())
    tried = [at(found, short, float(t)) for t in THRESHOLDS]
    f1 = [one.scores()[f"{short}_sample/f1"] for one in tried]
    assert 0.1 < points["f1"][short] < 0.9
    assert points["f1"][f"{short}_f1"] == pytest.approx(max(f1))
    assert f1[int(np.argmin(abs(THRESHOLDS - points["f1"][short])))] == pytest.approx(max(f1))
    rates = np.array([noise_rate(one, short) for one in tried])
    place = int(np.argmin(abs(THRESHOLDS - points["false_picks"][short])))
    assert points["false_picks"][f"{short}_per_hour"] == pytest.approx(rates[place])
    assert rates[place] <= points["false_picks"]["limit_per_hour"] == 3 < rates[place - 1]
    for name in ("f1", "false_picks"):  # thresholds as people write them
        assert points[name][short] == round(points[name][short], 2)


def test_the_middle_of_equally_good_ones() -> None:
    found = outcome()
    for name in ("p", "s"):
        target = found.targets[f"{name}_sample"]
        found.candidates[f"{name}_sample"][:] = target
        height = np.where(target == NO_PICK, np.nan, 0.8).astype(np.float32)
        found.candidates[f"{name}_probability"][:] = height
    points = operating.choose(found, catalogue())
    assert points["f1"]["p"] == pytest.approx(0.43)  # of 0.05 to 0.8
    assert points["false_picks"]["p"] == 0.05


def test_points_that_cannot_be_chosen() -> None:
    found = outcome(noise=0)
    assert set(operating.choose(found, catalogue(noise=0))) == {"f1"}
    for name in ("p_sample", "s_sample"):
        found.targets[name][:] = NO_PICK
    assert operating.choose(found, catalogue(noise=0)) == {}
    magnitude = tasks.get("magnitude")
    context = magnitude.context(window=6000, sampling_rate_hz=100.0, options={})
    values = {"magnitude": np.ones((RECORDS, 1), np.float32)}
    stand: Any = Stand(magnitude, context)
    other = dataclasses.replace(found, experiment=stand, targets=values, candidates=values)
    assert operating.choose(other, catalogue()) == {}


POINTS = {"f1": {"p": 0.41, "p_f1": 0.9, "s": 0.22, "s_f1": 0.8}, "false_picks": {"p": 0.7}}


@pytest.mark.parametrize(
    ("stored", "point", "given", "expected"),
    [
        ({}, None, {}, (0.3, 0.3, "config", "config")),
        (POINTS, None, {"p": None}, (0.41, 0.22, "f1", "f1")),
        (POINTS, "config", {}, (0.3, 0.3, "config", "config")),
        (POINTS, "false_picks", {}, (0.7, 0.3, "false_picks", "config")),
        (POINTS, None, {"s": 0.9}, (0.41, 0.9, "f1", "given")),
    ],
)
def test_which_thresholds_are_used(stored: Any, point: Any, given: Any, expected: Any) -> None:
    task = tasks.get("picking")
    context = task.context(window=100, sampling_rate_hz=100.0, options={})
    description = {"operating_points": stored}
    found, used = thresholds.decide(task, context, description, point, given)
    assert (found.options.p_threshold, found.options.s_threshold) == expected[:2]
    assert used == dict(zip(("p", "s", "p_from", "s_from"), expected, strict=True))
    assert f"P {expected[0]:g} (" in thresholds.line(used)


def test_thresholds_that_are_refused() -> None:
    task = tasks.get("picking")
    context = task.context(window=100, sampling_rate_hz=100.0, options={})
    with pytest.raises(ValueError, match=r"no operating point 'false_picks'.*--choose_thresholds"):
        thresholds.decide(task, context, {}, "false_picks")
    with pytest.raises(ValueError, match=r"p_threshold=2 is not between"):
        thresholds.decide(task, context, {}, None, {"p": 2})
    other = tasks.get("magnitude")
    for point, given in (("f1", {}), (None, {"p": 0.5})):
        with pytest.raises(ValueError, match="magnitude has no threshold"):
            thresholds.decide(other, context, {}, point, given)
    assert thresholds.decide(other, context, {})[1] == {}


def test_curves_hold_the_scores_of_the_thresholds() -> None:
    found, table = at(outcome(), "p", 0.5), catalogue()
    drawn = curves.draw_up(found, table, intervals.of_events(found, table))
    scores, p = found.scores(), drawn.curves["p_sample"]
    place = p["threshold"]["threshold"].index(0.5)
    for name in ("precision", "recall", "f1"):
        curve = p["threshold"][name]
        assert curve["value"][place] == pytest.approx(scores[f"p_sample/{name}"])
        assert curve["low"][place] < curve["value"][place] < curve["high"][place]
        assert p["tolerance"][name]["value"][0] == pytest.approx(scores[f"p_sample/{name}"])
    rate = noise_rate(found, "p")
    assert p["false_picks"]["per_hour"]["value"][place] == pytest.approx(rate)
    assert drawn.scores["p_sample/false_picks_per_hour"] == pytest.approx(rate)
    low, high = drawn.intervals["p_sample/false_picks_per_hour"]
    assert low is not None
    assert high is not None
    assert low <= rate <= high
    assert (p["false_picks"]["windows"], p["false_picks"]["hours"]) == (NOISE, NOISE / 60)
    assert sum(p["calibration"]["count"]) == (
        (found.candidates["p_sample"][np.arange(RECORDS) % 9 > 0] != NO_PICK).sum()
    )
    assert 0 < drawn.scores["p_sample/pr_area"] < 1


def test_breakdown_has_every_record_once() -> None:
    found, table = outcome(), catalogue()
    parts = breakdown.break_down(found, table, intervals.of_events(found, table))
    for quantity in ("snr_db", "distance_km", "magnitude"):
        assert sum(entry["records"] for entry in parts[quantity]) == RECORDS - NOISE
        highs = [entry["high"] for entry in parts[quantity]]
        assert [entry["low"] for entry in parts[quantity]][1:] == highs[:-1]
    assert {entry["station"] for entry in parts["station"]} == {f"NA.S{n}" for n in range(7)}
    entry = parts["distance_km"][1]
    chosen = table["distance_km"].between(entry["low"], entry["high"], inclusive="left")
    expected = found.scores_of(chosen.to_numpy())
    for name, value in entry["scores"].items():
        assert value == pytest.approx(expected[name])
    assert (
        set(entry["intervals"])
        == set(entry["scores"])
        == {
            f"{phase}_sample/{score}"
            for phase in ("p", "s")
            for score in found.metrics["p_sample"].headline
        }
    )
    assert entry["events"] == table["event_id"][chosen].nunique()
