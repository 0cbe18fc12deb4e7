"""Pictures of continuous records with their probability curves and picks."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.pictures import panels
from seismollm_jax.inference.pictures.panels import Panel
from seismollm_jax.inference.streams import Segment

COLOURS = {"P": "#1f5fa8", "S": "#c8321e"}
OTHER_COLOUR = "#3a7d44"
TRACE_COLOUR = "#333333"
GAP_COLOUR = "#dddddd"
PHASES = {"P": 1, "S": 2}  # channels of probability curves
LONG_RECORD_S = 150  # drawn to the size of its ordinary events rather than its strongest
LABELLED_PICKS = 16  # more of them and the letters would run into each other
TOLD_PICKS = 2  # up to so many have their times in the legend
WHOLE, SMALL = (10.0, 5.8), (5.2, 3.2)  # inches
DPI = 110


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
    samples, phases = len(segment.data), PHASES if phases is None else phases
    if not samples or len(probability) != samples:
        raise ValueError(f"curves of {len(probability)} samples for a record of {samples}")
    panel = panels.panel(
        segment.trace_id, segment.anchor, samples, segment.sampling_rate_hz, phases
    )
    panel.add(segment, probability, phases, picks)
    draw(panel, component_order=component_order).savefig(path)


def png(panel: Panel, *, size: tuple[float, float] = WHOLE) -> bytes:
    """A stretch as it is drawn by `draw`, as a PNG file."""
    file = io.BytesIO()
    draw(panel, size=size).savefig(file, format="png")
    return file.getvalue()


def draw(
    panel: Panel, *, size: tuple[float, float] = WHOLE, component_order: str = "ZNE"
) -> Figure:
    """Three components with the picks, and below them the probability curves.

    Args:
        panel: the stretch.
        size: of the figure, inches; `SMALL` leaves out what is no use there.
        component_order: as of `plot_record`.
    """
    small = size[1] < 4
    font = 8 if small else 10
    start, end = _day(panel, 0), _day(panel, panel.samples)
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    # By hand: a layout that measures all texts takes as long as all the rest together.
    edges = (0.52, 0.3, 0.5, 0.42) if small else (0.95, 0.22, 0.62, 0.58)
    axes = figure.subplots(
        4, 1, sharex=True, height_ratios=[1, 1, 1, 0.8],
        gridspec_kw={
            "left": edges[0] / size[0], "right": 1 - edges[1] / size[0],
            "top": 1 - edges[2] / size[1], "bottom": edges[3] / size[1], "hspace": 0.06,
        },
    )  # fmt: skip
    for column, axis in enumerate(axes[:3]):
        name = panel.channels[column] or f"{component_order[column]}: none"
        _draw_trace(axis, panel, column, small)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=font)
    for phase, curve in panel.curves.items():
        axes[3].plot(_times(panel), curve, color=_colour(phase), lw=1.1, label=_told(panel, phase))
    axes[3].set_xlim(start, end)
    _draw_picks(axes, panel.picks)
    title = f"{panel.trace_id}   {panel.start_time.strftime('%Y-%m-%d')}"
    # Points from the corner of the axes, wherever letters stand above the traces.
    axes[0].annotate(
        title, (0, 1), (0, 22 if small else 24), xycoords="axes fraction",
        textcoords="offset points", fontsize=font + 1, fontweight="bold",
    )  # fmt: skip
    if not small:
        axes[0].legend(
            *axes[3].get_legend_handles_labels(), loc="lower right", ncols=len(panel.curves),
            bbox_to_anchor=(1.01, 1.16), fontsize=font, frameon=False, borderpad=0,
        )  # fmt: skip
    _finish_axes(axes, panel, font)
    return figure


def _told(panel: Panel, phase: str) -> str:
    """The picks of a phase in words: times and probabilities, or how many there are."""
    picks = [pick for pick in panel.picks if pick.phase == phase]
    if not 0 < len(picks) <= TOLD_PICKS:
        return f"{phase}: {len(picks)} picks"
    told = [f"{clock(pick)} ({pick.peak_value:.2f})" for pick in picks]
    return f"{phase} {', '.join(told)}"


def clock(pick: Pick) -> str:
    """Time of a pick in its day, to a hundredth of a second."""
    time = pick.peak_time + 0.005
    return f"{time.strftime('%H:%M:%S')}.{time.microsecond // 10_000:02d}"


def _draw_trace(axis: Axes, panel: Panel, column: int, small: bool) -> None:
    low, high = (values[:, column].astype(np.float64) for values in (panel.low, panel.high))
    there = np.isfinite(low)
    if not there.any():
        axis.text(0.5, 0.5, "no data", transform=axis.transAxes, ha="center", va="center")
        axis.set_yticks([])
        return
    centre = np.median((low[there] + high[there]) / 2)
    low, high = low - centre, high - centre
    if panel.size == 1:
        axis.plot(_times(panel), low, color=TRACE_COLOUR, lw=0.6)
    else:
        # Half a line width of height, so that quiet stretches stay visible.
        axis.fill_between(_times(panel), low, high, color=TRACE_COLOUR, lw=0.5)
    peaks = np.fmax(np.abs(low), np.abs(high))
    largest = limit = float(np.nanmax(peaks))
    text = f"largest {_amount(largest)}"
    if panel.seconds > LONG_RECORD_S:  # or one strong event would flatten all others
        limit = float(np.nanpercentile(peaks, 97))
        if limit < largest:
            text = f"clipped at {_amount(limit)}, largest {_amount(largest)}"
    if limit > 0:
        axis.set_ylim(-1.12 * limit, 1.12 * limit)
    axis.set_yticks([])
    if not small:
        axis.text(
            0.995, 0.04, text, transform=axis.transAxes, ha="right", va="bottom", fontsize=8,
            color="#555555",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )  # fmt: skip


def _amount(value: float) -> str:
    """Three figures; without an exponent where it is some counts."""
    return f"{value:,.0f}" if 100 <= value < 1e7 else f"{value:.3g}"


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


def _finish_axes(axes: np.ndarray, panel: Panel, font: int) -> None:
    for first, last in panel.gaps:
        for axis in axes:
            axis.axvspan(_day(panel, first), _day(panel, last), color=GAP_COLOUR, lw=0, zorder=0)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=font - 1)
    for axis in axes[:3]:
        axis.spines["bottom"].set_visible(False)
        axis.tick_params(bottom=False)
    bottom = axes[3]
    bottom.set_ylim(0, 1.08)
    bottom.set_yticks([0, 1] if font < 10 else [0, 0.5, 1])
    locator = dates.AutoDateLocator(minticks=3 if font < 10 else 4, maxticks=6 if font < 10 else 9)
    bottom.xaxis.set_major_locator(locator)
    pattern = "%H:%M:%S" if panel.seconds < 1200 else "%H:%M"
    bottom.xaxis.set_major_formatter(dates.DateFormatter(pattern))
    if font < 10:
        bottom.set_xlabel("UTC", fontsize=font, labelpad=1)
        return
    bottom.set_ylabel("probability", fontsize=font)
    date = panel.start_time.strftime("%Y-%m-%d")
    bottom.set_xlabel(f"time (UTC), {date}; amplitudes in the unit of the record", fontsize=font)


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


def _day(panel: Panel, sample: float) -> float:
    """Time of a sample of a stretch as matplotlib counts it, in days."""
    start = dates.date2num(panel.start_time.datetime)
    return start + sample / panel.sampling_rate_hz / 86400


def _times(panel: Panel) -> np.ndarray:
    """The middle of each bin, as matplotlib counts time."""
    start, step = _day(panel, (panel.size - 1) / 2), panel.size / panel.sampling_rate_hz / 86400
    return start + np.arange(len(panel.low)) * step


def _colour(phase: str) -> str:
    return COLOURS.get(phase[:1], OTHER_COLOUR)
