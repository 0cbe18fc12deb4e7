"""Cutting a long record into windows and putting the windows' outputs together again.

Windows start at multiples of the step on the grid of absolute time, also at the ends of a record,
where they reach beyond it. So the same moment is seen in the same windows however a record was
divided, and wherever it begins.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Stacking = Literal["avg", "max"]


def overlap_samples(window: int, overlap: float) -> int:
    """Overlap of neighbouring windows: a fraction below 1, or a number of samples from 1 up.

    Raises:
        ValueError: negative, not a whole number of samples, or leaving no step between windows.
    """
    samples = round(window * overlap) if overlap < 1 else int(overlap)
    if overlap < 0 or samples >= window or (overlap >= 1 and samples != overlap):
        raise ValueError(
            f"overlap is {overlap}; give a fraction in [0, 1) or whole samples below the window "
            f"of {window}"
        )
    return samples


def check_blinding(window: int, overlap: float, blinding: tuple[int, int]) -> tuple[int, int]:
    """Samples at the beginning and end of each window that are not used.

    Raises:
        ValueError: not two whole numbers of samples, or more than neighbouring windows overlap, so
            that no window would have anything to say about some samples.
    """
    try:
        before, after = (int(samples) for samples in blinding)
        whole = (before, after) == tuple(blinding) and before >= 0 and after >= 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"blinding is {blinding!r}; give two whole numbers of samples")
    if before + after > overlap_samples(window, overlap):
        raise ValueError(
            f"blinding {before} + {after} samples leaves holes between windows that overlap by "
            f"{overlap_samples(window, overlap)}; give overlap={before + after} or more"
        )
    return before, after


def window_starts(
    where: np.ndarray, window: int, overlap: float, anchor: int, blinding: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """First sample of each window, ascending, seen from the record's first sample.

    Args:
        where: (samples,) bool, the samples that want an answer.
        window: length of a window in samples.
        overlap: of neighbouring windows, see :func:`overlap_samples`.
        anchor: number of the record's first sample on the grid of absolute time; windows start
            where (anchor + start) is a multiple of the step.
        blinding: samples at the beginning and end of each window that are not used.

    Returns:
        (windows,) int64, from 1 - window up: each window in whose used part an answer is wanted.
    """
    step = window - overlap_samples(window, overlap)
    before, after = blinding
    samples = len(where)
    first = (anchor - window + 1) // step * step - anchor
    starts = np.arange(first, samples, step, dtype=np.int64)
    low = np.clip(starts + before, 0, samples).tolist()
    high = np.clip(starts + window - after, 0, samples).tolist()
    wanted = [bool(where[a:b].any()) for a, b in zip(low, high, strict=True)]
    return starts[np.array(wanted, bool)]


def inner_starts(samples: int, window: int, overlap: float, anchor: int) -> np.ndarray:
    """First sample of windows that do not reach beyond a record, ascending, covering all of it.

    For answers that concern a window as a whole. One begins and one ends with the record, those
    between start where (anchor + start) is a multiple of the step. A record shorter than a window
    gets one that reaches beyond its end, none if it has no samples.
    """
    step = window - overlap_samples(window, overlap)
    if samples <= window:
        return np.zeros(min(samples, 1), np.int64)
    on_grid = np.arange(-anchor % step, samples - window + 1, step)
    return np.unique(np.concatenate([[0], on_grid, [samples - window]])).astype(np.int64)


def cut(data: np.ndarray, start: int, window: int) -> np.ndarray:
    """`window` samples of a record (samples, ...) from `start` on, 0 or False outside of it."""
    first, end = max(start, 0), min(start + window, len(data))
    if end - first == window:
        return data[first:end]
    out = np.zeros((*data.shape[:0:-1], window), data.dtype).T  # components contiguous in memory
    if first < end:
        out[first - start : end - start] = data[first:end]
    return out


class Stitcher:
    """Combines the outputs of overlapping windows, fed a few windows at a time.

    Args:
        samples: length of the record.
        window: length of a window.
        channels: number of output channels.
        blinding: samples at the beginning and end of each window that are not used.
        stacking: "avg" or "max" of the windows that cover a sample. A nan in a window stays a nan.

    Raises:
        ValueError: blinding that leaves nothing of a window, or an unknown `stacking`.
    """

    def __init__(
        self,
        samples: int,
        window: int,
        channels: int,
        blinding: tuple[int, int] = (0, 0),
        stacking: Stacking = "avg",
    ):
        before, after = blinding
        if before < 0 or after < 0 or before + after >= window:
            raise ValueError(f"blinding {blinding} leaves nothing of a window of {window} samples")
        if stacking not in ("avg", "max"):
            raise ValueError(f"stacking is {stacking!r}; give 'avg' or 'max'")
        self.samples, self.mean = samples, stacking == "avg"
        self.before, self.used = before, window - before - after
        self.weight = np.zeros(samples, np.float32)
        self.total = np.full((samples, channels), 0 if self.mean else -np.inf, np.float32)

    def add(self, start: int, output: np.ndarray, weight: float = 1.0) -> None:
        """Enter a window.

        Args:
            start: its first sample, seen from the record's.
            output: (window, channels).
            weight: in averages, above 0: windows that reach beyond the data know less.
        """
        begin = start + self.before
        first, end = max(begin, 0), min(begin + self.used, self.samples)
        if first >= end:
            return
        values = output[first - start : end - start]
        self.weight[first:end] += weight
        if not self.mean:
            np.maximum(self.total[first:end], values, out=self.total[first:end])
        elif weight == 1.0:
            self.total[first:end] += values
        else:
            self.total[first:end] += np.float32(weight) * values

    def result(self) -> np.ndarray:
        """Return (samples, channels) float32; nan where no window was entered."""
        with np.errstate(invalid="ignore"):
            if self.mean:
                self.total /= self.weight[:, None]
            else:
                self.total[self.weight == 0] = np.nan
        return self.total


def channels_last(x: np.ndarray) -> np.ndarray:
    """Checks (windows, 3, samples) and turns it into (windows, samples, 3) float32.

    Raises:
        ValueError: another shape, or samples that are not finite.
    """
    x = np.asarray(x)
    if x.ndim != 3 or x.shape[1] != 3 or not len(x):
        raise ValueError(
            f"windows have shape {x.shape}; (windows, 3, samples) is needed, components Z, N, E"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all((1, 2))).tolist()
        raise ValueError(
            f"windows {bad[:10]} hold samples that are not finite; fill the gaps first"
        )
    return np.ascontiguousarray(x.swapaxes(1, 2), np.float32)
