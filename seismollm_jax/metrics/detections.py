"""Scores of event detection, counted in samples and summed over batches in float64.

Definitions follow the PyTorch original: a sample counts as found where a predicted range and a true
one cover it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from seismollm_jax.metrics.phases import Parts, precision_recall_f1, total


@dataclass
class DetectionMetrics:
    """Scores of event detection, counted in samples.

    Args:
        window_samples: number of samples in a window; ranges are clipped to it.
    """

    headline: ClassVar[tuple[str, ...]] = ("precision", "recall", "f1")

    window_samples: int
    sums: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Start from zero."""
        self.sums = total(self.parts(*[np.zeros((0, 2), np.int64)] * 2))

    def update(
        self, predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None
    ) -> None:
        """Add a batch of ranges (batch, 2 * slots): first and last sample, inclusive, flattened.

        A range whose last sample lies before its first is empty; overlapping ranges count once. The
        two sides may have different numbers of slots. Rows where `mask` (batch,) is false are left
        out.

        Raises:
            ValueError: an odd number of columns, or batch sizes that differ.
        """
        parts = self.parts(predicted, target)
        kept = slice(None) if mask is None else np.asarray(mask, bool)
        for name, value in total({name: part[kept] for name, part in parts.items()}).items():
            self.sums[name] = self.sums[name] + value

    def parts(self, predicted: np.ndarray, target: np.ndarray) -> Parts:
        """What each row adds to the sums, (rows,)."""
        found, true = (self._pieces(side) for side in (predicted, target))
        if len(found) != len(true):
            raise ValueError(f"{len(found)} rows of predicted ranges and {len(true)} of true ones")
        first = np.maximum(found[:, :, None, 0], true[:, None, :, 0])  # (rows, predicted, true)
        end = np.minimum(found[:, :, None, 1], true[:, None, :, 1])
        return {
            "rows": np.ones(len(true), np.int64),
            "both": np.maximum(end - first, 0).sum((1, 2)),
            "predicted": (found[..., 1] - found[..., 0]).sum(1),
            "target": (true[..., 1] - true[..., 0]).sum(1),
        }

    def _pieces(self, ranges: np.ndarray) -> np.ndarray:
        """Ranges without overlaps, (rows, slots, 2): first sample, and the one behind the last."""
        ranges = np.asarray(ranges)
        if ranges.ndim != 2 or ranges.shape[1] % 2:
            raise ValueError(
                f"detection ranges have shape {ranges.shape}; give (batch, 2 * slots) with the "
                "first and last sample of each range side by side"
            )
        pieces = ranges.reshape(len(ranges), ranges.shape[1] // 2, 2) + np.array([0, 1])
        pieces = np.clip(pieces, 0, self.window_samples)
        pieces[..., 1] = pieces.max(2)  # what ends before it begins is empty
        order = np.argsort(pieces[..., 0], 1, kind="stable")
        pieces = np.take_along_axis(pieces, order[..., None], 1)
        reached = np.maximum.accumulate(pieces[..., 1], 1)
        pieces[:, 1:] = np.maximum(pieces[:, 1:], reached[:, :-1, None])
        return pieces

    def merge(self, other: DetectionMetrics) -> None:
        """Add the sums of another part of the same evaluation.

        Raises:
            ValueError: windows of another length.
        """
        if self.window_samples != other.window_samples:
            raise ValueError(
                "cannot merge detection metrics of windows of "
                f"{self.window_samples} and {other.window_samples} samples"
            )
        for name, value in other.sums.items():
            self.sums[name] = self.sums[name] + value

    def compute(self) -> dict[str, float]:
        """Return the scores as numbers; see `scores`."""
        return {name: float(value) for name, value in self.scores(self.sums).items()}

    def scores(self, sums: Mapping[str, np.ndarray]) -> Parts:
        """Precision, recall and f1 over samples, and n, the number of traces."""
        s = {name: np.asarray(value, np.float64) for name, value in sums.items()}
        ratios = precision_recall_f1(s["both"], s["predicted"], s["target"], s["rows"] > 0)
        return {**ratios, "n": s["rows"]}

    def weighted(self, predicted: np.ndarray, target: np.ndarray) -> None:
        """No score needs more than sums."""
        del predicted, target
