"""Pictures of an evaluation: residuals, examples, scatter, directions, classes, training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS = {"P": "#1f5fa8", "S": "#c8321e"}
OTHER_COLOUR = "#3a7d44"
TRACE_COLOUR = "#333333"
MUTED = "#666666"

Path = str | os.PathLike[str]


def phase_residuals(
    residuals_s: Mapping[str, np.ndarray],
    counts: Mapping[str, Mapping[str, float]],
    path: Path,
    limit_s: float = 0.5,
) -> None:
    """Draw a histogram of pick residuals for each phase.

    Args:
        residuals_s: seconds, predicted minus catalogue, by phase; positive is late.
        counts: figures to print beside each histogram, by phase and name, such as precision.
        path: image file.
        limit_s: half the width of the axis; the share of residuals beyond it is printed.
    """
    figure = _figure(4.8 * max(len(residuals_s), 1), 3.6)
    for axis, (phase, values) in _panels(figure, residuals_s):
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        inside = values[np.abs(values) <= limit_s]
        axis.hist(inside, np.linspace(-limit_s, limit_s, 51), color=_colour(phase), alpha=0.85)
        axis.axvline(0, color=TRACE_COLOUR, lw=0.8)
        axis.set_xlim(-limit_s, limit_s)
        axis.set_xlabel("predicted - catalogue (s)")
        axis.set_ylabel("picks")
        axis.set_title(f"{phase} arrivals", loc="left", fontweight="bold", fontsize=11)
        lines = [f"{name} {_number(value)}" for name, value in counts.get(phase, {}).items()]
        if len(values):
            lines += [
                f"mean {values.mean():+.3f} s",
                f"std {values.std():.3f} s",
                f"median |r| {np.median(np.abs(values)):.3f} s",
            ]
            outside = 1 - len(inside) / len(values)
            if outside:
                lines.append(f"beyond {limit_s:g} s: {100 * outside:.1f} %")
        else:
            lines.append("no residuals")
        _text(axis, "\n".join(lines))
    figure.savefig(path)


def example_windows(
    examples: Sequence[
        tuple[np.ndarray, Mapping[str, Sequence[int]], Mapping[str, Sequence[int]], np.ndarray, str]
    ],
    path: Path,
    sampling_rate_hz: float = 100.0,
    phases: Mapping[str, int] | None = None,
) -> None:
    """Draw windows with their catalogue arrivals, predictions and probability curves.

    Args:
        examples: for each panel the waveform (samples, 3) in Z, N, E; the catalogue's and the
            model's picks as samples by phase; the curves (samples, k); a title.
        path: image file.
        sampling_rate_hz: of waveform and curves.
        phases: channel of each phase in the curves; {"P": 1, "S": 2} by default.

    Raises:
        ValueError: no examples.
    """
    if not examples:
        raise ValueError("example_windows needs at least one example")
    phases = {"P": 1, "S": 2} if phases is None else phases
    rows = -(-len(examples) // 2)
    figure = _figure(11, 2.7 * rows + 0.6)
    grid = figure.add_gridspec(rows, min(2, len(examples)))
    for i, (waveform, truth, predicted, curves, title) in enumerate(examples):
        upper, lower = (
            grid[i // 2, i % 2]
            .subgridspec(2, 1, height_ratios=[3, 1], hspace=0)
            .subplots(sharex=True)
        )
        time_s = np.arange(len(waveform)) / sampling_rate_hz
        for column, name in enumerate("ZNE"):
            trace = waveform[:, column] - np.mean(waveform[:, column])
            largest = np.max(np.abs(trace))
            trace = trace / (2.1 * largest) if largest > 0 else trace
            upper.plot(time_s, trace - column, color=TRACE_COLOUR, lw=0.5)
            upper.text(0.008, (2.75 - column) / 3, name, transform=upper.transAxes, fontsize=9,
                       va="top", fontweight="bold")  # fmt: skip
        for phase, channel in phases.items():
            colour = _colour(phase)
            for sample in _present(predicted.get(phase, ()), len(waveform)):
                upper.axvline(sample / sampling_rate_hz, color=colour, lw=1.2)
            for sample in _present(truth.get(phase, ()), len(waveform)):
                # Drawn over the prediction: where both agree the line looks banded.
                upper.axvline(sample / sampling_rate_hz, color="black", lw=1.2, ls=(0, (3, 3)))
            lower.plot(time_s, curves[:, channel], color=colour, lw=1)
        upper.set_ylim(-2.55, 0.55)
        upper.set_yticks([])
        upper.tick_params(bottom=False)
        upper.set_title(title, loc="left", fontsize=9)
        lower.set_ylim(0, 1.08)
        lower.set_yticks([0, 1])
        lower.set_xlim(0, time_s[-1])
        lower.tick_params(labelsize=8)
        if i >= len(examples) - 2:
            lower.set_xlabel("time in window (s)", fontsize=9)
        for axis in (upper, lower):
            axis.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=_colour(phase), label=f"{phase} predicted") for phase in phases]
    handles.append(Line2D([], [], color="black", ls=(0, (3, 3)), label="catalogue"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    figure.savefig(path)


def true_against_predicted(
    true: np.ndarray, predicted: np.ndarray, unit: str, path: Path, name: str = ""
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
    figure = _figure(5.4, 4.6)
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
        if len(true) > 500:
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
        _text(axis, "\n".join(lines))
    else:
        _text(axis, "no values")
    figure.savefig(path)


def polar_back_azimuth(true: np.ndarray, predicted: np.ndarray, path: Path) -> None:
    """Draw how true and predicted back azimuths are distributed, and the error between them.

    Args:
        true: (n,) degrees clockwise from north.
        predicted: (n,) degrees, any turn.
        path: image file.
    """
    true, predicted = _pairs(true, predicted)
    error = (predicted - true + 180) % 360 - 180
    figure = _figure(9.4, 4.7)
    left, right = figure.subplots(1, 2, subplot_kw={"projection": "polar"})
    bins = np.deg2rad(np.arange(0, 361, 10))
    centre, width = (bins[:-1] + bins[1:]) / 2, bins[1]
    for values, style in (
        (true, {"color": "#bbbbbb", "label": "true"}),
        (predicted, {"fill": False, "edgecolor": COLOURS["P"], "lw": 1.4, "label": "predicted"}),
    ):
        left.bar(centre, np.histogram(np.deg2rad(values % 360), bins)[0], width, **style)
    left.set_title("back azimuth", fontsize=11, fontweight="bold", pad=14)
    left.legend(loc="lower left", bbox_to_anchor=(-0.18, -0.1), fontsize=9, frameon=False)
    shifted = np.deg2rad((error + 5) % 360)  # so that the first bin is centred on no error
    right.bar(bins[:-1], np.histogram(shifted, bins)[0], width, color=COLOURS["P"], alpha=0.85,
              edgecolor="white", lw=0.4)  # fmt: skip
    right.set_title("predicted - true", fontsize=11, fontweight="bold", pad=14)
    right.set_xticks(np.deg2rad(np.arange(0, 360, 45)))
    right.set_xticklabels(["0°", "45°", "90°", "135°", "±180°", "-135°", "-90°", "-45°"])
    left.set_xticks(np.deg2rad(np.arange(0, 360, 45)))
    left.set_xticklabels(["N", "NE", "E", "SE", "S", "SW", "W", "NW"])
    for axis in (left, right):
        axis.set_theta_zero_location("N")
        axis.set_theta_direction(-1)
        axis.set_rlabel_position(112)
        axis.tick_params(labelsize=9)
        axis.yaxis.set_major_locator(_few_whole_numbers())
        axis.grid(color="#dddddd", lw=0.6)
        axis.set_axisbelow(True)
    size = np.abs(error)
    text = "no values" if not len(size) else (
        f"n {len(size):,}    median |error| {np.median(size):.1f}°    "
        f"within 30° {100 * np.mean(size <= 30):.0f} %    beyond 90° {100 * np.mean(size > 90):.0f} %"
    )  # fmt: skip
    figure.supxlabel(text, fontsize=10)
    figure.savefig(path)


def confusion(matrix: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix with counts and shares of each true class.

    Args:
        matrix: (classes, classes) counts, rows true, columns predicted.
        names: of the classes.
        path: image file.
    """
    matrix = np.asarray(matrix)
    total = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    figure = _figure(1.5 * len(names) + 2.2, 1.3 * len(names) + 1.6)
    axis = figure.add_subplot()
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
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
    axis.set_title(f"accuracy {100 * right:.1f} % of {matrix.sum():,}", fontsize=11)
    axis.tick_params(length=0)
    figure.colorbar(image, ax=axis, label="share of the true class", shrink=0.9)
    figure.savefig(path)


