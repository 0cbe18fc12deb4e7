"""Pictures of picks: residuals, and windows with their arrivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D

from seismollm_jax.evaluation.canvas import TRACE_COLOUR, Target, new_figure, phase_colour, text_box


def phase_residuals(
    residuals_s: Mapping[str, np.ndarray],
    counts: Mapping[str, Mapping[str, float]],
    path: Target,
    limit_s: float = 0.5,
    step_s: float = 0.01,
) -> None:
    """Draw a histogram of pick residuals for each phase.

    Args:
        residuals_s: seconds, predicted minus catalogue, by phase; positive is late. (The mean in
            the table of scores has the opposite sign, as in the PyTorch original.)
        counts: figures to print beside each histogram, by phase and name, such as precision.
        path: image file.
        limit_s: half the width of the axis; the share of residuals beyond it is printed.
        step_s: width of a bar, the sampling interval: residuals are whole samples, which lie in
            the middle of their bars.
    """
    figure = new_figure(4.8 * max(len(residuals_s), 1), 3.6)
    axes = figure.subplots(1, max(len(residuals_s), 1), squeeze=False)[0]
    for axis, (phase, residuals) in zip(axes, residuals_s.items(), strict=False):
        axis.spines[["top", "right"]].set_visible(False)
        values = np.asarray(residuals, np.float64)
        values = values[np.isfinite(values)]
        inside = values[np.abs(values) <= limit_s]
        reach = round(limit_s / step_s)
        edges = (np.arange(-reach, reach + 2) - 0.5) * step_s
        axis.hist(inside, edges.tolist(), color=phase_colour(phase), alpha=0.85)
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
        text_box(axis, "\n".join(lines))
    figure.savefig(path)


class Window(NamedTuple):
    """A record to be drawn.

    Attributes:
        waveform: (samples, 3) in Z, N, E.
        truth: the catalogue's picks as samples, by phase.
        predicted: the network's.
        curves: its output, (samples, k); None of a network that answers for the whole window.
        title: one line or more.
    """

    waveform: np.ndarray
    truth: Mapping[str, Sequence[int] | np.ndarray]
    predicted: Mapping[str, Sequence[int] | np.ndarray]
    curves: np.ndarray | None
    title: str


def example_windows(
    examples: Sequence[Window],
    path: Target,
    sampling_rate_hz: float = 100.0,
    phases: Mapping[str, int] | None = None,
    zoom: bool = True,
    width: float = 11.0,
) -> None:
    """Draw windows around their arrivals: catalogue, predictions and probability curves.

    Args:
        examples: one for each panel.
        path: image file.
        sampling_rate_hz: of waveform and curves.
        phases: channel of each phase, and of other curves to be drawn; {"P": 1, "S": 2} by default.
        zoom: draw the part around the arrivals instead of the whole window.
        width: of the picture, inches.

    Raises:
        ValueError: no examples.
    """
    if not examples:
        raise ValueError("example_windows needs at least one example")
    phases = {"P": 1, "S": 2} if phases is None else phases
    rows = -(-len(examples) // 2)
    with_curves = any(example.curves is not None for example in examples)
    lines = max(example.title.count("\n") for example in examples)
    figure = new_figure(width, ((2.7 if with_curves else 2.2) + 0.17 * lines) * rows + 0.6)
    grid = figure.add_gridspec(rows, min(2, len(examples)))
    for i, (waveform, truth, predicted, curves, title) in enumerate(examples):
        heights = [3, 1] if with_curves else [1]
        cell = grid[i // 2, i % 2].subgridspec(len(heights), 1, height_ratios=heights, hspace=0)
        axes: Any = cell.subplots(sharex=True, squeeze=False)[:, 0]
        upper, lower = axes[0], axes[-1]
        time_s = np.arange(len(waveform)) / sampling_rate_hz
        marks = [
            (sample, phase_colour(phase) if picks is predicted else "black", picks is truth)
            for picks in (predicted, truth)  # the catalogue on top: banded where both agree
            for phase in phases
            for sample in _present(picks.get(phase, ()), len(waveform))
        ]
        shown = [mark[0] for mark in marks] if zoom else []
        part = _around(shown, len(waveform), sampling_rate_hz)
        for column, name in enumerate("ZNE"):
            trace = waveform[:, column] - np.mean(waveform[:, column])
            largest = np.max(np.abs(trace[part]))
            trace = trace[part] / (2.1 * largest) if largest > 0 else trace[part]
            upper.plot(time_s[part], trace - column, color=TRACE_COLOUR, lw=0.6)
            upper.annotate(name, (0.008, 0.2 - column), xycoords=("axes fraction", "data"),
                           fontsize=9, fontweight="bold",
                           bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 1})  # fmt: skip
        for sample, colour, dashed in marks:
            style = (0, (3, 3)) if dashed else "-"
            upper.axvline(sample / sampling_rate_hz, color=colour, lw=1.3, ls=style)
        upper.set_ylim(-2.55, 0.55)
        upper.set_yticks([])
        upper.set_ylabel("each scaled", fontsize=8)
        upper.set_title(title, loc="left", fontsize=9)
        if curves is not None:
            upper.tick_params(bottom=False)
            for phase, channel in phases.items():
                lower.plot(time_s, curves[:, channel], color=phase_colour(phase), lw=1)
            lower.set_ylim(0, 1.08)
            lower.set_yticks([0, 1])
            lower.set_ylabel("prob.", fontsize=8)
        lower.set_xlim(time_s[part][0], time_s[part][-1])
        lower.tick_params(labelsize=8)
        if i >= len(examples) - 2:
            lower.set_xlabel("time in window (s)", fontsize=9)
        for axis in axes:
            axis.spines[["top", "right"]].set_visible(False)
    if with_curves:
        handles = [
            Line2D(
                [],
                [],
                color=phase_colour(phase),
                label=f"{phase} predicted" if phase in examples[0].truth else phase,
            )
            for phase in phases
        ]
        handles.append(Line2D([], [], color="black", ls=(0, (3, 3)), label="catalogue"))
        columns = 2 if width < 8 and len(handles) > 3 else len(handles)
        figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    figure.savefig(path)


def _present(samples: Sequence[int] | np.ndarray, window: int) -> list[int]:
    return [int(sample) for sample in np.ravel(samples) if 0 <= sample < window]


def _around(samples: Sequence[int], window: int, rate_hz: float) -> slice:
    """Return the part of a window that shows its arrivals well; all of it without any."""
    if not samples:
        return slice(0, window)
    first, last = min(samples), max(samples)
    before = max(3 * rate_hz, 0.4 * (last - first))
    after = max(6 * rate_hz, 0.8 * (last - first))
    return slice(max(0, int(first - before)), min(window, int(last + after)))


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() and value > 1 else f"{value:.3f}"
