"""Pictures of an evaluation: scatter, directions, classes, training; and those of picks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from seismollm_jax.evaluation.canvas import (
    COLOURS,
    OTHER_COLOUR,
    Target,
    new_figure,
    text_box,
)
from seismollm_jax.evaluation.pick_figures import Window, example_windows, phase_residuals

__all__ = [
    "Window",
    "confusion",
    "direction_errors",
    "directions",
    "example_windows",
    "phase_residuals",
    "polar_back_azimuth",
    "training_curve",
    "true_against_predicted",
]

PALETTE = (COLOURS["P"], COLOURS["S"], OTHER_COLOUR, "#8a5aa8", "#c98a1b", "#444444")


FEW = 500  # pairs that can be drawn as points


def true_against_predicted(
    true: np.ndarray, predicted: np.ndarray, unit: str, path: Target, name: str = ""
) -> None:
    """Draw predictions over true values as a density, with the line of perfect prediction.

    Args:
        true: (n,) catalogue values.
        predicted: (n,) the model's.
        unit: such as "km"; empty for magnitudes.
        path: image file.
        name: the quantity, for the axes.
    """
    true, predicted = _pairs(true, predicted)
    dense = len(true) > FEW
    figure = new_figure(5.6 if dense else 4.8, 4.6)
    axis = figure.add_subplot()
    label = (name + " " if name else "") + (f"({unit})" if unit else "")
    axis.set_xlabel(f"true {label}".strip())
    axis.set_ylabel(f"predicted {label}".strip())
    axis.spines[["top", "right"]].set_visible(False)
    if len(true):
        both = np.concatenate([true, predicted])
        low, high = both.min(), both.max()
        margin = 0.03 * (high - low) or 0.5
        low, high = low - margin, high + margin
        if dense:
            bins = np.linspace(low, high, 81)
            *_, image = axis.hist2d(true, predicted, bins, norm=LogNorm(), cmap="viridis", cmin=1)
            figure.colorbar(image, ax=axis, label="traces", pad=0.02)
        else:
            axis.plot(true, predicted, "o", ms=4, color=COLOURS["P"], alpha=0.6, mec="none")
        axis.plot([low, high], [low, high], color=COLOURS["S"], lw=1.2)
        axis.set_xlim(low, high)
        axis.set_ylim(low, high)
        axis.set_aspect("equal")
        error = predicted - true
        suffix = f" {unit}" if unit else ""
        lines = [
            f"n {len(true):,}",
            f"mean error {error.mean():+.3g}{suffix}",
            f"std {error.std():.3g}{suffix}",
            f"MAE {np.abs(error).mean():.3g}{suffix}",
        ]
        if np.ptp(true) > 0:
            r2 = 1 - np.square(error).sum() / np.square(true - true.mean()).sum()
            lines.append(f"R² {r2:.3f}")
        text_box(axis, "\n".join(lines))
    else:
        text_box(axis, "no values")
    figure.savefig(path)


def polar_back_azimuth(true: np.ndarray, predicted: np.ndarray, path: Target) -> None:
    """Draw how true and predicted back azimuths are distributed, and the error between them.

    Args:
        true: (n,) degrees clockwise from north.
        predicted: (n,) degrees, any turn.
        path: image file.
    """
    true, predicted = _pairs(true, predicted)
    figure = new_figure(9.4, 4.7)
    left, right = figure.subplots(1, 2, subplot_kw={"projection": "polar"})
    _directions(left, true, predicted)
    figure.supxlabel(_direction_errors(right, true, predicted), fontsize=10)
    figure.savefig(path)


def directions(true: np.ndarray, predicted: np.ndarray, path: Target) -> None:
    """Draw the left half of `polar_back_azimuth`, with the same arguments."""
    figure = new_figure(4.8, 4.9)
    _directions(figure.add_subplot(projection="polar"), *_pairs(true, predicted))
    figure.savefig(path)


def direction_errors(true: np.ndarray, predicted: np.ndarray, path: Target) -> None:
    """Draw the right half of `polar_back_azimuth`, with the same arguments."""
    figure = new_figure(4.8, 4.9)
    axis = figure.add_subplot(projection="polar")
    text = _direction_errors(axis, *_pairs(true, predicted))
    figure.supxlabel(text.replace("    within", "\nwithin"), fontsize=10)
    figure.savefig(path)


SECTORS = np.deg2rad(np.arange(0, 361, 10))


def _directions(axis: Any, true: np.ndarray, predicted: np.ndarray) -> None:
    """Both distributions as sectors, north up."""
    centre, width = (SECTORS[:-1] + SECTORS[1:]) / 2, SECTORS[1]
    for values, style in (
        (true, {"color": "#bbbbbb", "label": "true"}),
        (predicted, {"fill": False, "edgecolor": COLOURS["P"], "lw": 1.4, "label": "predicted"}),
    ):
        axis.bar(centre, np.histogram(np.deg2rad(values % 360), SECTORS)[0], width, **style)
    axis.set_title("back azimuth (traces)", fontsize=11, fontweight="bold", pad=14)
    axis.legend(loc="lower left", bbox_to_anchor=(-0.18, -0.1), fontsize=9, frameon=False)
    _compass(axis, ["N", "NE", "E", "SE", "S", "SW", "W", "NW"])


def _direction_errors(axis: Any, true: np.ndarray, predicted: np.ndarray) -> str:
    """Errors as sectors, none up; returns them in figures."""
    error = (predicted - true + 180) % 360 - 180
    shifted = np.deg2rad((error + 5) % 360)  # so that the first bin is centred on no error
    axis.bar(SECTORS[:-1], np.histogram(shifted, SECTORS)[0], SECTORS[1], color=COLOURS["P"],
             alpha=0.85, lw=0)  # fmt: skip
    axis.set_title("predicted - true (traces)", fontsize=11, fontweight="bold", pad=14)
    _compass(axis, ["0°", "45°", "90°", "135°", "±180°", "-135°", "-90°", "-45°"])
    size = np.abs(error)
    if not len(size):
        return "no values"
    return "    ".join(
        [
            f"n {len(size):,}",
            f"median |error| {np.median(size):.1f}°",
            f"within 30° {100 * np.mean(size <= 30):.0f} %",
            f"beyond 90° {100 * np.mean(size > 90):.0f} %",
        ]
    )


def _compass(axis: Any, names: Sequence[str]) -> None:
    """Clockwise from the top, with names at every 45 degrees."""
    axis.set_xticks(np.deg2rad(np.arange(0, 360, 45)), names)
    axis.set_theta_zero_location("N")
    axis.set_theta_direction(-1)
    axis.set_rlabel_position(112)
    axis.tick_params(labelsize=9)
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axis.grid(color="#dddddd", lw=0.6)
    axis.set_axisbelow("line")  # the counts on top of the bars


def confusion(matrix: np.ndarray, names: Sequence[str], path: Target) -> None:
    """Draw a confusion matrix with counts and shares of each true class.

    Args:
        matrix: (classes, classes) counts, rows true, columns predicted.
        names: of the classes.
        path: image file.
    """
    matrix = np.asarray(matrix)
    total = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    figure = new_figure(1.4 * len(names) + 1.2, 1.4 * len(names) + 1.2)
    axis = figure.add_subplot()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*matrix.shape):
        axis.text(
            j, i, f"{matrix[i, j]:,}\n{100 * share[i, j]:.1f} %", ha="center", va="center",
            fontsize=11, color="white" if share[i, j] > 0.55 else "black",
        )  # fmt: skip
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names, rotation=90, va="center")
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    right = matrix.trace() / max(matrix.sum(), 1)
    axis.set_title(f"accuracy {100 * right:.1f} % of {matrix.sum():,} traces", fontsize=11)
    axis.tick_params(length=0)
    figure.savefig(path)


def training_curve(
    rows: Sequence[Mapping[str, Any]],
    path: Target,
    x: str = "step",
    metrics: Sequence[str] = (),
) -> None:
    """Draw losses, chosen metrics and the learning rate over a training run.

    Args:
        rows: one mapping a report, as lines of a JSON-lines log; keys may differ between rows. A
            text under "part" ("train", "val") goes in front of the names: "val/loss". Names with
            "loss" in them are drawn together, the learning rate ("lr", "learning_rate") by itself.
        path: image file.
        x: key of the horizontal axis; rows without it are left out.
        metrics: further names, drawn together in a panel of their own.

    Raises:
        ValueError: no row holds `x` and a loss.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if x in row and key != x and isinstance(value, (int, float)):
                name = f"{row['part']}/{key}" if "part" in row else key
                series.setdefault(name, []).append((row[x], value))
    losses = [name for name in series if "loss" in name.lower()]
    if not losses:
        raise ValueError(f"no row of the training log holds {x!r} together with a loss")
    rates = [name for name in series if name.split("/")[-1] in ("lr", "learning_rate")]
    groups = {"loss": losses, "": [m for m in metrics if m in series], "learning rate": rates}
    groups = {label: names for label, names in groups.items() if names}
    figure = new_figure(7.5, 1.0 + 2.1 * len(groups))
    heights = [1.5] + [1] * (len(groups) - 1)
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (label, names) in zip(axes, groups.items(), strict=True):
        for name, colour in zip(names, cycle(PALETTE), strict=False):
            at, values = np.array(sorted(series[name]), np.float64).T
            if label == "loss" and len(at) > 400:  # the raw line faint, its running mean on top
                axis.plot(at, values, color=colour, lw=0.5, alpha=0.3)
                kernel = np.ones(len(at) // 60) / (len(at) // 60)
                at, values = (np.convolve(side, kernel, "valid") for side in (at, values))
            marker = "o" if len(at) <= 60 else None
            axis.plot(at, values, color=colour, lw=1.5, marker=marker, ms=3, label=name)
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e5e5e5", lw=0.6)
        if label != "learning rate":
            axis.legend(frameon=False, fontsize=9, ncols=1 + (len(names) > 3))
    drawn = [value for name in losses for _, value in series[name]]
    if min(drawn) > 0 and max(drawn) > 20 * min(drawn):
        axes[0].set_yscale("log")
    axes[-1].set_xlabel(x)
    figure.savefig(path)


def _pairs(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as flat float64, pairs with a missing side left out."""
    true, predicted = np.ravel(true).astype(np.float64), np.ravel(predicted).astype(np.float64)
    if true.shape != predicted.shape:
        raise ValueError(f"{len(true)} true values and {len(predicted)} predicted ones")
    present = np.isfinite(true) & np.isfinite(predicted)
    return true[present], predicted[present]