def training_curve(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    x: str = "step",
    metrics: Sequence[str] = (),
) -> None:
    """Draw losses, chosen metrics and the learning rate over a training run.

    Args:
        rows: one mapping a report, as lines of a JSON-lines log; keys may differ between rows.
            Keys with "loss" in them are drawn together, the learning rate ("lr" or
            "learning_rate") by itself.
        path: image file.
        x: key of the horizontal axis; rows without it are left out.
        metrics: further keys, drawn together in a panel of their own.

    Raises:
        ValueError: no row holds `x` and a loss.
    """
    rows = [row for row in rows if x in row]
    keys = dict.fromkeys(key for row in rows for key in row)
    losses = [key for key in keys if "loss" in key.lower()]
    if not losses:
        raise ValueError(f"no row of the training log holds {x!r} together with a loss")
    rates = [key for key in keys if key.split("/")[-1] in ("lr", "learning_rate")]
    panels = [("loss", losses), ("", list(metrics)), ("learning rate", rates)]
    panels = [(label, names) for label, names in panels if any(n in keys for n in names)]
    figure = _figure(7.5, 1.0 + 2.1 * len(panels))
    axes = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[1.5] + [1] * (len(panels) - 1)
    )[:, 0]
    palette = [COLOURS["P"], COLOURS["S"], OTHER_COLOUR, "#8a5aa8", "#c98a1b", "#444444"]
    for axis, (label, names) in zip(axes, panels, strict=True):
        for i, name in enumerate(names):
            points = [(row[x], row[name]) for row in rows if row.get(name) is not None]
            if not points:
                continue
            at, values = np.array(sorted(points), np.float64).T
            colour = palette[i % len(palette)]
            if len(at) > 400:  # step by step: the raw line faint, its running mean on top
                axis.plot(at, values, color=colour, lw=0.5, alpha=0.3)
                at, values = _running_mean(at, values, len(at) // 60)
            marker = "o" if len(at) <= 60 else None
            axis.plot(at, values, color=colour, lw=1.5, marker=marker, ms=3, label=name)
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e5e5e5", lw=0.6)
        if label != "learning rate":
            axis.legend(frameon=False, fontsize=9, ncols=1 + (len(names) > 3))
    drawn = [row[name] for row in rows for name in losses if row.get(name) is not None]
    if min(drawn) > 0 and max(drawn) > 20 * min(drawn):
        axes[0].set_yscale("log")
    axes[-1].set_xlabel(x)
    figure.savefig(path)


def _figure(width: float, height: float) -> Figure:
    """A figure outside pyplot, so that nothing global is touched and threads do not meet."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panels(figure: Figure, items: Mapping[str, Any]) -> zip:
    axes = figure.subplots(1, max(len(items), 1), squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return zip(axes, items.items(), strict=False)


def _text(axis: Axes, text: str) -> None:
    axis.text(
        0.03, 0.97, text, transform=axis.transAxes, ha="left", va="top", fontsize=9,
        linespacing=1.35, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2},
    )  # fmt: skip


def _pairs(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as flat float64, pairs with a missing side left out."""
    true, predicted = np.ravel(true).astype(np.float64), np.ravel(predicted).astype(np.float64)
    if true.shape != predicted.shape:
        raise ValueError(f"{len(true)} true values and {len(predicted)} predicted ones")
    present = np.isfinite(true) & np.isfinite(predicted)
    return true[present], predicted[present]


def _present(samples: Sequence[int], window: int) -> list[int]:
    return [int(sample) for sample in np.ravel(samples) if 0 <= sample < window]


def _running_mean(at: np.ndarray, values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.ones(width) / width
    return np.convolve(at, kernel, "valid"), np.convolve(values, kernel, "valid")


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() and value > 1 else f"{value:.3f}"


def _colour(phase: str) -> str:
    return COLOURS.get(phase[:1], OTHER_COLOUR)


def _few_whole_numbers():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=True, min_n_ticks=1)
