"""What networks of the other tasks say of traces with P and S, beside what can be told without.

Catalogues often have picks alone. Distances can then be held against S minus P, polarities against
first motions that stand out, and magnitudes and back-azimuths against nothing: that their answers
differ from trace to trace is the least to expect.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import seismollm_jax as sj
from seismollm_jax.inference.events.crust import sp_distance_km

NEAR_KM = 15.0
CLEAR, OPPOSITE = 4, 2  # times the largest noise: a first motion, and a swing that forbids it


def answers(predictor: sj.Predictor, windows: np.ndarray) -> np.ndarray:
    """Number of each window (rows, samples, 3); of polarities the probability of up."""
    task = predictor.experiment.task
    assert task.answer_columns is not None  # all but picking have them
    output = predictor.forward(windows.swapaxes(1, 2))
    columns = task.answer_columns(task.decode(output, predictor.experiment.context))
    return np.asarray(
        next(column for column in columns.values() if np.issubdtype(column.dtype, np.floating)),
        np.float64,
    )


def first_motion(vertical: np.ndarray, p_sample: int, rate_hz: float) -> int:
    """1 up, -1 down, 0 where none stands out clearly from what comes before.

    It is the first swing, from 0.05 s before to 0.4 s after P, that exceeds four times the largest
    noise of the 2 s before, and none where one to the other side was half as large earlier.
    """
    before, near = round(2 * rate_hz), round(0.1 * rate_hz)
    noise = vertical[max(0, p_sample - before) : max(0, p_sample - near)].astype(np.float64)
    if not len(noise):
        return 0
    level = np.abs(noise - noise.mean()).max()
    start = max(0, p_sample - round(0.05 * rate_hz))
    swings = vertical[start : p_sample + round(0.4 * rate_hz)] - noise.mean()
    clear = np.flatnonzero(np.abs(swings) > CLEAR * level)
    if not len(clear):
        return 0
    sign = int(np.sign(swings[clear[0]]))
    return 0 if (-sign * swings[: clear[0]] > OPPOSITE * level).any() else sign


def judged(
    task: str, said: np.ndarray, sp_s: np.ndarray, motions: np.ndarray
) -> dict[str, float | int]:
    """Figures of one network: how its answers spread, and what they agree with.

    Args:
        task: its name.
        said: answers, (traces,).
        sp_s: S minus P of the catalogue, seconds, (traces,).
        motions: of `first_motion`, (traces,).
    """
    low, median, high = np.quantile(said, [0, 0.5, 1])
    found: dict[str, float | int] = {"low": low, "median": median, "high": high}
    if task == "polarity":
        clear = motions != 0
        found["clear"] = int(clear.sum())
        found["right"] = int(((said > 0.5) == (motions > 0))[clear].sum())
    if task == "distance":
        known = np.array([sp_distance_km(sp) for sp in sp_s])
        error, near = np.abs(said - known), known < NEAR_KM
        found["rank_correlation"] = float(spearmanr(said, sp_s).statistic)
        found["mean_difference_km"] = float(error.mean())
        found["within"] = int((error <= 0.25 * known + 5).sum())
        found["near"] = int(near.sum())
        if near.any():
            found["near_ratio"] = float(np.median(said[near] / known[near]))
    return found


def line(name: str, figures: Mapping[str, Any]) -> str:
    """The figures of a network in words."""
    f, task = figures["answers"], figures["task"]
    what = "probability of up" if task == "polarity" else task
    text = f"{name}: {what} {f['low']:.2f} to {f['high']:.2f}, median {f['median']:.2f}"
    if task == "polarity":
        text += f"; right for {f['right']} of {f['clear']} clear first motions"
    if task == "distance":
        text += (
            f"; rank correlation with S minus P {f['rank_correlation']:.2f}; {f['within']} of "
            f"{figures['traces']} within a quarter and 5 km of the distance for S minus P in "
            f"iasp91, {f['mean_difference_km']:.1f} km from it on average"
        )
        if "near_ratio" in f:
            text += (
                f"; of {f['near']} traces below {NEAR_KM:g} km the median ratio is "
                f"{f['near_ratio']:.2f}"
            )
    return text
