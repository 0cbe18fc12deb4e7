"""Scores of picks over tolerance and over threshold, as sums over records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from seismollm_jax.metrics.peaks import at_threshold
from seismollm_jax.metrics.phases import NO_PICK, Parts, is_pick, match, precision_recall_f1

FLOOR = 0.05
"""Picks of a lower probability are not looked at for curves over the threshold."""

THRESHOLDS = np.round(np.arange(FLOOR, 0.995, 0.01), 2)
TOLERANCES_S = np.round(np.arange(0.1, 1.05, 0.1), 1)


def over_tolerance(
    predicted: np.ndarray, target: np.ndarray, window: int, tolerances: Sequence[int]
) -> Parts:
    """What each row adds to precision and recall at several tolerances.

    Args:
        predicted: (rows, slots) samples.
        target: the same shape.
        window: samples.
        tolerances: largest distance of a hit, samples.

    Returns:
        hits (rows, tolerances), predicted and target (rows, 1), uint8.
    """
    distance, has_prediction, has_target = _pairs(predicted, target, window)
    hits = np.stack([(distance <= limit).sum(1) for limit in tolerances], 1)
    return {
        "hits": hits.astype(np.uint8),
        "predicted": has_prediction.sum(1, keepdims=True).astype(np.uint8),
        "target": has_target.sum(1, keepdims=True).astype(np.uint8),
    }


def over_threshold(
    picks: np.ndarray,
    heights: np.ndarray,
    target: np.ndarray,
    window: int,
    tolerance: int,
    thresholds: np.ndarray = THRESHOLDS,
) -> Parts:
    """What each row adds to precision and recall at several thresholds.

    Args:
        picks: (rows, slots) samples, of probabilities down to the lowest threshold or less.
        heights: the same shape, their probabilities.
        target: the same shape.
        window: samples.
        tolerance: largest distance of a hit, samples.
        thresholds: smallest probabilities of a pick.

    Returns:
        hits and predicted (rows, thresholds), target (rows, 1), uint8.
    """
    hits, counts = (np.zeros((len(picks), len(thresholds)), np.uint8) for _ in range(2))
    distance, has_prediction, has_target = _pairs(picks, target, window)
    for place, threshold in enumerate(thresholds):
        if picks.shape[1] == 1:
            kept = np.greater_equal(heights, np.float32(threshold))
            hit, present = (distance <= tolerance) & kept, has_prediction & kept
        else:  # which pick belongs to which arrival depends on the others
            chosen, _ = at_threshold(picks, heights, float(threshold))
            near, present, _ = _pairs(chosen, target, window)
            hit = near <= tolerance
        hits[:, place], counts[:, place] = hit.sum(1), present.sum(1)
    return {
        "hits": hits,
        "predicted": counts,
        "target": has_target.sum(1, keepdims=True).astype(np.uint8),
    }


def is_hit(predicted: np.ndarray, target: np.ndarray, window: int, tolerance: int) -> np.ndarray:
    """Which predicted picks (rows, slots) are within the tolerance of an arrival of their row."""
    distance = np.abs(predicted[:, :, None] - target[:, None, :])
    both = is_pick(predicted, window)[:, :, None] & is_pick(target, window)[:, None, :]
    return ((distance <= tolerance) & both).any(2)


def scores(sums: Mapping[str, np.ndarray]) -> Parts:
    """Precision, recall and F1 (..., points) out of summed parts of either kind."""
    return precision_recall_f1(sums["hits"], sums["predicted"], sums["target"])


def area(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Area under the curve of precision over recall, out of summed `over_threshold` (...).

    Summed in steps from the highest threshold down, like average precision; what is found below
    the lowest threshold does not count. nan without arrivals.
    """
    hits, predicted = (np.asarray(sums[name], np.float64) for name in ("hits", "predicted"))
    target = np.asarray(sums["target"], np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / target
        precision = np.where(predicted > 0, hits / predicted, 0)
    gain = recall - np.concatenate([recall[..., 1:], np.zeros_like(recall[..., :1])], -1)
    return (gain * precision).sum(-1)


def _pairs(
    predicted: np.ndarray, target: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance of each pick from its arrival, beyond any tolerance where either is missing."""
    if target.shape[1] > 1:
        predicted = match(predicted, target, window)
    has_prediction, has_target = is_pick(predicted, window), is_pick(target, window)
    pair = has_prediction & has_target
    return np.where(pair, np.abs(target - predicted), -NO_PICK), has_prediction, has_target
