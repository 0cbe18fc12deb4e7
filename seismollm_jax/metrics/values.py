"""Errors of a predicted quantity (magnitude, distance, back azimuth), in float64.

Residuals are target minus prediction, in the unit of the quantity. Definitions follow the PyTorch
original, including its wrap of angular residuals and its 1e-6 in the denominator of r2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

EPSILON = 1e-6


@dataclass
class ValueMetrics:
    """Mean, spread and coefficient of determination of one quantity.

    Args:
        circular: the quantity is an angle in degrees; residuals are wrapped to [-180, 180].
    """

    circular: bool = False
    missing: int = 0
    residuals: list[np.ndarray] = field(default_factory=list)
    targets: list[np.ndarray] = field(default_factory=list)

    def update(
        self, predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None
    ) -> None:
        """Add a batch of values, (batch,) or (batch, 1), the same number on both sides.

        Rows where `mask` (batch,) is false are left out. Rows whose target is nan carry no label:
        they are left out and counted as `n_missing`. A nan prediction makes the scores nan.

        Raises:
            ValueError: sizes differ, or more than one value a row.
        """
        predicted, target = np.asarray(predicted), np.asarray(target)
        sizes = {predicted.size, target.size, *predicted.shape[:1], *target.shape[:1]}
        if len(sizes) != 1 or not (predicted.ndim and target.ndim):
            raise ValueError(
                f"predicted {predicted.shape} and target {target.shape} must be (batch,) or "
                "(batch, 1) with the same batch"
            )
        predicted = predicted.astype(np.float64).reshape(-1)
        target = target.astype(np.float64).reshape(-1)
        if mask is not None:
            keep = np.asarray(mask, bool)
            if keep.shape != target.shape:
                raise ValueError(f"mask has shape {keep.shape}, the batch has {len(target)} rows")
            predicted, target = predicted[keep], target[keep]
        labelled = ~np.isnan(target)
        self.missing += int((~labelled).sum())
        difference = target[labelled] - predicted[labelled]
        self.residuals.append(wrap_degrees(difference) if self.circular else difference)
        self.targets.append(target[labelled])

    def merge(self, other: ValueMetrics) -> None:
        """Add another part of the same evaluation.

        Raises:
            ValueError: one is circular, the other is not.
        """
        if self.circular != other.circular:
            raise ValueError("cannot merge metrics of an angle with those of a plain quantity")
        self.missing += other.missing
        self.residuals += other.residuals
        self.targets += other.targets

    def compute(self) -> dict[str, float]:
        """Return mean, std, mae, rmse (unit of the quantity), r2, n, n_missing; nan if empty.

        For an angle, r2 centres the targets on their arithmetic mean as the original does, which
        depends on where 0 degrees lies; r2_circular centres them on the circular mean.
        """
        residual = np.concatenate(self.residuals or [np.zeros(0)])
        target = np.concatenate(self.targets or [np.zeros(0)])
        names = ["mean", "std", "mae", "rmse", "r2"] + ["r2_circular"] * self.circular
        counts = {"n": float(len(target)), "n_missing": float(self.missing)}
        if not len(target):
            return {**dict.fromkeys(names, float("nan")), **counts}
        scores = {
            "mean": float(residual.mean()),
            "std": float(residual.std()),
            "mae": float(np.abs(residual).mean()),
            "rmse": float(np.sqrt(np.square(residual).mean())),
            "r2": self._r2(residual, target - target.mean()),
        }
        if self.circular:
            scores["r2_circular"] = self._r2(residual, target - circular_mean_degrees(target))
        return {**scores, **counts}

    def _r2(self, residual: np.ndarray, deviation: np.ndarray) -> float:
        if self.circular:
            deviation = wrap_degrees(deviation)
        return float(1 - np.square(residual).sum() / (np.square(deviation).sum() + EPSILON))


def wrap_degrees(difference: np.ndarray) -> np.ndarray:
    """Wrap differences of angles, degrees in [-540, 540], to [-180, 180]; 180 keeps its sign."""
    wrapped = -np.sign(difference) * (360 - np.abs(difference))
    return np.where(np.abs(difference) > 180, wrapped, difference)


def circular_mean_degrees(angle: np.ndarray) -> float:
    """Direction of the mean unit vector, degrees in [0, 360).

    Of angles that cancel each other (no preferred direction) the result is arbitrary but finite.
    """
    radians = np.deg2rad(angle)
    return float(np.rad2deg(np.arctan2(np.sin(radians).sum(), np.cos(radians).sum())) % 360)
