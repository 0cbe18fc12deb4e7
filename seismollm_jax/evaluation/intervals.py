"""95 % intervals of scores, from resampled events."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.evaluation.evaluate import Evaluation, labelled
from seismollm_jax.evaluation.predictions import events
from seismollm_jax.metrics.bootstrap import FEW_RESAMPLES, Resampling, groups_of, interval
from seismollm_jax.tasks.base import Arrays

COUNTS = ("n", "hits", "n_missing", "n_invalid")
"""Scores that are numbers of records; they have no intervals."""

MARK = "\n"  # in no name


def of_events(outcome: Evaluation, catalogue: pd.DataFrame) -> Resampling:
    """Resamples of the events behind the records; a record without an event is one by itself."""
    return Resampling(groups_of(events(catalogue)[outcome.rows]))


def part_of(resampling: Resampling, chosen: np.ndarray) -> Resampling:
    """Resamples of the events of some of the records alone; `chosen` is a mask (records,).

    They are `FEW_RESAMPLES`.
    """
    _, groups = np.unique(resampling.groups[chosen], return_inverse=True)
    return Resampling(groups, FEW_RESAMPLES, resampling.seed)


def intervals(outcome: Evaluation, resampling: Resampling) -> dict[str, list[float | None]]:
    """Score -> lowest and highest value, of all but counts; empty with fewer than two events."""
    if resampling.events < 2:
        return {}
    losses: Arrays = {"loss": outcome.losses.astype(np.float64)}
    losses["n"] = np.ones(outcome.records, np.uint8)
    summed = resampling.sums(losses)
    values = {"loss": summed["loss"] / summed["n"]}
    values |= resampled(outcome, np.ones(outcome.records, bool), resampling)
    for name, metric in outcome.metrics.items():
        counts = labelled(outcome.targets, name)
        others = metric.weighted(outcome.answers[name][counts], outcome.targets[name][counts])
        if others is not None:
            found = resampling.apply(functools.partial(_of_some, others, counts))
            values |= {f"{name}/{score}": value for score, value in found.items()}
    return {name: bounds(value) for name, value in values.items()}


def resampled(outcome: Evaluation, chosen: np.ndarray, resampling: Resampling) -> Arrays:
    """Scores of some records that are functions of sums, (resamples,), without counts.

    Args:
        outcome: at the thresholds to judge.
        chosen: mask (records,).
        resampling: of the events of those records.
    """
    parts: Arrays = {}
    for name, metric in outcome.metrics.items():
        counts = labelled(outcome.targets, name)[chosen]
        of_metric = metric.parts(outcome.answers[name][chosen], outcome.targets[name][chosen])
        for part, value in of_metric.items():
            parts[f"{name}{MARK}{part}"] = np.where(
                counts.reshape(-1, *[1] * (value.ndim - 1)), value, np.zeros((), value.dtype)
            )
    sums = resampling.sums(parts)
    found: Arrays = {}
    for name, metric in outcome.metrics.items():
        own = {k.split(MARK)[1]: v for k, v in sums.items() if k.split(MARK)[0] == name}
        scores = metric.scores(own)
        found |= {f"{name}/{score}": v for score, v in scores.items() if score not in COUNTS}
    return found


def _of_some(
    scores: Callable[[np.ndarray], dict[str, float]], counts: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
    return scores(weights[counts])


def bounds(values: np.ndarray) -> list[float | None]:
    """The interval of resampled scores (resamples,) as JSON has it."""
    low, high = interval(values)
    return as_list(np.array([low, high]))


def series(values: np.ndarray, samples: np.ndarray | None) -> dict[str, Any]:
    """A curve (points,) with its bounds, from resampled ones (resamples, points)."""
    found: dict[str, Any] = {"value": as_list(values)}
    if samples is not None:
        low, high = interval(samples)
        found |= {"low": as_list(low), "high": as_list(high)}
    return found


def as_list(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN; what does not exist is null."""
    return [float(v) if np.isfinite(v) else None for v in np.asarray(values, np.float64)]


def totals(parts: Mapping[str, np.ndarray]) -> Arrays:
    """Sums over all records, float64."""
    return {name: part.sum(0, dtype=np.float64) for name, part in parts.items()}
