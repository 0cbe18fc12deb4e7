"""Scores of a classification (first-motion polarity), from a summed confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from seismollm_jax.metrics.phases import Parts, precision_recall_f1, ratio
from seismollm_jax.metrics.ranking import Ranking


@dataclass
class ClassMetrics:
    """Macro-averaged precision, recall and f1, accuracy, areas under ROC and PR curves.

    Args:
        classes: number of classes.
    """

    headline: ClassVar[tuple[str, ...]] = ("precision", "recall", "f1", "accuracy")

    classes: int
    missing: int = 0
    confusion: np.ndarray = field(init=False)  # (target class, predicted class) counts
    invalid: np.ndarray = field(init=False)  # (target class,) rows whose scores hold a nan
    predicted: list[np.ndarray] = field(default_factory=list)
    targets: list[np.ndarray] = field(default_factory=list)

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
        predicted, target = self._checked(predicted, target)
        if mask is not None:
            keep = np.asarray(mask, bool)
            if keep.shape != target.shape:
                raise ValueError(f"mask has shape {keep.shape}, the batch has {len(target)} rows")
            predicted, target = predicted[keep], target[keep]
        sums = {name: part.sum(0, dtype=np.int64) for name, part in self._parts(predicted, target)}
        self.confusion += sums["confusion"].reshape(self.confusion.shape)
        self.invalid += sums["invalid"]
        self.missing += int(sums["missing"])
        self.predicted.append(predicted)
        self.targets.append(target)

    def parts(self, predicted: np.ndarray, target: np.ndarray) -> Parts:
        """What each row adds: its place in the confusion matrix, row by row, and more."""
        return dict(self._parts(*self._checked(predicted, target)))

    def merge(self, other: ClassMetrics) -> None:
        """Add the counts of another part of the same evaluation."""
        if self.classes != other.classes:
            raise ValueError(f"cannot merge metrics of {self.classes} and {other.classes} classes")
        self.missing += other.missing
        self.confusion += other.confusion
        self.invalid += other.invalid
        self.predicted += other.predicted
        self.targets += other.targets

    def compute(self) -> dict[str, float]:
        """Return the scores as numbers; see `scores` and `weighted`."""
        scores = self.scores(
            {
                "confusion": self.confusion.reshape(-1),
                "invalid": self.invalid,
                "missing": np.array(self.missing),
            }
        )
        predicted = np.concatenate([np.zeros((0, self.classes), np.float32), *self.predicted])
        target = np.concatenate([np.zeros(0, np.int64), *self.targets])
        areas = self.weighted(predicted, target)(np.ones(len(target)))
        return {**{name: float(value) for name, value in scores.items()}, **areas}

    def scores(self, sums: Mapping[str, Any]) -> Parts:
        """Turn summed parts, with any axes in front, into scores.

        Precision, recall and f1 are taken for each class alone and then averaged; an absent class
        counts as 0. Scores are nan without any labelled row.
        """
        confusion = np.asarray(sums["confusion"], np.float64)
        confusion = confusion.reshape(*confusion.shape[:-1], self.classes, self.classes)
        invalid = np.asarray(sums["invalid"], np.float64)
        right = np.diagonal(confusion, axis1=-2, axis2=-1)
        predicted, target = confusion.sum(-2), confusion.sum(-1) + invalid
        n = target.sum(-1)
        each = precision_recall_f1(right, predicted, target, n[..., None] > 0)
        return {
            **{name: value.mean(-1) for name, value in each.items()},
            "accuracy": ratio(right.sum(-1), n),
            "n": n,
            "n_missing": np.asarray(sums["missing"], np.float64),
            "n_invalid": invalid.sum(-1),
        }

    def weighted(
        self, predicted: np.ndarray, target: np.ndarray
    ) -> Callable[[np.ndarray], dict[str, float]]:
        """Scores that need the order of all rows, of how often each counts, (rows,).

        roc_auc, average_precision: areas under the curves of each class against the others,
        averaged; nan if a class does not occur. Rows without a label or with a nan are left out.
        Arguments as of `update`.
        """
        predicted, target = self._checked(predicted, target)
        kept = (target >= 0) & ~np.isnan(predicted).any(1)
        predicted, target = predicted[kept], target[kept]
        rankings = [
            Ranking(predicted[:, number], target == number) for number in range(self.classes)
        ]

        def scores(weights: np.ndarray) -> dict[str, float]:
            areas = [ranking.areas(weights[kept]) for ranking in rankings]
            roc, average = np.mean(areas, 0)
            return {"roc_auc": float(roc), "average_precision": float(average)}

        return scores

    def _checked(self, predicted: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predicted, target = np.asarray(predicted), np.asarray(target)
        if predicted.ndim != 2 or predicted.shape[1] != self.classes:
            raise ValueError(f"scores have shape {predicted.shape}, not (batch, {self.classes})")
        if target.shape == predicted.shape:
            target = target.argmax(1)
        if target.shape != (len(predicted),):
            raise ValueError(f"target has shape {target.shape}, scores {predicted.shape}")
        return predicted, target

    def _parts(self, predicted: np.ndarray, target: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        if np.any((target < -1) | (target >= self.classes)):
            raise ValueError(
                f"class numbers must lie in 0..{self.classes - 1}, or be -1 for a missing label; "
                f"found {sorted(set(target.tolist()))}"
            )
        target = target.astype(np.int64)
        row, usable = np.arange(len(target)), ~np.isnan(predicted).any(1)
        labelled, broken = (target >= 0) & usable, (target >= 0) & ~usable
        confusion = np.zeros((len(target), self.classes**2), np.uint8)
        said = predicted.argmax(1) if len(predicted) else target
        confusion[row[labelled], (target * self.classes + said)[labelled]] = 1
        invalid = np.zeros((len(target), self.classes), np.uint8)
        invalid[row[broken], target[broken]] = 1
        yield "confusion", confusion
        yield "invalid", invalid
        yield "missing", (target < 0).astype(np.uint8)
