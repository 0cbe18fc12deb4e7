"""Whether probabilities mean what they say: reliability by bins (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seismollm_jax.metrics.phases import Parts, ratio

BINS = 10
EDGES = np.linspace(0, 1, BINS + 1)


def parts(probability: np.ndarray, right: np.ndarray) -> Parts:
    """What each row adds to its bin, (rows, BINS) each; the upper edge of a bin belongs to it.

    Args:
        probability: (rows,) or (rows, slots), 0 to 1; nan where there is nothing to judge.
        right: bool of the same shape, whether what had that probability came true.
    """
    rows = len(probability)
    if probability.ndim == 1:
        probability, right = probability[:, None], right[:, None]
    count, true = np.zeros((rows, BINS), np.uint8), np.zeros((rows, BINS), np.uint8)
    total = np.zeros((rows, BINS), np.float32)
    row, slot = np.nonzero(~np.isnan(probability))
    value = probability[row, slot]
    place = np.searchsorted(EDGES[1:-1].astype(value.dtype), value)
    np.add.at(count, (row, place), np.uint8(1))
    np.add.at(true, (row, place), right[row, slot].astype(np.uint8))
    np.add.at(total, (row, place), value)
    return {"count": count, "true": true, "probability": total}


def reliability(sums: Mapping[str, np.ndarray]) -> Parts:
    """Mean probability and frequency of what came true in each bin, out of summed parts.

    These are (..., BINS). Also `count`, and `error` (...): the expected calibration error, the mean
    distance of the two weighted by count.
    """
    count = np.asarray(sums["count"], np.float64)
    probability, frequency = ratio(sums["probability"], count), ratio(sums["true"], count)
    distance = np.where(count > 0, np.abs(probability - frequency), 0)
    return {
        "probability": probability,
        "frequency": frequency,
        "count": count,
        "error": ratio((distance * count).sum(-1), count.sum(-1)),
    }
