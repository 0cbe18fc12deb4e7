"""The best, median and worst records of an evaluation, by error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seismollm_jax.evaluation.evaluate import Evaluation, labelled
from seismollm_jax.evaluation.wording import phase, quantity
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.detections import DetectionMetrics
from seismollm_jax.metrics.phases import PhaseMetrics, is_pick, match
from seismollm_jax.metrics.values import ValueMetrics, wrap_degrees

EACH = 4  # of a kind, at most


class Case(NamedTuple):
    """A record to be shown.

    Attributes:
        kind: best, median or worst.
        place: in the outcome.
        words: truth and prediction, a line for each answer.
    """

    kind: str
    place: int
    words: list[str]


def errors(outcome: Evaluation) -> np.ndarray:
    """Largest error of each record over its answers, (records,).

    Seconds for picks, infinite where one is missed or false; degrees, kilometres or magnitudes for
    values; for classes the probability that the true one did not get. nan where there is nothing
    to judge: no label, or neither a pick nor an arrival.
    """
    found = np.full(outcome.records, np.nan)
    for name, metric in outcome.metrics.items():
        true, predicted = outcome.targets[name], outcome.answers[name]
        if isinstance(metric, DetectionMetrics):
            continue  # the picks tell how good a record is
        if isinstance(metric, PhaseMetrics):
            error = _pick_errors(predicted, true, metric)
        elif isinstance(metric, ClassMetrics):
            error = 1 - np.take_along_axis(predicted, true.argmax(1)[:, None], 1)[:, 0]
        else:
            assert isinstance(metric, ValueMetrics)
            error = np.abs(_residual(true, predicted, metric))
        found = np.fmax(found, np.where(labelled(outcome.targets, name), error, np.nan))
    return found


def choose(outcome: Evaluation) -> list[Case]:
    """The best, median and worst records, EACH of them or fewer where there are few.

    Ordered by error, among equal ones by loss.
    """
    error = errors(outcome)
    judged = np.flatnonzero(~np.isnan(error))
    order = judged[np.lexsort((outcome.losses[judged], error[judged]))]
    each = min(EACH, -(-len(order) // 3))
    middle = (len(order) - each) // 2
    chosen = {
        "best": order[:each],
        "median": order[middle : middle + each],
        "worst": order[::-1][:each],
    }
    cases: list[Case] = []
    for kind, places in chosen.items():
        known = {case.place for case in cases}
        cases += [
            Case(kind, int(place), in_words(outcome, int(place)))
            for place in places
            if int(place) not in known
        ]
    return cases


def in_words(outcome: Evaluation, place: int) -> list[str]:
    """What is true of a record and what was predicted, a line for each answer."""
    task, lines = outcome.experiment.task, []
    for name, metric in outcome.metrics.items():
        true, predicted = outcome.targets[name][place], outcome.answers[name][place]
        if not labelled(outcome.targets, name)[place]:
            lines.append(f"{quantity(name)}: no label")
        elif isinstance(metric, PhaseMetrics):
            lines.append(_pick_words(outcome, name, metric, place))
        elif isinstance(metric, DetectionMetrics):
            rate = outcome.experiment.context.sampling_rate_hz
            lines.append(f"event {_ranges(true, rate)}, found {_ranges(predicted, rate)}")
        elif isinstance(metric, ClassMetrics):
            best, right = int(predicted.argmax()), int(true.argmax())
            lines.append(
                f"{quantity(name)} {task.labels[right]}, predicted {task.labels[best]} "
                f"(probability {predicted[best]:.2f})"
            )
        elif isinstance(metric, ValueMetrics):
            unit = {"": "", "°": "°"}.get(task.units[name], f" {task.units[name]}")
            digits = 1 if unit else 2  # of magnitudes one more
            error = -float(_residual(true[None], predicted[None], metric)[0])
            signed = f"{error:+.{digits}f}"
            signed = signed[1:] if float(signed) == 0 else signed
            lines.append(
                f"{quantity(name)} {true[0]:.{digits}f}{unit}, "
                f"predicted {predicted[0]:.{digits}f}{unit} (error {signed}{unit})"
            )
    return lines


def _ranges(samples: np.ndarray, rate_hz: float) -> str:
    """First and last samples (2 * slots,) in seconds."""
    pairs = sorted((a, b) for a, b in samples.reshape(-1, 2).tolist() if a <= b)
    return " and ".join(f"{a / rate_hz:.1f} to {b / rate_hz:.1f} s" for a, b in pairs) or "none"


def _residual(true: np.ndarray, predicted: np.ndarray, metric: ValueMetrics) -> np.ndarray:
    """True minus predicted, (records,)."""
    difference = (true.astype(np.float64) - predicted.astype(np.float64)).reshape(len(true))
    return wrap_degrees(difference) if metric.circular else difference


def _pick_errors(predicted: np.ndarray, true: np.ndarray, metric: PhaseMetrics) -> np.ndarray:
    """Seconds, infinite where a pick is missed or false, nan where there is nothing."""
    window = metric.window_samples
    predicted = match(predicted, true, window)
    has_pick, has_arrival = is_pick(predicted, window), is_pick(true, window)
    distance = np.abs(predicted - true) / metric.sampling_rate_hz
    each = np.where(has_pick & has_arrival, distance, np.inf)
    each = np.where(has_pick | has_arrival, each, np.nan)  # (records, slots)
    return np.fmax.reduce(each, axis=1)


def _pick_words(outcome: Evaluation, name: str, metric: PhaseMetrics, place: int) -> str:
    window, rate = metric.window_samples, metric.sampling_rate_hz
    true, picks = outcome.targets[name][[place]], outcome.answers[name][[place]]
    heights = outcome.answers[outcome.experiment.task.thresholds[name].probability][place]
    near = match(picks, true, window)[0]
    found = []
    for arrival, pick in zip(true[0], near, strict=True):
        height = heights[np.argmax(picks[0] == pick)]
        if is_pick(arrival, window) and is_pick(pick, window):
            late = (pick - arrival) / rate
            side = "late" if late > 0 else "early"
            found.append(
                f"{abs(late):.2f} s {side} ({height:.2f})" if late else f"exact ({height:.2f})"
            )
        elif is_pick(arrival, window):
            found.append("missed")
        elif is_pick(pick, window):
            found.append(f"false, at {pick / rate:.2f} s ({height:.2f})")
    return f"{phase(name)} {', '.join(found) or 'none, and none picked'}"
