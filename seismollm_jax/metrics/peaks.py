"""From probability curves to picks and detections, sample for sample as the PyTorch original.

A peak is a sample that rises from its predecessor and does not rise to its successor: of a flat top
the first sample counts, and so does a flat step on a rising slope. Where the original is undefined
or fails the rule here is fixed: of equal heights the later sample wins, traces with nan are read
(no peak at or beside a nan), and the limit on the number of picks holds at every distance.
"""

from __future__ import annotations

import numpy as np

from seismollm_jax.metrics.phases import NO_PICK


def find_peaks(
    probability: np.ndarray, threshold: float, min_distance: int, max_picks: int | None = 1
) -> np.ndarray:
    """Return the picks of one trace in order of time.

    The `max_picks` highest peaks are chosen first; only then does the higher one of two peaks that
    are `min_distance` samples apart or less remove the other. With more than one pick the result
    may therefore hold fewer than exist; `max_picks=None` keeps every peak that survives.

    Args:
        probability: (samples,) compared in float32; nan marks samples without a value.
        threshold: smallest height of a pick, inclusive.
        min_distance: samples; 1 or less removes nothing.
        max_picks: most picks to return, None for no limit.

    Returns:
        (picks,) int64 sample indices; the first and last sample are never among them.

    Raises:
        ValueError: `probability` is not one-dimensional or `max_picks` is below 1.
    """
    curve = np.asarray(probability, np.float32)
    if curve.ndim != 1:
        raise ValueError(f"find_peaks takes one trace (samples,), not shape {curve.shape}")
    _check_limit(max_picks)
    _, sample = _candidates(curve[None], threshold)
    return _select(sample, curve[sample], min_distance, max_picks)


def pick_batch(
    probability: np.ndarray, threshold: float, min_distance: int, max_picks: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Pick every trace of a batch; the same rule as :func:`find_peaks`.

    Args:
        probability: (batch, samples).
        threshold: smallest height of a pick, inclusive.
        min_distance: samples; 1 or less removes nothing.
        max_picks: number of slots a trace.

    Returns:
        Sample indices (batch, max_picks) int64, in order of time from the left, NO_PICK in the
        slots left over, and the probability at each pick (batch, max_picks) float32, nan there.

    Raises:
        ValueError: `probability` is not two-dimensional or `max_picks` is below 1.
    """
    curves = np.asarray(probability, np.float32)
    if curves.ndim != 2:
        raise ValueError(f"pick_batch takes (batch, samples), not shape {curves.shape}")
    _check_limit(max_picks)
    picks = np.full((len(curves), max_picks), NO_PICK, np.int64)
    heights = np.full((len(curves), max_picks), np.nan, np.float32)
    row, sample = _candidates(curves, threshold)
    rows, first = np.unique(row, return_index=True)
    for i, of_row in zip(rows, np.split(sample, first[1:]), strict=False):
        found = _select(of_row, curves[i, of_row], min_distance, max_picks)
        picks[i, : len(found)] = found
        heights[i, : len(found)] = curves[i, found]
    return picks, heights


def at_threshold(
    picks: np.ndarray, heights: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """What `pick_batch` would have found with a higher threshold.

    The highest peaks are chosen first and a peak is removed by higher ones alone, so picks with a
    higher threshold are those with a lower one that reach it.

    Args:
        picks: (batch, slots) samples, as `pick_batch` gives them.
        heights: the same shape, their probabilities.
        threshold: smallest height of a pick, inclusive; at least the one they were picked with.

    Returns:
        Arrays as of `pick_batch`.
    """
    kept = np.greater_equal(heights, np.float32(threshold))  # false for nan
    order = np.argsort(~kept, axis=1, kind="stable")  # those kept go to the left, in their order
    picks, heights = np.where(kept, picks, NO_PICK), np.where(kept, heights, np.float32(np.nan))
    return np.take_along_axis(picks, order, 1), np.take_along_axis(heights, order, 1)


def detections(
    probability: np.ndarray, threshold: float = 0.5, max_detections: int = 1
) -> np.ndarray:
    """Find the longest runs of samples strictly above a threshold.

    Args:
        probability: (batch, samples); nan is never above.
        threshold: compared in float32.
        max_detections: number of runs kept a trace.

    Returns:
        (batch, 2 * max_detections) int64: first and last sample of each run, inclusive, longest
        run first and the earlier of equal ones first; [1, 0] fills the slots left over.

    Raises:
        ValueError: `probability` is not two-dimensional or `max_detections` is below 1.
    """
    curves = np.asarray(probability, np.float32)
    if curves.ndim != 2:
        raise ValueError(f"detections takes (batch, samples), not shape {curves.shape}")
    _check_limit(max_detections)
    above = np.zeros((len(curves), curves.shape[1] + 2), np.int8)  # closed off at both ends
    above[:, 1:-1] = curves > np.float32(threshold)
    step = np.diff(above, axis=1)
    row, first = np.nonzero(step == 1)
    last = np.nonzero(step == -1)[1] - 1
    order = np.lexsort((first, first - last, row))
    row, first, last = row[order], first[order], last[order]
    slot = np.arange(len(row)) - np.searchsorted(row, row)
    kept = slot < max_detections
    found = np.tile(np.array([1, 0], np.int64), (len(curves), max_detections, 1))
    found[row[kept], slot[kept]] = np.stack([first[kept], last[kept]], 1)
    return found.reshape(len(curves), -1)


def _candidates(curves: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and samples of the peaks of (batch, samples) float32 that reach the threshold."""
    if curves.shape[1] < 3:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Few samples reach the threshold, so everything else is looked at for those alone.
    row, sample = np.nonzero(curves[:, 1:-1] >= np.float32(threshold))  # false for nan
    sample += 1
    here = curves[row, sample]
    with np.errstate(invalid="ignore"):  # inf - inf beside a sample that saturates
        rise, onward = here - curves[row, sample - 1], curves[row, sample + 1] - here
        peak = (rise > 0) & (onward <= 0)  # false beside a nan
    return row[peak], sample[peak]


def _select(
    sample: np.ndarray, height: np.ndarray, min_distance: int, max_picks: int | None
) -> np.ndarray:
    """Apply the limit, then the distance, to the peaks of one trace given in order of time."""
    order = np.lexsort((-sample, -height))[:max_picks]  # highest first, later one first
    if min_distance <= 1 or len(order) < 2:
        return np.sort(sample[order])
    times = np.sort(sample[order])
    low = np.searchsorted(times, times - min_distance, "left")
    high = np.searchsorted(times, times + min_distance, "right")
    alive = np.ones(len(times), bool)
    for i in np.searchsorted(times, sample[order]):  # from the highest down
        if alive[i]:
            alive[low[i] : high[i]] = False
            alive[i] = True
    return times[alive]


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(
            f"the number of picks or detections to keep must be 1 or more, not {limit}"
        )
