"""Scores of a classification (first-motion polarity), from a summed confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seismollm_jax.metrics.phases import precision_recall_f1


@dataclass
class ClassMetrics:
    """Macro-averaged precision, recall and f1, and accuracy.

    Args:
        classes: number of classes.
    """

    classes: int
    missing: int = 0
    confusion: np.ndarray = field(init=False)  # (target class, predicted class) counts
    invalid: np.ndarray = field(init=False)  # (target class,) rows whose scores hold a nan

    def __post_init__(self) -> None:
        """Start from zero counts."""
        self.confusion = np.zeros((self.classes, self.classes), np.int64)
        self.invalid = np.zeros(self.classes, np.int64)

    def update(
        self, predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None
    ) -> None:
        """Add a batch.

        Args:
            predicted: (batch, classes) scores or probabilities; the largest entry decides, the
                first of equal ones. Rows with a nan count as wrong for every class (`n_invalid`).
            target: (batch,) class numbers, -1 where the label is missing (left out and counted as
                `n_missing`), or (batch, classes) one-hot rows.
            mask: (batch,) false for rows to leave out, such as padding.

        Raises:
            ValueError: wrong shapes, or a class number out of range.
        """
        predicted, target = np.asarray(predicted), np.asarray(target)
        if predicted.ndim != 2 or predicted.shape[1] != self.classes:
            raise ValueError(f"scores have shape {predicted.shape}, not (batch, {self.classes})")
        if target.shape == predicted.shape:
            target = target.argmax(1)
        if target.shape != (len(predicted),):
            raise ValueError(f"target has shape {target.shape}, scores {predicted.shape}")
        if mask is not None:
            keep = np.asarray(mask, bool)
            if keep.shape != target.shape:
                raise ValueError(f"mask has shape {keep.shape}, the batch has {len(target)} rows")
            predicted, target = predicted[keep], target[keep]
        if np.any((target < -1) | (target >= self.classes)):
            raise ValueError(
                f"class numbers must lie in 0..{self.classes - 1}, or be -1 for a missing label; "
                f"found {sorted(set(target.tolist()))}"
            )
        labelled = target >= 0
        self.missing += int((~labelled).sum())
        predicted, target = predicted[labelled], target[labelled].astype(np.int64)
        usable = ~np.isnan(predicted).any(1)
        np.add.at(self.confusion, (target[usable], predicted[usable].argmax(1)), 1)
        np.add.at(self.invalid, target[~usable], 1)

    def merge(self, other: ClassMetrics) -> None:
        """Add the counts of another part of the same evaluation."""
        if self.classes != other.classes:
            raise ValueError(f"cannot merge metrics of {self.classes} and {other.classes} classes")
        self.missing += other.missing
        self.confusion += other.confusion
        self.invalid += other.invalid

    def compute(self) -> dict[str, float]:
        """Return precision, recall, f1, accuracy, n, n_missing and n_invalid.

        Precision, recall and f1 are taken for each class alone and then averaged; an absent class
        counts as 0. Scores are nan without any labelled row.
        """
        n = int(self.confusion.sum() + self.invalid.sum())
        right = self.confusion.diagonal()
        predicted, target = self.confusion.sum(0), self.confusion.sum(1) + self.invalid
        each = [
            precision_recall_f1(float(h), float(p), float(t), n > 0)
            for h, p, t in zip(right, predicted, target, strict=True)
        ]
        return {
            **{name: float(np.mean([one[name] for one in each])) for name in each[0]},
            "accuracy": float(right.sum()) / n if n else float("nan"),
            "n": float(n),
            "n_missing": float(self.missing),
            "n_invalid": float(self.invalid.sum()),
        }
