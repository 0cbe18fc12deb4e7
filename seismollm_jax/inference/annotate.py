"""Running a network over continuous records: from segments to curves, and curves as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from obspy import Stream, Trace

from seismollm_jax.inference.streams import Segment
from seismollm_jax.inference.windows import (
    Stacking,
    Stitcher,
    check_blinding,
    cut,
    overlap_samples,
    window_starts,
)

Normalise = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""(samples, channels) and a mask of valid samples (None: all) -> normalised, 0 where not valid."""


def annotate_segments(
    forward: Callable[[np.ndarray], Any],
    segments: Iterable[Segment],
    *,
    window: int,
    overlap: float,
    batch_size: int,
    normalise: Normalise,
    blinding: tuple[int, int] = (0, 0),
    stacking: Stacking = "avg",
    multiple: int = 1,
) -> Iterator[tuple[Segment, np.ndarray]]:
    """Run a model over segments of any length.

    Windows of neighbouring segments share batches, so that many short segments cost no more than
    one long one. While the model works on a batch the next one is made. Held in memory are the
    segments that these two batches touch and their curves.

    Args:
        forward: (batch, window, 3) float32 -> (batch, window, k), perhaps to be waited for, like an
            array of JAX. Rows that fill up the last batch are zero.
        segments: see :func:`seismollm_jax.inference.streams.segments`; may be a generator.
        window: samples of the model's window.
        overlap: of neighbouring windows, a fraction below 1 or a number of samples.
        batch_size: windows a call of `forward`; the last call may have fewer, then a power of two.
        normalise: (samples, channels) and which samples are valid -> the same as in training. A
            window with gaps is normalised over its valid samples alone and is 0 in the gaps.
        blinding: samples not used at the beginning and end of each window.
        stacking: "avg" or "max" of overlapping windows; windows that are partly without data count
            less in the average.
        multiple: of which every batch is one, such as the number of devices.

    Yields:
        Each segment, in order, with its curves (samples, k) float32: nan where no answer is wanted.

    Raises:
        ValueError: `forward` returns another shape, or the options do not go together.
    """
    overlap_samples(window, overlap)
    blinding = check_blinding(window, overlap, blinding)
    batch_size = -(-batch_size // multiple) * multiple
    waiting: deque[_Curves] = deque()
    running: deque[tuple[list[tuple[_Curves, int]], Any]] = deque()
    rows: list[tuple[_Curves, int]] = []
    batch = np.zeros((batch_size, window, 3), np.float32)

    def collect() -> None:
        entered, outputs = running.popleft()
        outputs = np.asarray(outputs)
        if outputs.ndim != 3 or outputs.shape[0] < len(entered) or outputs.shape[1] != window:
            raise ValueError(
                f"forward returned {outputs.shape} for windows of shape {(len(entered), window, 3)}"
                "; (batch, window, channels) is needed"
            )
        for (curves, start), output in zip(entered, outputs, strict=False):
            curves.add(start, output)

    def run(size: int) -> None:
        nonlocal batch
        running.append((rows.copy(), forward(batch[:size])))
        rows.clear()
        batch = np.zeros((batch_size, window, 3), np.float32)  # the model may still read the old
        if len(running) > 1:
            collect()

    for segment in segments:
        curves = _Curves(segment, window, blinding, stacking)
        waiting.append(curves)
        starts = window_starts(segment.where, window, overlap, segment.anchor, blinding)
        curves.left = len(starts)
        for start in starts.tolist():
            batch[len(rows)] = normalised_window(segment, start, window, normalise)
            rows.append((curves, start))
            if len(rows) == batch_size:
                run(batch_size)
        while waiting and not waiting[0].left:
            yield waiting.popleft().finish()
    if rows:
        fewest = 1 << (len(rows) - 1).bit_length()  # few shapes, so few compilations
        run(min(batch_size, -(-fewest // multiple) * multiple))
    while running:
        collect()
    for item in waiting:
        yield item.finish()


def normalised_window(
    segment: Segment, start: int, window: int, normalise: Normalise
) -> np.ndarray:
    """The window of a segment from sample `start` on, normalised over its valid samples.

    Returns:
        (window, 3) float32, 0 where there is no data, also beyond the ends of the segment.
    """
    valid = cut(segment.valid, start, window)
    counts = np.count_nonzero(valid, axis=0)
    # A component without any data is constant, which normalisation turns into zeros anyway.
    whole = bool(((counts == window) | (counts == 0)).all())
    return normalise(cut(segment.data, start, window), None if whole else valid)


class _Curves:
    """The curves of one segment in the making; the number of channels shows with the first."""

    def __init__(
        self, segment: Segment, window: int, blinding: tuple[int, int], stacking: Stacking
    ):
        self.segment, self.window = segment, window
        self.make = lambda k: Stitcher(len(segment.data), window, k, blinding, stacking)
        self.stitcher: Stitcher | None = None
        self.left = 0
        self.known = np.asarray(segment.valid.any(1))

    def add(self, start: int, output: np.ndarray) -> None:
        if self.stitcher is None:
            self.stitcher = self.make(output.shape[1])
        known = np.count_nonzero(self.known[max(start, 0) : start + self.window])
        self.stitcher.add(start, output, known / self.window)
        self.left -= 1

    def finish(self) -> tuple[Segment, np.ndarray]:
        if self.stitcher is None:  # nothing of it wants an answer
            return self.segment, np.full((len(self.segment.data), 1), np.nan, np.float32)
        curves = self.stitcher.result()
        curves[~self.segment.where] = np.nan
        return self.segment, curves


def to_stream(segment: Segment, curves: np.ndarray, labels: Sequence[str], model: str) -> Stream:
    """Curves as traces, one for each label and stretch without nan.

    The channel is "MODEL_LABEL_HH", with the band and instrument code last, so that instruments at
    one site stay apart.
    """
    network, station, location, instrument = segment.trace_id.split(".")
    finite = np.concatenate([[False], np.isfinite(curves).all(1), [False]])
    bounds = np.flatnonzero(finite[1:] != finite[:-1]).reshape(-1, 2).tolist()
    stream = Stream()
    for channel, label in enumerate(labels):
        for first, end in bounds:
            header = {
                "network": network,
                "station": station,
                "location": location,
                "channel": f"{model}_{label}_{instrument}",
                "starttime": segment.time(first),
                "sampling_rate": segment.sampling_rate_hz,
            }
            stream.append(Trace(curves[first:end, channel].copy(), header))
    return stream
