"""The pictures of an evaluation, chosen by the kind of each metric."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from seismollm_jax.data.pipeline import FIXED, PLAIN, SampleMaker
from seismollm_jax.evaluation import figures, wording
from seismollm_jax.evaluation.canvas import Target
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.experiment import Experiment
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.phases import PhaseMetrics, match
from seismollm_jax.metrics.values import ValueMetrics


@dataclasses.dataclass(frozen=True)
class Examples:
    """Records of which the windows are drawn.

    Attributes:
        rows: in the dataset.
        names: of the traces.
        waveforms: the network's input, (samples, 3) each; a trace that cannot be read is zeros.
    """

    rows: list[int]
    names: list[str]
    waveforms: list[np.ndarray]


def evenly(rows: np.ndarray, count: int) -> list[int]:
    """So many of the rows, evenly spaced, so that good and bad ones have the same chance."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)].tolist()


def examples_of(
    maker: SampleMaker, rows: list[int], names: np.ndarray, *, fixed_window: bool
) -> Examples:
    """Reads records and makes their windows as an evaluation does.

    Args:
        maker: of the evaluated samples.
        rows: in the dataset, out of those of the maker.
        names: trace name of each dataset row.
        fixed_window: `data.fixed_eval_window`.
    """
    position_of = {int(row): position for position, row in enumerate(maker.rows)}
    stream = FIXED if fixed_window else PLAIN
    elements = [maker(position_of[row], epoch=0, stream=stream) for row in rows]
    waveforms = [element["waveform"] for element in elements]
    return Examples(rows, [str(names[row]) for row in rows], waveforms)


def draw(
    experiment: Experiment, outcome: Evaluation, examples: Examples, folder: Path
) -> list[Path]:
    """Draws into files. Arguments as of `drawings`; the folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, call in drawings(experiment, outcome, examples).items():
        drawn.append(folder / f"{name}.png")
        call(drawn[-1])
    return drawn


def drawings(
    experiment: Experiment, outcome: Evaluation, examples: Examples, *, zoom: bool = True
) -> dict[str, Callable[[Target], None]]:
    """What the task's metrics call for, and some windows, by name; each draws when it is called.

    Args:
        experiment: the task and its context.
        outcome: with the arrays behind its table, and the outputs of the examples.
        examples: those that do not count in the outcome are left out.
        zoom: draw the windows around their arrivals.
    """
    task = experiment.task
    found: dict[str, Callable[[Target], None]] = {}
    if not outcome.records:
        return found
    phases = _phases(outcome)
    for name, metric in outcome.metrics.items():
        true, predicted = outcome.targets[name], outcome.answers[name]
        if isinstance(metric, ClassMetrics):
            found[name] = functools.partial(figures.confusion, metric.confusion, task.labels)
        elif isinstance(metric, ValueMetrics) and metric.circular:
            found[name] = functools.partial(figures.polar_back_azimuth, true[:, 0], predicted[:, 0])
        elif isinstance(metric, ValueMetrics):
            found[name] = functools.partial(
                figures.true_against_predicted,
                *(true[:, 0], predicted[:, 0], task.units[name]),
                name=wording.quantity(name),
            )
    if phases:
        found["residuals"] = functools.partial(
            figures.phase_residuals,
            *residuals(outcome, phases),
            step_s=1 / experiment.context.sampling_rate_hz,
        )
    if any(row in outcome.outputs for row in examples.rows):
        found["examples"] = functools.partial(
            figures.example_windows,
            panels(outcome, examples),
            sampling_rate_hz=experiment.context.sampling_rate_hz,
            phases=channels(outcome),
            zoom=zoom,
        )
    return found


def _phases(outcome: Evaluation) -> dict[str, str]:
    """Letter for reports -> name of the answer."""
    return {
        wording.phase(name): name
        for name, metric in outcome.metrics.items()
        if isinstance(metric, PhaseMetrics)
    }


def channels(outcome: Evaluation) -> dict[str, int]:
    """Curve that is drawn -> channel of the output: those with an answer, in its order."""
    labels, found = outcome.experiment.task.labels, {}
    for answer in outcome.metrics:
        label = answer.removesuffix("_sample")
        if label in labels:
            name = label if label == answer else wording.phase(answer)
            found[name] = labels.index(label)
    return found


def residuals(
    outcome: Evaluation, phases: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """Seconds, predicted minus true, of records with both; and scores to print beside them.

    Args:
        outcome: at the thresholds to judge.
        phases: letter -> name of the answer; both results are by letter.
    """
    context = outcome.experiment.context
    rate, window = context.sampling_rate_hz, context.window
    found, counts = {}, {}
    for phase, name in phases.items():
        true, predicted = outcome.targets[name], outcome.answers[name]
        predicted = match(predicted, true, window)
        both = (true >= 0) & (true < window) & (predicted >= 0)
        found[phase] = (predicted - true)[both] / rate
        scores = outcome.metrics[name].compute()
        counts[phase] = {key: scores[key] for key in ("precision", "recall", "f1", "n")}
    return found, counts


def panels(outcome: Evaluation, examples: Examples) -> list[figures.Window]:
    """Examples as they are drawn, without those that do not count in the outcome."""
    phases = _phases(outcome)
    place_of = {row: place for place, row in enumerate(outcome.rows.tolist())}
    found = []
    for row, name, waveform in zip(examples.rows, examples.names, examples.waveforms, strict=True):
        if row not in outcome.outputs:
            continue
        place = place_of[row]
        found.append(
            figures.Window(
                waveform=waveform,
                truth={phase: outcome.targets[of][place] for phase, of in phases.items()},
                predicted={phase: outcome.answers[of][place] for phase, of in phases.items()},
                curves=outcome.outputs[row] if phases else None,
                title="\n".join([name, *_in_words(outcome.experiment, outcome, place)]),
            )
        )
    return found


def _in_words(experiment: Experiment, outcome: Evaluation, place: int) -> list[str]:
    """Labels and predictions of a record that are no arrivals, a line each."""
    task, lines = experiment.task, []
    for name, metric in outcome.metrics.items():
        true, predicted = outcome.targets[name][place], outcome.answers[name][place]
        if isinstance(metric, ClassMetrics):
            best = int(predicted.argmax())
            said = f"{task.labels[best]} ({predicted[best]:.2f})"
            lines.append(
                f"{wording.quantity(name)} {task.labels[int(true.argmax())]}, predicted {said}"
            )
        elif isinstance(metric, ValueMetrics):
            unit = f" {task.units[name]}".replace(" °", "°").rstrip()
            values = [f"{value:.1f}{unit}" for value in (true[0], predicted[0])]
            lines.append(f"{wording.quantity(name)} {values[0]}, predicted {values[1]}")
    return lines
