"""Phase-pick scores, summed over batches in float64.

A pick is an integer sample index in a window; :data:`NO_PICK` fills the slots of rows with fewer
picks. Definitions follow the PyTorch original so that numbers can be compared with published ones:
residuals are target minus prediction in samples, and averages run over *all* traces, a miss
counting as zero error. The ``*_hit_s`` figures average over the hits alone, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

NO_PICK = -10_000_000
"""Marks an absent pick in integer arrays; far outside any window, as in the PyTorch original."""

EPSILON = 1e-6  # the original's guard against division by zero; part of the published numbers

OUTLIER_S = 1.0
"""Beyond it a pick is an outlier, not a late or early pick of the same arrival."""

Parts = dict[str, np.ndarray]


@dataclass
class PhaseMetrics:
    """Scores of one phase (P or S).

    Args:
        window_samples: number of samples in a window; picks outside [0, window_samples) are absent.
        sampling_rate_hz: converts the tolerance to samples and hit residuals to seconds.
        tolerance_s: largest residual of a hit, inclusive; truncated to whole samples.
    """

    headline: ClassVar[tuple[str, ...]] = (
        *("precision", "recall", "f1"),
        *("mean_hit_s", "std_hit_s", "mae_hit_s", "outlier_share"),
    )

    window_samples: int
    sampling_rate_hz: float
    tolerance_s: float = 0.1
    sums: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Start from zero."""
        self.sums = total(self.parts(*[np.zeros((0, 1), np.int64)] * 2))

    @property
    def tolerance_samples(self) -> int:
        """Largest residual of a hit in samples: int(tolerance_s * rate), so 0.29 s is 28."""
        return int(self.tolerance_s * self.sampling_rate_hz)

    def update(
        self, predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None
    ) -> None:
        """Add a batch of picks, (batch,) or (batch, slots) integers, the same shape on both sides.

        Rows where `mask` (batch,) is false, such as the padding of a last batch, are left out.

        Raises:
            ValueError: shapes differ.
        """
        for name, value in total(self.parts(*_rows(predicted, target, mask))).items():
            self.sums[name] = self.sums[name] + value

    def parts(self, predicted: np.ndarray, target: np.ndarray) -> Parts:
        """What each row adds to the sums, (rows,), or (rows, k) for counts by residual."""
        predicted, target = _rows(predicted, target, None)
        if target.shape[1] > 1:
            predicted = match(predicted, target, self.window_samples)
        has_prediction = is_pick(predicted, self.window_samples)
        has_target = is_pick(target, self.window_samples)
        pair = has_prediction & has_target
        residual = np.where(pair, target - predicted, 0)
        distance = np.abs(residual)
        hit = pair & (distance <= self.tolerance_samples)
        residual = np.where(hit, residual, 0).astype(np.float64)  # (rows, slots)
        relative = np.abs(residual / (target + EPSILON))
        hit_s = residual / self.sampling_rate_hz
        histogram = np.zeros((len(target), 2 * self.tolerance_samples + 1), np.uint8)
        row, slot = np.nonzero(hit)
        place = residual[row, slot].astype(np.int64) + self.tolerance_samples
        np.add.at(histogram, (row, place), np.uint8(1))
        return {
            "rows": np.ones(len(target), np.int64),
            "picks_predicted": has_prediction.sum(1),
            "picks_target": has_target.sum(1),
            "hits": hit.sum(1),
            "pairs": pair.sum(1),
            "outliers": (pair & (distance > OUTLIER_S * self.sampling_rate_hz)).sum(1),
            "residual": residual.mean(1),
            "residual_abs": np.abs(residual).mean(1),
            "residual_squared": np.square(residual).mean(1),
            "residual_relative": relative.mean(1),
            "hit_residual": hit_s.sum(1),
            "hit_residual_abs": np.abs(hit_s).sum(1),
            "hit_residual_squared": np.square(hit_s).sum(1),
            "hit_histogram": histogram,  # hits by residual, from -tolerance to tolerance
        }

    def merge(self, other: PhaseMetrics) -> None:
        """Add the sums of another part of the same evaluation.

        Raises:
            ValueError: the two were made with different settings.
        """
        mine = (self.window_samples, self.sampling_rate_hz, self.tolerance_s)
        theirs = (other.window_samples, other.sampling_rate_hz, other.tolerance_s)
        if mine != theirs:
            raise ValueError(f"cannot merge phase metrics with settings {mine} and {theirs}")
        for name, value in other.sums.items():
            self.sums[name] = self.sums[name] + value

    def compute(self) -> dict[str, float]:
        """Return the scores as numbers; see `scores`."""
        return {name: float(value) for name, value in self.scores(self.sums).items()}

    def scores(self, sums: Mapping[str, np.ndarray]) -> Parts:
        """Turn sums over rows, with any axes in front, into scores; nan for a mean of nothing.

        precision, recall, f1: fractions. mean, std, mae, rmse: samples, over all traces, misses
        counting as zero. mape: mean of abs(residual / target), a fraction, large when a target lies
        at sample 0. mean_hit_s, std_hit_s, mae_hit_s, median_hit_s, mad_hit_s (the median distance
        from the median): seconds, over the hits. outlier_share: of predicted picks where there is
        a true one, those more than OUTLIER_S away. Positive mean or median: predictions are early.
        hits, n: number of hits and of traces.
        """
        s = {name: np.asarray(value, np.float64) for name, value in sums.items()}
        n, hits = s["rows"], s["hits"]
        mean, square = ratio(s["residual"], n), ratio(s["residual_squared"], n)
        hit_mean = ratio(s["hit_residual"], hits)
        hit_square = ratio(s["hit_residual_squared"], hits)
        median, deviation = _medians(s["hit_histogram"])
        return {
            **precision_recall_f1(hits, s["picks_predicted"], s["picks_target"], n > 0),
            "mean": mean,
            "std": root(square - mean**2),
            "mae": ratio(s["residual_abs"], n),
            "mape": ratio(s["residual_relative"], n),
            "rmse": root(square),
            "hits": hits,
            "mean_hit_s": hit_mean,
            "std_hit_s": root(hit_square - hit_mean**2),
            "mae_hit_s": ratio(s["hit_residual_abs"], hits),
            "median_hit_s": median / self.sampling_rate_hz,
            "mad_hit_s": deviation / self.sampling_rate_hz,
            "outlier_share": ratio(s["outliers"], s["pairs"]),
            "n": n,
        }

    def weighted(self, predicted: np.ndarray, target: np.ndarray) -> None:
        """No score needs more than sums."""
        del predicted, target


