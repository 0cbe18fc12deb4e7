"""How well a probability orders records: areas under the ROC and the precision-recall curve.

Both as scikit-learn defines them: equal probabilities are one step, the ROC curve is joined by
straight lines, and the precision-recall curve is summed in steps (average precision), since lines
between its points would promise too much (Davis & Goadrich 2006).
"""

from __future__ import annotations

import numpy as np


class Ranking:
    """Records in the order of a score, sorted once for any number of resamples.

    Args:
        score: (rows,) without nan.
        positive: (rows,) bool.

    Attributes:
        thresholds: the distinct scores, from the highest down.
    """

    def __init__(self, score: np.ndarray, positive: np.ndarray):
        self._order = np.argsort(-score, kind="stable")
        ordered, self._positive = score[self._order], positive[self._order]
        ends = np.append(ordered[1:] != ordered[:-1], True)[: len(score)]
        self._last = np.flatnonzero(ends)
        self.thresholds = ordered[self._last]

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positives and negatives at or above each threshold, (thresholds,).

        `weights`, (rows,), says how often each row counts.
        """
        weights = weights[self._order]
        every = np.cumsum(weights)[self._last]
        true = np.cumsum(weights * self._positive)[self._last]
        return true, every - true

    def areas(self, weights: np.ndarray) -> tuple[float, float]:
        """Areas under the ROC curve and the precision-recall curve.

        nan without a positive row, the ROC area also without a negative one.
        """
        true, false = self.counts(weights)
        positives = true[-1] if len(true) else 0
        negatives = false[-1] if len(false) else 0
        if not positives:
            return np.nan, np.nan
        found, passed = np.diff(true, prepend=0), np.diff(false, prepend=0)
        every = np.maximum(true + false, 1)  # where it is 0, so is `found`
        average = (found * (true / every)).sum() / positives
        roc = (passed * (true - found / 2)).sum() / (positives * negatives) if negatives else np.nan
        return float(roc), float(average)
