"""Scores over tolerance and threshold, calibration, confusion and areas, with their intervals."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.evaluation import operating
from seismollm_jax.evaluation.evaluate import Evaluation, labelled
from seismollm_jax.evaluation.intervals import as_list, bounds, series, totals
from seismollm_jax.metrics import calibration, pick_curves
from seismollm_jax.metrics.bootstrap import FEW_RESAMPLES, Resampling
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.phases import PhaseMetrics
from seismollm_jax.metrics.ranking import Ranking
from seismollm_jax.tasks.base import Arrays

SHOWN = slice(None, None, 5)  # thresholds of the reported curve, 0.05 apart
POINTS = 200  # of a ROC or precision-recall curve, at most


@dataclasses.dataclass
class Curves:
    """Curves by answer, and single figures that belong to them.

    Attributes:
        curves: answer -> kind of curve -> axes and series, as metrics.json has it.
        scores: "<answer>/<figure>" -> value, nan where there is none.
        intervals: the same names -> lowest and highest value.
    """

    curves: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    intervals: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)

    def figure(self, name: str, value: Any, samples: np.ndarray | None) -> None:
        """Notes a single figure and its resampled values (resamples,)."""
        self.scores[name] = float(value)
        if samples is not None:
            self.intervals[name] = bounds(samples)


def draw_up(outcome: Evaluation, catalogue: pd.DataFrame, resampling: Resampling) -> Curves:
    """All curves that the answers of an outcome call for.

    Args:
        outcome: at the thresholds to judge.
        catalogue: the table of the dataset.
        resampling: of the events of all records; fewer resamples are enough here.
    """
    resampling = dataclasses.replace(resampling, resamples=FEW_RESAMPLES)
    found = Curves()
    for name, metric in outcome.metrics.items():
        if isinstance(metric, PhaseMetrics):
            found.curves[name] = _of_picks(found, outcome, name, metric, resampling)
            noise = operating.is_noise(outcome, catalogue)
            if noise.any() and name in outcome.experiment.task.thresholds:
                found.curves[name]["false_picks"] = _false_picks(
                    found, outcome, name, noise, resampling
                )
        elif isinstance(metric, ClassMetrics):
            found.curves[name] = _of_classes(found, outcome, name, metric, resampling)
    return found


def _of_picks(
    found: Curves, outcome: Evaluation, name: str, metric: PhaseMetrics, resampling: Resampling
) -> dict[str, Any]:
    chosen = labelled(outcome.targets, name)
    target, rate = outcome.targets[name], metric.sampling_rate_hz
    limits = [int(tolerance * rate) for tolerance in pick_curves.TOLERANCES_S]
    parts = pick_curves.over_tolerance(outcome.answers[name], target, metric.window_samples, limits)
    curves = {
        "tolerance": {
            "tolerance_s": as_list(pick_curves.TOLERANCES_S),
            **_scored(*_summed(_masked(parts, chosen), resampling)),
        }
    }
    if name not in outcome.experiment.task.thresholds:
        return curves
    every = np.ones(outcome.records, bool)
    parts = _masked(dict(operating.over_threshold(outcome, name, every)), chosen)
    sums, samples = _summed(parts, resampling)
    area = None if samples is None else pick_curves.area(samples)
    found.figure(f"{name}/pr_area", pick_curves.area(sums), area)
    curves["threshold"] = {
        "threshold": as_list(pick_curves.THRESHOLDS[SHOWN]),
        **_scored(_shown(sums), None if samples is None else _shown(samples)),
    }
    probability = outcome.experiment.task.thresholds[name].probability
    picks = outcome.candidates[name]
    right = pick_curves.is_hit(picks, target, metric.window_samples, metric.tolerance_samples)
    parts = calibration.parts(outcome.candidates[probability], right)
    curves["calibration"] = _calibration(found, name, _masked(parts, chosen), resampling)
    return curves


def _false_picks(
    found: Curves, outcome: Evaluation, name: str, noise: np.ndarray, resampling: Resampling
) -> dict[str, Any]:
    """Picks an hour of noise windows, over the threshold, and at the one in use."""
    context, threshold = outcome.experiment.context, outcome.experiment.task.thresholds[name]
    picks = np.zeros((outcome.records, len(pick_curves.THRESHOLDS)), np.uint8)
    picks[noise] = operating.false_picks(outcome, name, noise)
    heights = outcome.answers[threshold.probability]
    here = np.where(noise, (~np.isnan(heights)).sum(1), 0).astype(np.uint8)
    sums, samples = _summed(
        {"picks": picks[:, SHOWN], "here": here, "windows": noise.astype(np.uint8)}, resampling
    )
    window_hours = context.window / context.sampling_rate_hz / operating.SECONDS

    def rates(sums: Arrays) -> Arrays:
        with np.errstate(invalid="ignore", divide="ignore"):
            time = sums["windows"] * window_hours
            return {"curve": sums["picks"] / time[..., None], "here": sums["here"] / time}

    value = rates(sums)
    spread = None if samples is None else rates(samples)
    found.figure(
        f"{name}/false_picks_per_hour", value["here"], None if spread is None else spread["here"]
    )
    return {
        "windows": int(noise.sum()),
        "hours": operating.hours(outcome, noise),
        "threshold": as_list(pick_curves.THRESHOLDS[SHOWN]),
        "per_hour": series(value["curve"], None if spread is None else spread["curve"]),
    }


def _of_classes(
    found: Curves, outcome: Evaluation, name: str, metric: ClassMetrics, resampling: Resampling
) -> dict[str, Any]:
    labels, predicted = outcome.experiment.task.labels, outcome.answers[name]
    target = outcome.targets[name].argmax(1)
    usable = ~np.isnan(predicted).any(1)
    curves: dict[str, Any] = {
        "confusion": {
            "classes": list(labels),
            "counts": metric.confusion.tolist(),
            "invalid": metric.invalid.tolist(),
        }
    }
    once = np.ones(int(usable.sum()))
    for number, label in enumerate(labels):
        positive = target[usable] == number
        true, false = Ranking(predicted[usable, number], positive).counts(once)
        recall, fall_out = true / max(positive.sum(), 1), false / max((~positive).sum(), 1)
        precision = true / np.maximum(true + false, 1)
        points = min(POINTS, len(recall))
        thin = np.unique(np.linspace(0, len(recall) - 1, points).astype(int))
        curves[f"ranking_{label}"] = {
            "recall": as_list(recall[thin]),
            "false_positive_rate": as_list(fall_out[thin]),
            "precision": as_list(precision[thin]),
        }
    parts = calibration.parts(predicted[:, 0], target == 0)
    curves["calibration"] = {
        "of": labels[0],
        **_calibration(found, name, parts, resampling),
    }
    return curves


def _calibration(found: Curves, name: str, parts: Arrays, resampling: Resampling) -> dict[str, Any]:
    sums, samples = _summed(parts, resampling)
    value = calibration.reliability(sums)
    spread = None if samples is None else calibration.reliability(samples)
    found.figure(
        f"{name}/calibration_error", value["error"], None if spread is None else spread["error"]
    )
    return {
        "edges": as_list(calibration.EDGES),
        "count": as_list(value["count"]),
        "probability": as_list(value["probability"]),
        "frequency": series(value["frequency"], None if spread is None else spread["frequency"]),
    }


def _shown(sums: Arrays) -> Arrays:
    return {name: sums[name] if name == "target" else sums[name][..., SHOWN] for name in sums}


def _scored(sums: Arrays, samples: Arrays | None) -> dict[str, Any]:
    """Precision, recall and F1 as series."""
    values = pick_curves.scores(sums)
    spread = None if samples is None else pick_curves.scores(samples)
    return {
        name: series(value, None if spread is None else spread[name])
        for name, value in values.items()
    }


def _summed(parts: Arrays, resampling: Resampling) -> tuple[Arrays, Arrays | None]:
    """Sums over all records, and over resamples unless there is but one event."""
    return totals(parts), resampling.sums(parts) if resampling.events > 1 else None


def _masked(parts: Arrays, chosen: np.ndarray) -> Arrays:
    """Parts of which the rows that are not chosen add nothing."""
    return {
        name: np.where(chosen[:, None], part, part.dtype.type(0)) for name, part in parts.items()
    }
