"""Errors of a predicted quantity (magnitude, distance, back azimuth), in float64.

Residuals are target minus prediction, in the unit of the quantity. Definitions follow the PyTorch
original, including its wrap of angular residuals and its 1e-6 in the denominator of r2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seismollm_jax.metrics.phases import Parts, ratio, root

EPSILON = 1e-6


@dataclass
class ValueMetrics:
    """Mean, spread and coefficient of determination of one quantity.

    Args:
        circular: the quantity is an angle in degrees; residuals are wrapped to [-180, 180].
    """

    headline: ClassVar[tuple[str, ...]] = ("mean", "std", "mae", "r2")

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
        predicted, target = _checked(predicted, target)
        if mask is not None:
            keep = np.asarray(mask, bool)
            if keep.shape != target.shape:
                raise ValueError(f"mask has shape {keep.shape}, the batch has {len(target)} rows")
            predicted, target = predicted[keep], target[keep]
        labelled = ~np.isnan(target)
        self.missing += int((~labelled).sum())
        self.residuals.append(self._residual(predicted[labelled], target[labelled]))
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
        depends on where 0 degrees lies; r2_circular centres them on the circular mean. Its
        circular_mean and circular_std are those of the residuals on the circle, in degrees, where
        mean and std treat wrapped residuals as plain numbers.
        """
        residual = np.concatenate(self.residuals or [np.zeros(0)])
        target = np.concatenate(self.targets or [np.zeros(0)])
        if not len(target):
            residual, target = np.full(1, np.nan), np.full(1, np.nan)
        r2 = {"r2": self._r2(residual, target - target.mean())}
        around = {}
        if self.circular:
            r2["r2_circular"] = self._r2(residual, target - circular_mean_degrees(target))
            around = _on_circle(_circle_parts(residual), np.array(float(len(residual))))
        scores = {
            "mean": residual.mean(),
            "std": residual.std(),
            "mae": np.abs(residual).mean(),
            "rmse": np.sqrt(np.square(residual).mean()),
            **r2,
            **around,
        }
        counts = {"n": float(sum(map(len, self.targets))), "n_missing": float(self.missing)}
        return {**{name: float(value) for name, value in scores.items()}, **counts}

    def parts(self, predicted: np.ndarray, target: np.ndarray) -> Parts:
        """What each row adds to the sums of `scores`, (rows,); nothing where the label is nan."""
        predicted, target = _checked(predicted, target)
        labelled = ~np.isnan(target)
        target = np.where(labelled, target, 0)
        residual = np.where(labelled, self._residual(predicted, target), 0)
        found = {
            "rows": labelled.astype(np.uint8),
            "missing": (~labelled).astype(np.uint8),
            "residual": residual,
            "residual_abs": np.abs(residual),
            "residual_squared": np.square(residual),
        }
        if self.circular:
            sine, cosine = np.sin(np.deg2rad(residual)), np.cos(np.deg2rad(residual))
            return {**found, "sine": sine, "cosine": np.where(labelled, cosine, 0)}
        return {**found, "target": target, "target_squared": np.square(target)}

    def scores(self, sums: Mapping[str, np.ndarray]) -> Parts:
        """As `compute`, out of summed parts with any axes in front; of an angle without the r2."""
        s = {name: np.asarray(value, np.float64) for name, value in sums.items()}
        n = s["rows"]
        mean, square = ratio(s["residual"], n), ratio(s["residual_squared"], n)
        found = {
            "mean": mean,
            "std": root(square - mean**2),
            "mae": ratio(s["residual_abs"], n),
            "rmse": root(square),
        }
        if self.circular:
            found |= _on_circle({"sine": s["sine"], "cosine": s["cosine"]}, n)
        else:
            spread = s["target_squared"] - n * ratio(s["target"], n) ** 2
            found["r2"] = 1 - s["residual_squared"] / (np.maximum(spread, 0) + EPSILON)
        return {**found, "n": n, "n_missing": s["missing"]}

    def weighted(
        self, predicted: np.ndarray, target: np.ndarray
    ) -> Callable[[np.ndarray], dict[str, float]] | None:
        """r2 and r2_circular of an angle, which wrap around a mean, of how often each row counts.

        Arguments as of `update`. None for a plain quantity.
        """
        if not self.circular:
            return None
        predicted, target = _checked(predicted, target)
        labelled = ~np.isnan(target)
        predicted, target = predicted[labelled], target[labelled]
        squares = np.square(self._residual(predicted, target))
        sine, cosine = np.sin(np.deg2rad(target)), np.cos(np.deg2rad(target))

        def scores(weights: np.ndarray) -> dict[str, float]:
            weights = weights[labelled].astype(np.float64)
            total = weights.sum()
            centres = {
                "r2": _dot(weights, target) / total if total else np.nan,
                "r2_circular": np.rad2deg(np.arctan2(_dot(weights, sine), _dot(weights, cosine))),
            }
            found = {}
            for name, centre in centres.items():
                deviation = target - centre
                deviation -= 360 * np.rint(deviation / 360)
                spread = _dot(weights, np.square(deviation))
                found[name] = float(1 - _dot(weights, squares) / (spread + EPSILON))
            return found

        return scores

    def _residual(self, predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
        return wrap_degrees(target - predicted) if self.circular else target - predicted

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


def _dot(one: np.ndarray, two: np.ndarray) -> np.floating:
    """Scalar product without BLAS, whose threads wait for each other on a busy machine."""
    return np.einsum("i,i->", one, two)


def _checked(predicted: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as (rows,) float64."""
    predicted, target = np.asarray(predicted), np.asarray(target)
    sizes = {predicted.size, target.size, *predicted.shape[:1], *target.shape[:1]}
    if len(sizes) != 1 or not (predicted.ndim and target.ndim):
        raise ValueError(
            f"predicted {predicted.shape} and target {target.shape} must be (batch,) or "
            "(batch, 1) with the same batch"
        )
    return predicted.astype(np.float64).reshape(-1), target.astype(np.float64).reshape(-1)


def _circle_parts(residual: np.ndarray) -> Parts:
    radians = np.deg2rad(residual)
    return {"sine": np.sin(radians).sum(), "cosine": np.cos(radians).sum()}


def _on_circle(sums: Mapping[str, np.ndarray], n: np.ndarray) -> Parts:
    """Direction and spread of angles of which the unit vectors are summed, in degrees."""
    sine, cosine = ratio(sums["sine"], n), ratio(sums["cosine"], n)
    length = np.minimum(np.hypot(sine, cosine), 1)
    with np.errstate(divide="ignore"):  # angles that cancel have no direction and endless spread
        spread = np.sqrt(-2 * np.log(length))
    return {
        "circular_mean": np.rad2deg(np.arctan2(sine, cosine)),
        "circular_std": np.rad2deg(spread),
    }
