"""Pictures of scores: over tolerance and threshold, trade-offs, calibration, parts of the records.

They take curves as metrics.json has them: lists of numbers with null where there is none, and
series {"value": [...], "low": [...], "high": [...]}, of which the bounds may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seismollm_jax.evaluation.canvas import COLOURS, TRACE_COLOUR, Target, new_figure, text_box

DPI = 150
PALETTE = ("#0072b2", "#d55e00", "#222222", "#cc79a7")  # told apart by the colour-blind
STYLES = (("-", "o"), ("--", "s"), ("-", "D"), (":", "^"))
STATIONS = 30  # in a picture, those with most records

Series = Mapping[str, Any]


class Mark(NamedTuple):
    """A place on an axis, such as the threshold in use."""

    at: float
    label: str


class Group(NamedTuple):
    """The score of some records.

    Attributes:
        label: of the part, such as "10 to 20".
        records: how many.
        value: the score; nan if there is none.
        low: of the 95 % interval; nan if there is none.
        high: the same.
    """

    label: str
    records: int
    value: float
    low: float
    high: float


def curves(
    x: Sequence[float | None],
    series: Mapping[str, Series],
    x_label: str,
    y_label: str,
    path: Target,
    *,
    mark: Mark | None = None,
    share: bool = True,
) -> None:
    """Draw curves with their intervals.

    Args:
        x: places.
        series: one for each curve, by the name in the legend.
        x_label: with its unit.
        y_label: with its unit.
        path: image file.
        mark: a vertical line.
        share: the values lie between 0 and 1; otherwise they begin at 0.
    """
    figure, axis = _figure(6.0, 3.8)
    lowest = 1.0
    for number, (name, one) in enumerate(series.items()):
        colour, (line, marker) = PALETTE[number % 4], STYLES[number % 4]
        value = _numbers(one["value"])
        axis.plot(
            _numbers(x), value, color=colour, ls=line, marker=marker, ms=4, label=name, lw=1.6
        )
        _band(axis, _numbers(x), one, colour)
        drawn = np.concatenate([value, _numbers(one.get("low") or [])])
        if np.isfinite(drawn).any():
            lowest = min(lowest, float(np.nanmin(drawn)))
    if share:
        axis.set_ylim(max(0.0, np.floor(10 * lowest - 0.2) / 10), 1.01)
    else:
        axis.set_ylim(bottom=0)
    _mark(axis, mark)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(axis="y", color="#e5e5e5", lw=0.6)
    if len(series) > 1 or mark is not None:
        axis.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=DPI)


def trade_off(
    pairs: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]],
    x_label: str,
    y_label: str,
    path: Target,
    *,
    points: Mapping[str, tuple[float, float]] | None = None,
    chance: bool = False,
) -> None:
    """Draw how one share is paid for with another, as in ROC and precision-recall curves.

    Args:
        pairs: x and y of each curve, by the name in the legend.
        x_label: with its unit.
        y_label: with its unit.
        path: image file.
        points: marked places by name.
        chance: draw the diagonal, on which guesses lie.
    """
    figure, axis = _figure(5.0, 4.4)
    for number, (name, (x, y)) in enumerate(pairs.items()):
        colour, (line, _) = PALETTE[number % 4], STYLES[number % 4]
        axis.plot(_numbers(x), _numbers(y), color=colour, ls=line, lw=1.6, label=name)
    for name, (x_value, y_value) in (points or {}).items():
        axis.plot([x_value], [y_value], "*", color="black", ms=13, label=name, clip_on=False)
    if chance:
        axis.plot([0, 1], [0, 1], color="#888888", lw=0.8, ls=":", label="chance")
    drawn = np.concatenate([_numbers(side) for pair in pairs.values() for side in pair])
    lowest = float(np.nanmin(drawn)) if np.isfinite(drawn).any() else 0.0
    low = 0.0 if chance else max(0.0, np.floor(10 * lowest - 0.2) / 10)
    margin = 0.01 * (1 - low)
    axis.set_xlim(low - margin, 1 + margin)
    axis.set_ylim(low - margin, 1 + margin)
    axis.set_aspect("equal")
    axis.grid(color="#e5e5e5", lw=0.6)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.legend(frameon=False, fontsize=9, loc="lower left" if not chance else "lower right")
    figure.savefig(path, dpi=DPI)


def calibration(curve: Mapping[str, Any], came_true: str, path: Target, error: float) -> None:
    """Draw how often what was given some probability came true, and how many had it.

    Args:
        curve: edges, count, probability, frequency, as metrics.json has them.
        came_true: what the frequency is of, such as "hits".
        path: image file.
        error: the expected calibration error; printed.
    """
    figure = new_figure(5.0, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _bare(upper, lower)
    x, frequency = _numbers(curve["probability"]), curve["frequency"]
    value = _numbers(frequency["value"])
    upper.plot([0, 1], [0, 1], color="#888888", lw=0.8, ls=":", label="as it should be")
    if frequency.get("low"):
        low, high = _numbers(frequency["low"]), _numbers(frequency["high"])
        upper.vlines(x, low, high, color=PALETTE[0], lw=1.4, alpha=0.7)
    upper.plot(x, value, "o-", color=PALETTE[0], ms=5, lw=1.2, label="found, 95 % interval")
    upper.set_ylim(-0.02, 1.02)
    upper.set_ylabel(f"share of {came_true}")
    upper.legend(frameon=False, fontsize=9, loc="lower right")
    upper.set_title(f"calibration error {error:.3f}", loc="left", fontsize=9)
    edges, count = np.array(curve["edges"]), _numbers(curve["count"])
    lower.bar(edges[:-1], count, np.diff(edges), align="edge", color="#999999", ec="white")
    lower.set_yscale("symlog", linthresh=1)
    lower.set_ylim(bottom=0)
    lower.set_yticks([10.0**k for k in range(int(np.log10(max(count.max(), 1))) + 1)])
    lower.minorticks_off()
    lower.set_ylabel("number")
    lower.set_xlim(0, 1)
    lower.set_xlabel("predicted probability")
    figure.savefig(path, dpi=DPI)


def value_residuals(residual: np.ndarray, unit: str, path: Target, name: str = "") -> None:
    """Draw a histogram of errors.

    Args:
        residual: (n,) predicted minus true; nan is left out.
        unit: such as "km"; empty for magnitudes.
        path: image file.
        name: the quantity, for the axis.
    """
    residual = np.asarray(residual, np.float64)
    residual = residual[np.isfinite(residual)]
    figure, axis = _figure(6.0, 3.8)
    axis.set_xlabel(f"predicted - true {name}{f' ({unit})' if unit else ''}")
    axis.set_ylabel("traces")
    suffix = {"": "", "°": "°"}.get(unit, f" {unit}")
    lines = ["no values"]
    if len(residual):
        size = np.abs(residual)
        limit = float(np.quantile(size, 0.98)) or 1.0
        inside = residual[size <= limit]
        axis.hist(inside, np.linspace(-limit, limit, 51).tolist(), color=COLOURS["P"], alpha=0.85)
        axis.axvline(0, color=TRACE_COLOUR, lw=0.8)
        axis.set_xlim(-limit, limit)
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        lines = [
            f"n {len(residual):,}",
            f"mean {residual.mean():+.3g}{suffix}",
            f"std {residual.std():.3g}{suffix}",
            f"MAE {size.mean():.3g}{suffix}",
            f"median |error| {np.median(size):.3g}{suffix}",
        ]
        if len(inside) < len(residual):
            lines.append(f"beyond {limit:.3g}{suffix}: {1 - len(inside) / len(residual):.1%}")
    text_box(axis, "\n".join(lines))
    figure.savefig(path, dpi=DPI)


def parts(
    groups: Mapping[str, Sequence[Group]], x_label: str, y_label: str, path: Target, *, share: bool
) -> None:
    """Draw a score over parts of the records, with intervals and counts below.

    Args:
        groups: the same parts for each curve, by the name in the legend.
        x_label: what the parts are by, with its unit.
        y_label: the score, with its unit.
        path: image file.
        share: the score lies between 0 and 1.
    """
    figure = new_figure(6.0, 4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    _bare(upper, lower)
    first = next(iter(groups.values()))
    for number, (name, entries) in enumerate(groups.items()):
        shift = 0.12 * (number - (len(groups) - 1) / 2)
        _points(upper, np.arange(len(entries)) + shift, entries, number, name, vertical=True)
    if share:
        upper.set_ylim(top=1.02)
    else:
        upper.axhline(0, color="#bbbbbb", lw=0.8)
    upper.set_ylabel(y_label.replace(" (", "\n(") if len(y_label) > 30 else y_label)
    upper.grid(axis="y", color="#e5e5e5", lw=0.6)
    if len(groups) > 1:
        figure.legend(loc="outside upper center", frameon=False, fontsize=9, ncols=len(groups))
    counts = [entry.records for entry in first]
    lower.bar(range(len(first)), counts, 0.7, color="#999999")
    for place, count in enumerate(counts):
        lower.annotate(f"{count:,}", (place, count), (0, 2), textcoords="offset points",
                       ha="center", fontsize=8)  # fmt: skip
    lower.set_ylim(0, 1.35 * max(counts))
    lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    lower.set_ylabel("records")
    lower.set_xticks(range(len(first)), [entry.label for entry in first], fontsize=8)
    lower.set_xlim(-0.6, len(first) - 0.4)
    lower.set_xlabel(x_label)
    figure.savefig(path, dpi=DPI)


def stations(
    groups: Mapping[str, Sequence[Group]], x_label: str, path: Target, *, share: bool
) -> None:
    """Draw a score by station, those with most records, ordered by the first curve.

    Args:
        groups: the same stations for each curve, those with most records first.
        x_label: the score, with its unit.
        path: image file.
        share: the score lies between 0 and 1.
    """
    first = list(next(iter(groups.values())))[:STATIONS]
    order = np.argsort([entry.value for entry in first])
    figure, axis = _figure(6.0, max(2.4, 1.2 + 0.24 * len(first)))
    for number, (name, entries) in enumerate(groups.items()):
        shift = -0.18 * (number - (len(groups) - 1) / 2)
        shown = [entries[place] for place in order]
        _points(axis, np.arange(len(shown)) + shift, shown, number, name, vertical=False)
    labels = [f"{first[place].label} ({first[place].records:,})" for place in order]
    axis.set_yticks(range(len(first)), labels, fontsize=8)
    axis.set_ylim(-0.7, len(first) - 0.3)
    axis.set_ylabel("station (records)")
    axis.set_xlabel(x_label)
    axis.grid(axis="x", color="#e5e5e5", lw=0.6)
    if share:
        axis.set_xlim(right=1.02)
    if len(groups) > 1:
        figure.legend(loc="outside upper center", frameon=False, fontsize=9, ncols=len(groups))
    figure.savefig(path, dpi=DPI)


def _points(
    axis: Axes, at: np.ndarray, entries: Sequence[Group], number: int, name: str, *, vertical: bool
) -> None:
    """Values with their intervals as bars."""
    colour, (_, marker) = PALETTE[number % 4], STYLES[number % 4]
    value = np.array([entry.value for entry in entries], np.float64)
    low = np.array([entry.low for entry in entries], np.float64)
    high = np.array([entry.high for entry in entries], np.float64)
    if vertical:
        axis.vlines(at, low, high, color=colour, lw=1.4, alpha=0.7)
        axis.plot(at, value, marker=marker, ls="none", color=colour, ms=6, label=name)
    else:
        axis.hlines(at, low, high, color=colour, lw=1.4, alpha=0.7)
        axis.plot(value, at, marker=marker, ls="none", color=colour, ms=5, label=name)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = new_figure(width, height)
    axis = figure.add_subplot()
    _bare(axis)
    return figure, axis


def _bare(*axes: Axes) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)


def _band(axis: Axes, x: np.ndarray, series: Series, colour: str) -> None:
    if series.get("low"):
        low, high = _numbers(series["low"]), _numbers(series["high"])
        axis.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)


def _mark(axis: Axes, mark: Mark | None) -> None:
    if mark is not None:
        axis.axvline(mark.at, color="black", lw=1, ls=(0, (2, 2)), label=mark.label)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], np.float64)
