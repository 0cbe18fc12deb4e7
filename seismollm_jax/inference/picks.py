"""Continuous records to probability curves, picks and a table of picks."""

from __future__ import annotations

import csv
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from obspy import UTCDateTime

from seismollm_jax.inference.streams import Segment
from seismollm_jax.inference.windows import Stitcher, cut, window_starts
from seismollm_jax.metrics.peaks import find_peaks

COLUMNS = ("trace_id", "phase", "time", "probability")


@dataclass
class Pick:
    """An arrival on a record.

    Attributes:
        trace_id: "NET.STA.LOC.HH".
        phase: such as "P" or "S".
        time: of the peak of the probability curve.
        probability: at the highest sample, 0 to 1.
        start_time: first sample of the run around the peak at half the threshold or more.
        end_time: last sample of that run.
    """

    trace_id: str
    phase: str
    time: UTCDateTime
    probability: float
    start_time: UTCDateTime | None = None
    end_time: UTCDateTime | None = None


Normalise = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""(samples, channels) and a mask of valid samples (None: all) -> normalised, 0 where not valid."""


def annotate_stream(
    forward: Callable[[np.ndarray], np.ndarray],
    segments: Iterable[Segment],
    *,
    window: int,
    overlap: float,
    batch_size: int,
    normalise: Normalise,
    blinding: tuple[int, int] = (0, 0),
    how: Literal["mean", "max"] = "mean",
) -> Iterator[tuple[Segment, np.ndarray]]:
    """Run a model over segments of any length.

    Windows of neighbouring segments share batches, so that many short segments cost no more than
    one long one, and every batch has the same size, so that a jitted `forward` compiles once. Held
    in memory are the segments that the batch at hand touches and their curves.

    Args:
        forward: (batch_size, window, 3) float32 -> (batch_size, window, k). Rows that fill up the
            last batch are zero.
        segments: see :func:`seismollm_jax.inference.streams.segments`; may be a generator.
        window: samples of the model's window.
        overlap: of neighbouring windows, a fraction below 1 or a number of samples.
        batch_size: windows a call of `forward`.
        normalise: (samples, channels) and which samples are valid -> the same as in training. A
            window with gaps is normalised over its valid samples alone and is 0 in the gaps.
        blinding: samples not used at the beginning and end of each window.
        how: "mean" or "max" of overlapping windows.

    Yields:
        Each segment, in order, with its curves (samples, k) float32: nan where no component has
        data.

    Raises:
        ValueError: `forward` returns another shape.
    """
    waiting: deque[tuple[Segment, _Curves]] = deque()
    batch = np.zeros((batch_size, window, 3), np.float32)
    rows: list[tuple[_Curves, int]] = []

    def run() -> None:
        batch[len(rows) :] = 0
        outputs = np.asarray(forward(batch))
        if outputs.ndim != 3 or outputs.shape[:2] != batch.shape[:2]:
            raise ValueError(
                f"forward returned {outputs.shape} for windows of shape {batch.shape}; "
                "(batch, window, channels) is needed"
            )
        for (curves, start), output in zip(rows, outputs, strict=False):
            curves.add(start, output)
        rows.clear()

    for segment in segments:
        starts = window_starts(len(segment.data), window, overlap, segment.anchor)
        curves = _Curves(starts, len(segment.data), window, blinding, how)
        waiting.append((segment, curves))
        for start in starts:
            batch[len(rows)] = normalised_window(segment, int(start), window, normalise)
            rows.append((curves, int(start)))
            if len(rows) == batch_size:
                run()
        while waiting and waiting[0][1].complete:
            yield _finish(*waiting.popleft())
    if rows:
        run()
    for item in waiting:
        yield _finish(*item)


def normalised_window(
    segment: Segment, start: int, window: int, normalise: Normalise
) -> np.ndarray:
    """The window of a segment from sample `start` on, normalised over its valid samples.

    Returns:
        (window, 3) float32, 0 beyond the end of the segment.
    """
    part = slice(start, start + window)
    valid = segment.valid[part]
    data = normalise(segment.data[part], None if valid.all() else valid)
    return cut(data, np.zeros(1, np.int64), window)[0]


def pick_segment(
    probability: np.ndarray,
    segment: Segment,
    phases: Mapping[str, int],
    thresholds: Mapping[str, float],
    min_distance_s: float,
    sub_sample: bool = True,
) -> list[Pick]:
    """Pick every arrival on a segment's probability curves.

    Args:
        probability: (samples, k); nan where there is no data, beside which nothing is picked.
        segment: the record the curves belong to.
        phases: channel of each phase, such as {"P": 1, "S": 2}.
        thresholds: smallest probability of a pick, by phase.
        min_distance_s: of two peaks of a phase this close or closer the higher one stays.
        sub_sample: place the time at the top of the parabola through the highest sample and its
            neighbours, at most half a sample away, instead of at the highest sample.

    Returns:
        Picks in order of time.

    Raises:
        ValueError: the curves have another length than the segment.
        KeyError: a phase without a threshold.
    """
    if len(probability) != len(segment.data):
        raise ValueError(
            f"{segment.trace_id}: curves of {len(probability)} samples for a segment of "
            f"{len(segment.data)}"
        )
    rate = segment.sampling_rate_hz
    found = []
    for phase, channel in phases.items():
        curve, threshold = np.asarray(probability[:, channel], np.float32), thresholds[phase]
        peaks = find_peaks(curve, threshold, int(min_distance_s * rate), None)
        low = np.flatnonzero(~(curve >= threshold / 2))
        low = np.concatenate([[-1], low, [len(curve)]])
        after = np.searchsorted(low, peaks)
        for peak, first, last in zip(peaks, low[after - 1] + 1, low[after] - 1, strict=True):
            shift = _vertex(curve[peak - 1 : peak + 2]) if sub_sample else 0.0
            found.append(
                Pick(
                    segment.trace_id,
                    phase,
                    segment.start_time + (float(peak) + shift) / rate,
                    float(curve[peak]),
                    segment.start_time + float(first) / rate,
                    segment.start_time + float(last) / rate,
                )
            )
    return sorted(found, key=lambda pick: (pick.time, pick.phase))


def write_csv(picks: Iterable[Pick], path: str | os.PathLike[str]) -> int:
    """Write one row a pick: trace_id, phase, time (ISO 8601, UTC, microseconds), probability.

    Rows are written as they come, so `picks` may be a generator over an archive.

    Returns:
        The number of picks written.
    """
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for pick in picks:
            count += 1
            time = pick.time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            writer.writerow([pick.trace_id, pick.phase, time, f"{pick.probability:.4f}"])
    return count


class _Curves:
    """The curves of one segment in the making; the number of channels shows with the first."""

    def __init__(self, starts, samples, window, blinding, how):
        self.make = lambda k: Stitcher(starts, samples, window, k, blinding, how)
        self.stitcher: Stitcher | None = None
        self.left = len(starts)

    @property
    def complete(self) -> bool:
        return self.left == 0

    def add(self, start: int, output: np.ndarray) -> None:
        if self.stitcher is None:
            self.stitcher = self.make(output.shape[1])
        self.stitcher.add(start, output)
        self.left -= 1


def _finish(segment: Segment, curves: _Curves) -> tuple[Segment, np.ndarray]:
    if curves.stitcher is None:
        raise ValueError(f"{segment.trace_id}: the segment has no samples")
    probability = curves.stitcher.result()
    probability[~segment.valid.any(1)] = np.nan
    return segment, probability


def _vertex(three: np.ndarray) -> float:
    """Place of the top of the parabola through three samples, relative to the middle one."""
    before, top, after = three.astype(np.float64)
    curvature = before - 2 * top + after  # below 0: the middle one is higher than its predecessor
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))