def is_pick(sample: np.ndarray, window_samples: int) -> np.ndarray:
    """Tell which entries are picks, that is 0 <= sample < window_samples."""
    return (sample >= 0) & (sample < window_samples)


def match(predicted: np.ndarray, target: np.ndarray, window_samples: int) -> np.ndarray:
    """Reorder each row of predicted picks to the target picks they are nearest to.

    Greedy, smallest difference first, over picks present on both sides. Unlike in the PyTorch
    original, predictions without a partner keep their value in the slots left over.

    Args:
        predicted: (batch, slots) sample indices, NO_PICK where absent.
        target: the same shape.
        window_samples: number of samples in a window.

    Returns:
        (batch, slots) integers: each row of `predicted` in a new order.
    """
    batch, slots = target.shape
    row = np.arange(batch)
    pairs = (
        is_pick(target, window_samples)[:, :, None] & is_pick(predicted, window_samples)[:, None]
    )
    difference = np.abs(target[:, :, None] - predicted[:, None, :]).astype(np.float64)
    difference[~pairs] = np.inf  # (batch, target slot, predicted slot)
    order = np.full((batch, slots), -1)  # which prediction goes into which slot
    for _ in range(slots):
        best = difference.reshape(batch, slots * slots).argmin(1)
        to, taken = best // slots, best % slots
        found = np.isfinite(difference[row, to, taken])
        order[row[found], to[found]] = taken[found]
        difference[row[found], to[found], :] = np.inf
        difference[row[found], :, taken[found]] = np.inf
    used = np.zeros((batch, slots), bool)
    used[np.nonzero(order >= 0)[0], order[order >= 0]] = True
    unused = np.argsort(used, 1, kind="stable")  # the unused ones first, in their order
    empty = order < 0
    rank = np.cumsum(empty, 1) - 1
    order = np.where(empty, np.take_along_axis(unused, np.maximum(rank, 0), 1), order)
    return np.take_along_axis(predicted, order, 1)


def precision_recall_f1(
    hits: Any, predicted: Any, target: Any, any_rows: Any = True
) -> dict[str, np.ndarray]:
    """Ratios with the original's guard of 1e-6 in each denominator; nan without any rows.

    Arguments are numbers, or arrays that broadcast.
    """
    hits = np.where(any_rows, np.asarray(hits, np.float64), np.nan)
    precision, recall = hits / (predicted + EPSILON), hits / (target + EPSILON)
    f1 = 2 * precision * recall / (precision + recall + EPSILON)
    return {"precision": precision, "recall": recall, "f1": f1}


def _rows(
    predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as (rows, slots), masked rows left out."""
    predicted, target = np.asarray(predicted), np.asarray(target)
    if predicted.shape != target.shape or target.ndim not in (1, 2):
        raise ValueError(
            f"predicted {predicted.shape} and target {target.shape} must have one shape, "
            "(batch,) or (batch, slots)"
        )
    if target.ndim == 1:
        predicted, target = predicted[:, None], target[:, None]
    if mask is None:
        return predicted, target
    keep = np.asarray(mask, bool)
    if keep.shape != (len(target),):
        raise ValueError(f"mask has shape {keep.shape}, the batch has {len(target)} rows")
    return predicted[keep], target[keep]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient; nan where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    nothing = np.full(shape, np.nan)
    return np.divide(numerator, denominator, out=nothing, where=np.not_equal(denominator, 0))


def root(square: np.ndarray) -> np.ndarray:
    """Square root; a variance that rounding has pushed below zero counts as zero."""
    return np.sqrt(np.where(square < 0, 0.0, square))


def total(parts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Sums over rows, in float64."""
    return {name: value.sum(0, dtype=np.float64) for name, value in parts.items()}


def _medians(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and median distance from it, in samples, of counts (..., 2 * tolerance + 1)."""
    reach = (histogram.shape[-1] - 1) // 2
    value = np.broadcast_to(np.arange(-reach, reach + 1.0), histogram.shape)
    median = _middle(value, histogram)
    distance = np.abs(value - median[..., None])
    order = np.argsort(distance, -1)
    ordered = np.take_along_axis(histogram, order, -1)
    return median, _middle(np.take_along_axis(distance, order, -1), ordered)


def _middle(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Median of ascending values that occur `count` times; nan if none does."""
    reached = np.cumsum(count, -1)
    total = reached[..., -1:]
    lower, upper = np.floor((total - 1) / 2) + 1, np.floor(total / 2) + 1  # which ones, from 1
    places = [(reached < which).sum(-1, keepdims=True) for which in (lower, upper)]
    places = [np.minimum(place, value.shape[-1] - 1) for place in places]
    low, high = (np.take_along_axis(value, place, -1)[..., 0] for place in places)
    return np.where(total[..., 0] > 0, (low + high) / 2, np.nan)
