"""Training labels and evaluation targets of a window, from its picks.

Label windows are `width` + 1 samples wide, from `width // 2` samples before the pick to
`width - width // 2` after it: an odd width is one sample longer on the right. Labels follow
the PyTorch original, so that its published weights can be evaluated and trained further.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

NO_PICK = -10_000_000
"""Stands for "no pick" in integer arrays of picks."""

SHAPES = ("gaussian", "triangle", "box", "sigmoid")
CURVES = ("neither", "p", "s", "detection")


@lru_cache(maxsize=32)
def soft_window(shape: str, width: int) -> np.ndarray:
    """Values of a label window, float64 of shape (width + 1,), read-only.

    "gaussian" has a standard deviation of 10 samples whatever the width and the sampling rate and
    is cut off at the ends; "triangle" falls to 0 and, for an odd width, below it at the last
    sample; "box" is 1; "sigmoid" rises and falls as a logistic curve. `width` is in samples.

    Raises ValueError for an unknown shape or a width that is too small for it.
    """
    smallest = {"gaussian": 0, "box": 0, "triangle": 1, "sigmoid": 2}
    if shape not in smallest:
        raise ValueError(f"label shape is {shape!r}; choose from {', '.join(SHAPES)}")
    if width < smallest[shape]:
        raise ValueError(
            f"label width is {width} samples; {shape} labels need at least {smallest[shape]}"
        )
    left = width // 2
    right = width - left
    offset = np.arange(-left, right + 1)
    if shape == "gaussian":
        values = np.exp(-(offset**2) / 200.0)
    elif shape == "triangle":
        values = 1.0 - np.abs(2.0 * offset / width)
    elif shape == "box":
        values = np.ones(width + 1)
    else:
        rise = np.arange(left) - left // 2
        fall = np.arange(right) - right // 2
        values = np.concatenate(
            [1 / (1 + np.exp(-10 / left * rise)), [1.0], 1 / (1 + np.exp(10 / right * fall))]
        )
    values.flags.writeable = False
    return values


def place(label: np.ndarray, window: np.ndarray, sample: int) -> None:
    """Add a label window to `label` (length,) in place, with its peak at `sample`.

    The part outside the label is cut off. A pick outside the label adds nothing. Windows that
    overlap add up, so values above 1 occur.
    """
    length, width = len(label), len(window) - 1
    if not 0 <= sample < length:
        return
    start = sample - width // 2
    first, last = max(start, 0), min(start + width + 1, length)
    label[first:last] += window[first - start : last - start]


def pad_phases(
    p_samples: Sequence[int], s_samples: Sequence[int], padding: int, length: int
) -> tuple[list[int], list[int]]:
    """Sort picks and give each a partner, P before S.

    Let m be the largest number such that for each j up to m the first j P picks come, one by one,
    before the last j S picks. S picks without a P get one at -`padding`, before the window; P picks
    without an S get one at `length` + `padding`, behind it. Both lists come out equally long.
    """
    p, s = sorted(p_samples), sorted(s_samples)
    pairs, padding = 0, abs(padding)
    for j in range(1, min(len(p), len(s)) + 1):
        if any(a >= b for a, b in zip(p[:j], s[-j:], strict=True)):
            break
        pairs = j
    return [-padding] * (len(s) - pairs) + p, s + [length + padding] * (len(p) - pairs)


def coda_end(p_sample: int, s_sample: int, coda_ratio: float) -> int:
    """Sample at which an event ends: S plus `coda_ratio` times the S minus P time."""
    return int(s_sample + coda_ratio * (s_sample - p_sample))


def pick_labels(
    p_samples: Sequence[int],
    s_samples: Sequence[int],
    *,
    length: int,
    width: int,
    shape: str = "gaussian",
    coda_ratio: float = 2.0,
    curves: Sequence[str] = ("neither", "p", "s"),
) -> np.ndarray:
    """Label curves of a window of `length` samples, float32 of shape (length, len(curves)).

    "p" and "s" are label windows at the picks. "neither" is 1 minus both of them, not below 0.
    "detection" is 1 from P to the end of the coda, with half a label window at either end. The
    last two give a lone pick a partner outside the window (`pad_phases`). `width` is in samples.

    Raises ValueError for an unknown curve or shape.
    """
    window = soft_window(shape, width)
    p_padded, s_padded = pad_phases(p_samples, s_samples, width, length)

    def at(samples: Sequence[int]) -> np.ndarray:
        label = np.zeros(length)
        for sample in samples:
            place(label, window, sample)
        return label

    def detection() -> np.ndarray:
        total = np.zeros(length)
        for p, s in zip(p_padded, s_padded, strict=True):
            end = coda_end(p, s, coda_ratio)
            label = at([p, end])
            first, last = np.clip([p, end], 0, length)
            label[first:last] = 1.0
            total += label
        return np.minimum(total, 1.0)

    labels = np.empty((length, len(curves)), np.float32)
    for column, curve in enumerate(curves):
        if curve == "p":
            labels[:, column] = at(p_samples)
        elif curve == "s":
            labels[:, column] = at(s_samples)
        elif curve == "neither":
            labels[:, column] = np.maximum(1.0 - at(p_padded) - at(s_padded), 0.0)
        elif curve == "detection":
            labels[:, column] = detection()
        else:
            raise ValueError(f"label curve is {curve!r}; choose from {', '.join(CURVES)}")
    return labels


def pick_targets(samples: Sequence[int], n: int) -> np.ndarray:
    """Return the first `n` picks, int64 of shape (n,), filled up with `NO_PICK`."""
    targets = np.full(n, NO_PICK, np.int64)
    kept = np.asarray(samples[:n], np.int64)
    targets[: len(kept)] = kept
    return targets


def detection_targets(
    p_samples: Sequence[int],
    s_samples: Sequence[int],
    *,
    length: int,
    width: int,
    n: int,
    coda_ratio: float = 2.0,
) -> np.ndarray:
    """First and last sample of the first `n` events, int64 of shape (n, 2), rows of [1, 0] behind.

    Events run from P, moved into the window, to the end of the coda, which may lie outside. A lone
    pick gets a partner outside the window (`pad_phases`).
    """
    targets = np.tile(np.array([1, 0], np.int64), (n, 1))
    pairs = zip(*pad_phases(p_samples, s_samples, width, length), strict=True)
    for row, (p, s) in zip(targets, pairs, strict=False):
        row[:] = min(max(p, 0), length), coda_end(p, s, coda_ratio)
    return targets
