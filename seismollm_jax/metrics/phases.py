"""Phase-pick and event-detection scores, summed over batches in float64.

A pick is an integer sample index in a window; :data:`NO_PICK` fills the slots of rows with fewer
picks. Definitions follow the PyTorch original so that numbers can be compared with published ones:
residuals are target minus prediction in samples, and averages run over *all* traces, a miss
counting as zero error. The ``*_hit_s`` figures average over the hits alone, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

NO_PICK = -10_000_000
"""Marks an absent pick in integer arrays; far outside any window, as in the PyTorch original."""

EPSILON = 1e-6  # the original's guard against division by zero; part of the published numbers

_SUMS = [
    "rows",
    "picks_predicted",
    "picks_target",
    "hits",
    "residual",
    "residual_abs",
    "residual_squared",
    "residual_relative",
    "hit_residual",
    "hit_residual_abs",
    "hit_residual_squared",
]


@dataclass
class PhaseMetrics:
    """Scores of one phase (P or S).

    Args:
        window_samples: number of samples in a window; picks outside [0, window_samples) are absent.
        sampling_rate_hz: converts the tolerance to samples and hit residuals to seconds.
        tolerance_s: largest residual of a hit, inclusive; truncated to whole samples.
    """

    window_samples: int
    sampling_rate_hz: float
    tolerance_s: float = 0.1
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0.0))

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
        predicted, target = _rows(predicted, target, mask)
        if target.shape[1] > 1:
            predicted = match(predicted, target, self.window_samples)
        has_prediction = is_pick(predicted, self.window_samples)
        has_target = is_pick(target, self.window_samples)
        residual = np.where(has_prediction & has_target, target - predicted, 0)
        hit = has_prediction & has_target & (np.abs(residual) <= self.tolerance_samples)
        residual = np.where(hit, residual, 0).astype(np.float64)  # (batch, slots)
        relative = np.abs(residual / (target + EPSILON))
        hit_s = residual[hit] / self.sampling_rate_hz
        batch = {
            "rows": len(target),
            "picks_predicted": has_prediction.sum(),
            "picks_target": has_target.sum(),
            "hits": hit.sum(),
            "residual": residual.mean(1).sum(),
            "residual_abs": np.abs(residual).mean(1).sum(),
            "residual_squared": np.square(residual).mean(1).sum(),
            "residual_relative": relative.mean(1).sum(),
            "hit_residual": hit_s.sum(),
            "hit_residual_abs": np.abs(hit_s).sum(),
            "hit_residual_squared": np.square(hit_s).sum(),
        }
        for name, value in batch.items():
            self.sums[name] += float(value)

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
            self.sums[name] += value

    def compute(self) -> dict[str, float]:
        """Return the scores; nan where there is nothing to average.

        precision, recall, f1: fractions. mean, std, mae, rmse: samples, over all traces, misses
        counting as zero. mape: mean of abs(residual / target), a fraction, large when a target lies
        at sample 0. mean_hit_s, std_hit_s, mae_hit_s: seconds, over the hits. Positive mean:
        predictions are early. hits, n: number of hits and of traces.
        """
        s = self.sums
        n, hits = s["rows"], s["hits"]
        scores = precision_recall_f1(hits, s["picks_predicted"], s["picks_target"], n > 0)
        mean, square = _ratio(s["residual"], n), _ratio(s["residual_squared"], n)
        hit_mean = _ratio(s["hit_residual"], hits)
        hit_square = _ratio(s["hit_residual_squared"], hits)
        return {
            **scores,
            "mean": mean,
            "std": _root(square - mean**2),
            "mae": _ratio(s["residual_abs"], n),
            "mape": _ratio(s["residual_relative"], n),
            "rmse": _root(square),
            "hits": hits,
            "mean_hit_s": hit_mean,
            "std_hit_s": _root(hit_square - hit_mean**2),
            "mae_hit_s": _ratio(s["hit_residual_abs"], hits),
            "n": n,
        }


@dataclass
class DetectionMetrics:
    """Scores of event detection, counted in samples.

    Args:
        window_samples: number of samples in a window; ranges are clipped to it.
    """

    window_samples: int
    rows: float = 0.0
    both: float = 0.0
    predicted: float = 0.0
    target: float = 0.0

    def update(
        self, predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None
    ) -> None:
        """Add a batch of ranges (batch, 2 * slots): first and last sample, inclusive, flattened.

        A range whose last sample lies before its first is empty; overlapping ranges count once.

        Raises:
            ValueError: an odd number of columns, or batch sizes that differ.
        """
        marked_predicted = mark_ranges(predicted, self.window_samples)
        marked_target = mark_ranges(target, self.window_samples)
        marked_predicted, marked_target = _rows(marked_predicted, marked_target, mask)
        self.rows += len(marked_target)
        self.both += float((marked_predicted & marked_target).sum())
        self.predicted += float(marked_predicted.sum())
        self.target += float(marked_target.sum())

    def merge(self, other: DetectionMetrics) -> None:
        """Add the sums of another part of the same evaluation."""
        if self.window_samples != other.window_samples:
            raise ValueError(
                "cannot merge detection metrics of windows of "
                f"{self.window_samples} and {other.window_samples} samples"
            )
        self.rows += other.rows
        self.both += other.both
        self.predicted += other.predicted
        self.target += other.target

    def compute(self) -> dict[str, float]:
        """Return precision, recall and f1 over samples, and n, the number of traces."""
        scores = precision_recall_f1(self.both, self.predicted, self.target, self.rows > 0)
        return {**scores, "n": self.rows}


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
    for i in np.flatnonzero((order < 0).any(1)):
        order[i, order[i] < 0] = np.setdiff1d(np.arange(slots), order[i])
    return np.take_along_axis(predicted, order, 1)


def mark_ranges(ranges: np.ndarray, window_samples: int) -> np.ndarray:
    """Turn inclusive sample ranges (batch, 2 * slots) into a boolean (batch, window_samples)."""
    ranges = np.asarray(ranges)
    if ranges.ndim != 2 or ranges.shape[1] % 2:
        raise ValueError(
            f"detection ranges have shape {ranges.shape}; give (batch, 2 * slots) with the first "
            "and last sample of each range side by side"
        )
    first = np.clip(ranges[:, 0::2], 0, window_samples)
    end = np.clip(ranges[:, 1::2] + 1, first, window_samples)  # equal to first: empty
    edges = np.zeros((len(ranges), window_samples + 1), np.int64)
    row = np.broadcast_to(np.arange(len(ranges))[:, None], first.shape)
    np.add.at(edges, (row, first), 1)
    np.add.at(edges, (row, end), -1)
    return edges.cumsum(1)[:, :-1] > 0


def precision_recall_f1(
    hits: float, predicted: float, target: float, any_rows: bool = True
) -> dict[str, float]:
    """Ratios with the original's guard of 1e-6 in each denominator; nan without any rows."""
    if not any_rows:
        return dict.fromkeys(("precision", "recall", "f1"), float("nan"))
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


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")


def _root(square: float) -> float:
    """Square root; a variance that rounding has pushed below zero counts as zero."""
    return float(np.sqrt(max(square, 0.0))) if square == square else float("nan")
