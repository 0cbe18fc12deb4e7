"""Operating points: thresholds chosen on the validation part, kept in the checkpoint."""

import numpy as np
import pandas as pd

from seismollm_jax.evaluation.evaluate import Evaluation, labelled
from seismollm_jax.metrics import pick_curves
from seismollm_jax.metrics.phases import PhaseMetrics, is_pick
from seismollm_jax.tasks.thresholds import F1, FALSE_PICKS

SECONDS = 3600.0


def is_noise(outcome: Evaluation, catalogue: pd.DataFrame) -> np.ndarray:
    """Which records are of noise traces, by the table of the dataset, (records,)."""
    return (catalogue["category"] == "noise").to_numpy()[outcome.rows]


def hours(outcome: Evaluation, chosen: np.ndarray) -> float:
    """Length of the windows of chosen records, together."""
    context = outcome.experiment.context
    return float(chosen.sum()) * context.window / context.sampling_rate_hz / SECONDS


def choose(outcome: Evaluation, catalogue: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Thresholds for the records of an outcome.

    Those that are tried go from 0.05 to 0.99 in steps of 0.01.

    Args:
        outcome: of the validation part.
        catalogue: the table of the dataset.

    Returns:
        "f1": the threshold of each phase with the largest F1, the middle one of several that lie
        in a row; "false_picks": the lowest with at most `options.false_picks_per_hour` picks an
        hour on noise traces. Either with the figures reached, such as {"p": 0.4, "p_f1": 0.95} or
        {"p": 0.6, "p_per_hour": 0.8, "limit_per_hour": 1.0}. A phase without a hit, a point without
        a phase, and the second point without noise traces are left out, so that a task without
        thresholds has none.
    """
    if not outcome.records:
        return {}
    task, context = outcome.experiment.task, outcome.experiment.context
    points: dict[str, dict[str, float]] = {F1: {}, FALSE_PICKS: {}}
    noise = is_noise(outcome, catalogue)
    noise_hours = hours(outcome, noise)
    for answer, threshold in task.thresholds.items():
        short = threshold.short
        sums = {
            name: part.sum(0, dtype=np.float64)
            for name, part in over_threshold(outcome, answer, labelled(outcome.targets, answer))
        }
        f1 = pick_curves.scores(sums)["f1"]
        if f1.max() > 0:
            best = np.flatnonzero(f1 == f1.max())
            run = best[: np.argmax(np.append(np.diff(best) > 1, True)) + 1]
            place = run[len(run) // 2]
            points[F1] |= {
                short: float(pick_curves.THRESHOLDS[place]),
                f"{short}_f1": float(f1[place]),
            }
        if not noise.any():
            continue
        limit = context.options.false_picks_per_hour
        rates = false_picks(outcome, answer, noise).sum(0, dtype=np.float64) / noise_hours
        if (rates <= limit).any():
            place = int(np.argmax(rates <= limit))
            points[FALSE_PICKS] |= {
                short: float(pick_curves.THRESHOLDS[place]),
                f"{short}_per_hour": float(rates[place]),
                "limit_per_hour": float(limit),
            }
    return {name: point for name, point in points.items() if point}


def over_threshold(
    outcome: Evaluation, answer: str, chosen: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """What chosen records add to `pick_curves.over_threshold` of an answer, in a fixed order."""
    metric = outcome.metrics[answer]
    assert isinstance(metric, PhaseMetrics)  # what has thresholds is picked
    probability = outcome.experiment.task.thresholds[answer].probability
    parts = pick_curves.over_threshold(
        outcome.candidates[answer][chosen],
        outcome.candidates[probability][chosen],
        outcome.targets[answer][chosen],
        metric.window_samples,
        metric.tolerance_samples,
    )
    return list(parts.items())


def false_picks(outcome: Evaluation, answer: str, noise: np.ndarray) -> np.ndarray:
    """Picks on noise at each threshold of `pick_curves.THRESHOLDS`, (noise records, thresholds)."""
    probability = outcome.experiment.task.thresholds[answer].probability
    picks = is_pick(outcome.candidates[answer][noise], outcome.experiment.context.window)
    heights = np.where(picks, outcome.candidates[probability][noise], np.nan)
    thresholds = pick_curves.THRESHOLDS.astype(np.float32)
    counts = [(heights >= threshold).sum(1) for threshold in thresholds]
    return np.stack(counts, 1).astype(np.uint8)
