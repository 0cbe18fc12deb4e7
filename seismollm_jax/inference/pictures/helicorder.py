"""A day at a glance: its record in rows, as on the paper of a drum recorder, with the picks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from obspy import UTCDateTime

from seismollm_jax.data.resampling import grid_index, grid_time_ns
from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.pictures.figures import COLOURS, DPI, GAP_COLOUR
from seismollm_jax.inference.streams import Segment

HIGH_PASS_HZ = 1.0  # takes away the sea's noise and the tilt of broadband records
BINS = 1200  # of a row
ROWS_MIN = (1, 2, 5, 10, 20, 30, 60)  # lengths of a row; minutes
MOST_ROWS = 26  # a day, and an hour on either side that no other day's files have
ROW_IN = 0.36  # height of a row
CUT_ROWS = 1.0  # traces are cut off so far from their own middle
TRACE_COLOURS = ("#333333", "#5f7183")  # of every other row


@dataclass
class Strip:
    """One component of a segment.

    Attributes:
        trace_id: "NET.STA.LOC.HH".
        channel: code of the component.
        first: number of the first sample on the grid counted from 1970-01-01.
        sampling_rate_hz: of the grid.
        data: (samples,) float32.
        valid: (samples,) bool, where there is data.
    """

    trace_id: str
    channel: str
    first: int
    sampling_rate_hz: float
    data: np.ndarray
    valid: np.ndarray

    @property
    def start_time(self) -> UTCDateTime:
        """Of the first sample."""
        return UTCDateTime(ns=grid_time_ns(self.first, self.sampling_rate_hz))

    @property
    def end_time(self) -> UTCDateTime:
        """Of the sample after the last one."""
        return UTCDateTime(ns=grid_time_ns(self.first + len(self.data), self.sampling_rate_hz))


@dataclass
class Envelope:
    """Smallest and largest value of each bin of a stretch of time.

    Attributes:
        start_ns: of the first bin, since 1970-01-01.
        bin_ns: length of a bin.
        low: (bins,) nan where there is no data.
        high: the same shape.
        gap: (bins,) bool, where some of the data is missing.
    """

    start_ns: int
    bin_ns: int
    low: np.ndarray
    high: np.ndarray
    gap: np.ndarray


def strip(segment: Segment, start_ns: int, end_ns: int) -> Strip | None:
    """The vertical of a segment between two times; another component where there is none.

    None if there is no data. The samples are copied, so that the segment can be let go.
    """
    rate, anchor = segment.sampling_rate_hz, segment.anchor
    part = slice(*(max(0, grid_index(t, rate) - anchor) for t in (start_ns, end_ns)))
    for column in range(3):
        valid = segment.valid[part, column]
        if valid.any():
            return Strip(
                segment.trace_id,
                segment.channels[column],
                anchor + part.start,
                rate,
                segment.data[part, column].copy(),
                valid.copy(),
            )
    return None


def envelope(strips: Sequence[Strip], start_ns: int, end_ns: int, bin_ns: int) -> Envelope:
    """The high-passed record in bins of a fixed length; no sample is left out.

    Args:
        strips: of one instrument.
        start_ns: begin of the first bin.
        end_ns: the last bin holds the moment before it.
        bin_ns: length of a bin.
    """
    bins = -((start_ns - end_ns) // bin_ns)
    low, high = np.full(bins, np.nan, np.float32), np.full(bins, np.nan, np.float32)
    present, wanted = np.zeros(bins), np.full(bins, np.inf)
    for item in strips:
        rate = item.sampling_rate_hz
        # First sample of each bin, and of the one after the last.
        steps = np.rint(np.arange(bins + 1) * (bin_ns / 1e9 * rate)).astype(np.int64)
        exact = grid_index(start_ns, rate) + steps
        wanted = np.diff(exact)
        edges = np.clip(exact - item.first, 0, len(item.data))
        present += np.diff(np.concatenate([[0], np.cumsum(item.valid)])[edges])
        ends = np.flatnonzero(np.diff(item.valid, prepend=False, append=False)).reshape(-1, 2)
        for first, end in ends.tolist():
            data = _high_passed(item.data[first:end], rate)
            inside = np.clip(edges, first, end) - first
            some = np.flatnonzero(np.diff(inside))
            if not len(some):
                continue
            places, data = inside[some], data[: inside[-1]]
            low[some] = np.fmin(low[some], np.minimum.reduceat(data, places))
            high[some] = np.fmax(high[some], np.maximum.reduceat(data, places))
    return Envelope(start_ns, bin_ns, low, high, present < wanted)


def row_ns(start_ns: int, end_ns: int) -> int:
    """Length of a row for a stretch of time: the shortest that does not give too many rows."""
    for minutes in ROWS_MIN:
        row = minutes * 60 * 10**9
        if -(-end_ns // row) - start_ns // row <= MOST_ROWS:
            return row
    return ROWS_MIN[-1] * 60 * 10**9


def png(
    strips: Sequence[Strip],
    picks: Sequence[Pick],
    start_ns: int,
    end_ns: int,
) -> tuple[bytes, bytes]:
    """The overview of a stretch of time, for wide and for narrow screens, as PNG files.

    Rows begin at multiples of their length. The narrow one has twice as many rows.

    Args:
        strips: of one instrument.
        picks: those outside, or of other instruments, are left out.
        start_ns: begin of the stretch, ns since 1970-01-01.
        end_ns: its end.
    """
    row = row_ns(start_ns, end_ns)
    start, end = start_ns // row * row, -(-end_ns // row) * row
    made = envelope(strips, start, end, row // BINS)
    trace_id = strips[0].trace_id
    channels = " ".join(dict.fromkeys(item.channel for item in strips))
    own = [p for p in picks if p.trace_id == trace_id and start <= p.peak_time.ns < end]
    title = f"{trace_id}  {channels}"
    return _draw(made, own, row, title, 11.0), _draw(made, own, row // 2, title, 5.6)


def _high_passed(data: np.ndarray, rate_hz: float) -> np.ndarray:
    """A gap-free stretch above 1 Hz, settled at its first sample; demeaned if that is too high."""
    data = data.astype(np.float64)
    if 0.4 * rate_hz <= HIGH_PASS_HZ:
        return data - data.mean()
    from scipy import signal  # slow to import, and needed for pictures alone

    sections = signal.butter(2, HIGH_PASS_HZ, "highpass", fs=rate_hz, output="sos")
    settled = signal.sosfilt_zi(sections) * data[0]
    return np.asarray(signal.sosfilt(sections, data, zi=settled)[0])


def _draw(made: Envelope, picks: Sequence[Pick], row: int, title: str, width: float) -> bytes:
    across = row // made.bin_ns
    rows = len(made.low) // across
    peaks = np.fmax(np.abs(made.low), np.abs(made.high))
    level = _level(peaks)
    figure = Figure(figsize=(width, ROW_IN * rows + 1.25), dpi=DPI)
    FigureCanvasAgg(figure)
    height = figure.get_figheight()
    axis = figure.add_axes((0.62 / width, 0.55 / height, 1 - 0.77 / width, ROW_IN * rows / height))
    x = (np.arange(across) + 0.5) / across
    gaps = []
    for number in range(rows):
        part = slice(number * across, (number + 1) * across)
        low, high = (
            np.clip(v[part] / level / 2, -CUT_ROWS, CUT_ROWS) - number
            for v in (made.low, made.high)
        )
        # Half a line width of height, so that quiet stretches stay visible.
        axis.fill_between(x, low, high, color=TRACE_COLOURS[number % 2], lw=0.4, zorder=2)
        there = np.diff(made.gap[part].astype(int), prepend=0, append=0)
        for a, b in zip(np.flatnonzero(there > 0), np.flatnonzero(there < 0), strict=True):
            gaps.append((number, int(a) / across, int(b - a) / across))
    for number, first, length in gaps:
        axis.broken_barh([(first, length)], (-number - 0.5, 1), color=GAP_COLOUR, lw=0, zorder=1)
    for phase, (bottom, top) in {"P": (-0.05, 0.5), "S": (-0.5, 0.05)}.items():
        lines = []
        for pick in picks:
            if pick.phase == phase:
                number, rest = divmod(pick.peak_time.ns - made.start_ns, row)
                lines.append([(rest / row, -number + bottom), (rest / row, -number + top)])
        axis.add_collection(LineCollection(lines, colors=COLOURS[phase], lw=1.6, zorder=3))
    _finish(figure, made, picks, row, rows, title, level)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _level(peaks: np.ndarray) -> float:
    """The amplitude of half a row: of ordinary noise a quarter, and strong events are cut off."""
    known = peaks[np.isfinite(peaks)]
    if not len(known):
        return 1.0
    level = max(4 * float(np.median(known)), float(np.percentile(known, 99)) / 2)
    return level or float(known.max()) or 1.0


def _finish(
    figure: Figure,
    made: Envelope,
    picks: Sequence[Pick],
    row: int,
    rows: int,
    title: str,
    level: float,
) -> None:
    axis, start = figure.axes[0], UTCDateTime(ns=made.start_ns)
    axis.set_xlim(0, 1)
    axis.set_ylim(-rows + 0.2, 0.8)
    every = max(1, rows // 26)
    axis.set_yticks(
        [-n for n in range(0, rows, every)],
        [(start + n * row / 1e9).strftime("%H:%M") for n in range(0, rows, every)],
    )
    minutes = row / 60e9
    step = next(s for s in (0.1, 0.25, 0.5, 1, 2, 5, 10) if minutes / s <= 6 or s == 10)
    ticks = np.arange(0, minutes + step / 2, step)
    axis.set_xticks(ticks / minutes, [f"{tick:g}" for tick in ticks])
    axis.grid(axis="x", color="#cccccc", lw=0.5, zorder=0)
    axis.tick_params(length=0, labelsize=9)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_xlabel("minutes (UTC)", fontsize=10)
    end = start + rows * row / 1e9 - 1
    dates = dict.fromkeys(time.strftime("%Y-%m-%d") for time in (start, end))
    narrow = figure.get_figwidth() < 8
    height = figure.get_figheight()
    top = 1 - 0.28 / height
    figure.text(
        0.1 / figure.get_figwidth(), top, f"{title}  {' to '.join(dates)}",
        fontsize=11, fontweight="bold", va="center",
    )  # fmt: skip
    counts = {phase: sum(pick.phase == phase for pick in picks) for phase in COLOURS}
    figure.legend(
        [Line2D([], [], color=COLOURS[phase], lw=1.6) for phase in counts],
        [f"{phase}: {count}" for phase, count in counts.items()],
        loc="center right", bbox_to_anchor=(0.99, top - 0.27 / height if narrow else top),
        ncols=2, frameon=False, fontsize=10,
    )  # fmt: skip
