"""Cutting a long record into windows and putting the windows' outputs together again.

Windows start at multiples of the step on the grid of absolute time, so that the same moment is seen
in the same window however a record was divided into files. The first and the last window are flush
with the ends of the record instead, and only a record shorter than one window is padded.
"""

from __future__ import annotations

from typing import Literal

import numpy as np


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


def window_starts(samples: int, window: int, overlap: float, anchor: int = 0) -> np.ndarray:
    """First sample of each window, ascending, covering every sample of a record.

    Args:
        samples: length of the record.
        window: length of a window in samples.
        overlap: of neighbouring windows, see :func:`overlap_samples`.
        anchor: number of the record's first sample on the grid of absolute time; windows away from
            the ends start where (anchor + start) is a multiple of the step.

    Returns:
        (windows,) int64: one window at 0, one ending at the last sample, those of the grid between.
        A record shorter than a window gets the one at 0, none if it has no samples.
    """
    step = window - overlap_samples(window, overlap)
    if samples <= window:
        return np.zeros(min(samples, 1), np.int64)
    on_grid = np.arange(-anchor % step, samples - window + 1, step)
    return np.unique(np.concatenate([[0], on_grid, [samples - window]])).astype(np.int64)


def cut(data: np.ndarray, starts: np.ndarray, window: int) -> np.ndarray:
    """Return windows of a record (samples, channels), zero (or False) beyond its end.

    Returns:
        (windows, window, channels), a copy in the type of `data`.
    """
    out = np.zeros((len(starts), window, *data.shape[1:]), data.dtype)
    for row, start in zip(out, starts, strict=True):
        part = data[start : start + window]
        row[: len(part)] = part
    return out


class Stitcher:
    """Combines the outputs of overlapping windows, fed a few windows at a time.

    Args:
        starts: first sample of every window that will come.
        samples: length of the record.
        window: length of a window.
        channels: number of output channels.
        blinding: samples at the beginning and end of each window that are not used, except where no
            window has anything else to say (the ends of the record, or too little overlap).
        how: "mean" or "max" of the windows that cover a sample. A nan in a window stays a nan.

    Raises:
        ValueError: blinding that leaves nothing of a window, or an unknown `how`.
    """

    def __init__(
        self,
        starts: np.ndarray,
        samples: int,
        window: int,
        channels: int,
        blinding: tuple[int, int] = (0, 0),
        how: Literal["mean", "max"] = "mean",
    ):
        before, after = blinding
        if before < 0 or after < 0 or before + after >= window:
            raise ValueError(f"blinding {blinding} leaves nothing of a window of {window} samples")
        if how not in ("mean", "max"):
            raise ValueError(f"how is {how!r}; give 'mean' or 'max'")
        self.samples, self.window, self.how = samples, window, how
        self.inner = slice(before, window - after)
        starts = np.asarray(starts, np.int64)
        edges = np.zeros(samples + 1, np.int64)
        np.add.at(edges, np.minimum(starts + before, samples), 1)
        np.add.at(edges, np.minimum(starts + window - after, samples), -1)
        self.bare = edges.cumsum()[:-1] == 0  # (samples,) only blinded parts of windows cover it
        self.count = np.zeros((samples, 1), np.int32)
        empty = 0.0 if how == "mean" else -np.inf
        self.total = np.full((samples, channels), empty, np.float64)

    def add(self, start: int, output: np.ndarray) -> None:
        """Enter the output (window, channels) of the window that starts at `start`."""
        length = min(self.window, self.samples - start)
        part = slice(start, start + length)
        use = self.bare[part].copy()
        use[self.inner] = True
        self.count[part][use] += 1
        if self.how == "mean":
            self.total[part][use] += output[:length][use]
        else:
            self.total[part][use] = np.maximum(self.total[part][use], output[:length][use])

    def result(self) -> np.ndarray:
        """Return (samples, channels) float32; nan where no window was entered."""
        if self.how == "max":
            return np.where(self.count > 0, self.total, np.nan).astype(np.float32)
        with np.errstate(invalid="ignore"):
            return (self.total / self.count).astype(np.float32)


def stitch(
    outputs: np.ndarray,
    starts: np.ndarray,
    samples: int,
    blinding: tuple[int, int] = (0, 0),
    how: Literal["mean", "max"] = "mean",
) -> np.ndarray:
    """Combine the outputs of all windows of a record, see :class:`Stitcher`.

    Args:
        outputs: (windows, window, channels).
        starts: (windows,) first sample of each.
        samples: length of the record.
        blinding: samples not used at the beginning and end of each window.
        how: "mean" or "max".

    Returns:
        (samples, channels) float32; nan where no window lies.
    """
    stitcher = Stitcher(starts, samples, outputs.shape[1], outputs.shape[2], blinding, how)
    for start, output in zip(starts, outputs, strict=True):
        stitcher.add(int(start), output)
    return stitcher.result()
