"""A picture of a continuous record with its probability curves and picks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.streams import Segment

COLOURS = {"P": "#1f5fa8", "S": "#c8321e"}
OTHER_COLOUR = "#3a7d44"
TRACE_COLOUR = "#333333"
LARGEST_BINS = 1500  # about one a pixel; longer records are drawn as ranges
LONG_RECORD_S = 150  # drawn to the size of its ordinary events rather than its strongest
LABELLED_PICKS = 16  # more of them and the letters would run into each other


def plot_record(
    segment: Segment,
    probability: np.ndarray,
    picks: Sequence[Pick],
    path: str | os.PathLike[str],
    phases: Mapping[str, int] | None = None,
    component_order: str = "ZNE",
) -> None:
    """Draw the three components with the picks, and below them the probability curves.

    Gaps are shaded. Records of many samples are drawn as the range of the samples behind each
    pixel column (the highest value for the curves), so no arrival is thinned away.

    Args:
        segment: the record, (samples, 3).
        probability: (samples, k).
        picks: those outside the segment are left out.
        path: a file whose ending matplotlib knows, such as .png.
        phases: channel of each phase in `probability`; {"P": 1, "S": 2} by default.
        component_order: the letters of the segment's columns, for components without a channel.

    Raises:
        ValueError: the curves have another length than the segment, or it is empty.
    """
    samples = len(segment.data)
    if not samples or len(probability) != samples:
        raise ValueError(f"curves of {len(probability)} samples for a record of {samples}")
    phases = {"P": 1, "S": 2} if phases is None else phases
    rate = segment.sampling_rate_hz
    start = dates.date2num(segment.start_time.datetime)
    end = start + samples / rate / 86400
    shown = [p for p in picks if start <= dates.date2num(p.peak_time.datetime) <= end]

    figure = Figure(figsize=(10, 5.8), dpi=110)
    figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.12, hspace=0.0))
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1, 1, 0.8])
    for column, axis in enumerate(axes[:3]):
        name = segment.channels[column] or f"{component_order[column]}: none"
        _draw_trace(axis, segment.data[:, column], segment.valid[:, column], start, rate)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    for phase, channel in phases.items():
        count = sum(p.phase == phase for p in shown)
        label = f"{phase}: {count} pick{'s' * (count != 1)}"
        _draw_curve(axes[3], probability[:, channel], _colour(phase), label, start, rate)
    axes[3].set_xlim(start, end)
    _draw_picks(axes, shown)
    title = f"{segment.trace_id}   {segment.start_time.strftime('%Y-%m-%d')}"
    axes[0].set_title(title, loc="left", fontsize=11, fontweight="bold", pad=26)
    handles, labels = axes[3].get_legend_handles_labels()
    axes[0].legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1.005, 1.16), fontsize=10,
        ncols=len(labels), frameon=False,
    )  # fmt: skip
    _finish_axes(axes, start, end, segment)
    figure.savefig(path)


def _draw_trace(
    axis: Axes, data: np.ndarray, valid: np.ndarray, start: float, rate_hz: float
) -> None:
    if not valid.any():
        axis.text(0.5, 0.5, "no data", transform=axis.transAxes, ha="center", va="center")
        axis.set_yticks([])
        return
    centred = np.where(valid, data - np.median(data[valid]), np.nan)
    if len(data) <= 2 * LARGEST_BINS:
        axis.plot(_times(len(data), start, rate_hz), centred, color=TRACE_COLOUR, lw=0.6)
    else:
        low, high, times = _ranges(centred, start, rate_hz)
        # Half a line width of height, so that quiet stretches stay visible.
        axis.fill_between(times, low, high, color=TRACE_COLOUR, lw=0.5)
    largest = limit = float(np.nanmax(np.abs(centred)))
    text = f"largest {largest:.3g}"
    if len(data) > LONG_RECORD_S * rate_hz:  # or one strong event would flatten all others
        _, peaks, _ = _ranges(np.abs(centred), start, rate_hz)
        limit = float(np.nanpercentile(peaks, 97))
        text = f"clipped at {limit:.3g}, largest {largest:.3g}" if limit < largest else text
    if limit > 0:
        axis.set_ylim(-1.12 * limit, 1.12 * limit)
    axis.set_yticks([])
    axis.text(
        0.995, 0.04, text, transform=axis.transAxes, ha="right", va="bottom", fontsize=8,
        color="#555555", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def _draw_curve(
    axis: Axes, curve: np.ndarray, colour: str, label: str, start: float, rate_hz: float
) -> None:
    times, values = _times(len(curve), start, rate_hz), np.asarray(curve, np.float64)
    if len(curve) > 2 * LARGEST_BINS:
        _, values, times = _ranges(values, start, rate_hz)
    axis.plot(times, values, color=colour, lw=1.1, label=label)


def _draw_picks(axes: np.ndarray, shown: Sequence[Pick]) -> None:
    """Lines with letters for a few picks; for many, ticks that leave the traces visible."""
    few = len(shown) <= LABELLED_PICKS
    for pick in shown:
        when, colour = dates.date2num(pick.peak_time.datetime), _colour(pick.phase)
        low, high = (0, 1) if few else (0.8, 1) if pick.phase[:1] == "P" else (0, 0.2)
        for axis in axes[:3]:
            axis.axvline(when, low, high, color=colour, lw=1.1, alpha=0.85)
        axes[3].plot(when, pick.peak_value, "o", ms=4, color=colour, mec="white", mew=0.6)
        if few:
            _label(axes[0], when, pick.phase, colour, shown)


def _finish_axes(axes: np.ndarray, start: float, end: float, segment: Segment) -> None:
    empty = np.concatenate([[False], ~segment.valid.any(1), [False]])
    day = 86400 * segment.sampling_rate_hz
    for first, last in np.flatnonzero(np.diff(empty)).reshape(-1, 2):
        for axis in axes:
            axis.axvspan(start + first / day, start + last / day, color="#dddddd", lw=0, zorder=0)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    for axis in axes[:3]:
        axis.spines["bottom"].set_visible(False)
        axis.tick_params(bottom=False)
    bottom = axes[3]
    bottom.set_ylim(0, 1.08)
    bottom.set_yticks([0, 0.5, 1])
    bottom.set_ylabel("probability", fontsize=10)
    locator = dates.AutoDateLocator(minticks=4, maxticks=9)
    bottom.xaxis.set_major_locator(locator)
    seconds = (end - start) * 86400
    pattern = "%H:%M:%S" if seconds < 1200 else "%H:%M"
    bottom.xaxis.set_major_formatter(dates.DateFormatter(pattern))
    bottom.set_xlabel(f"time (UTC), {segment.start_time.strftime('%Y-%m-%d')}", fontsize=10)


def _label(axis: Axes, when: float, phase: str, colour: str, shown: Sequence[Pick]) -> None:
    """Write the phase above its line; of two close together the later one stands higher."""
    left, right = axis.get_xlim()
    before = [when - dates.date2num(p.peak_time.datetime) for p in shown]
    close = sum(0 < distance < 0.018 * (right - left) for distance in before)
    axis.annotate(
        phase, (when, 1.0), xycoords=("data", "axes fraction"),
        xytext=(0, 2 if close % 2 == 0 else 12), textcoords="offset points",
        ha="center", va="bottom", fontsize=10, fontweight="bold", color=colour,
    )  # fmt: skip


def _times(samples: int, start: float, rate_hz: float) -> np.ndarray:
    return start + np.arange(samples) / rate_hz / 86400


def _ranges(
    data: np.ndarray, start: float, rate_hz: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest value of each bin and its middle; nan where a bin has no value."""
    size = -(-len(data) // LARGEST_BINS)
    padded = np.concatenate([data, np.full(-len(data) % size, np.nan)]).reshape(-1, size)
    empty = np.isnan(padded).all(1)
    low = np.where(np.isnan(padded), np.inf, padded).min(1)
    high = np.where(np.isnan(padded), -np.inf, padded).max(1)
    low[empty] = high[empty] = np.nan
    times = start + (np.arange(len(low)) + 0.5) * size / rate_hz / 86400
    return low, high, times


def _colour(phase: str) -> str:
    return COLOURS.get(phase[:1], OTHER_COLOUR)
