"""The pictures of an evaluation, chosen by the kind of each metric."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax.data.pipeline import FIXED, PLAIN, SampleMaker
from seismollm_jax.evaluation import figures
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.experiment import Experiment
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.phases import PhaseMetrics, match
from seismollm_jax.metrics.values import ValueMetrics
from seismollm_jax.models.state import merge
from seismollm_jax.training.checkpoint import Stored

EXAMPLES = 6


def draw(
    experiment: Experiment, outcome: Evaluation, maker: SampleMaker, stored: Stored, folder: Path
) -> list[Path]:
    """Draws what the task's metrics call for and, for per-sample tasks, some windows.

    Args:
        experiment: the task and its context.
        outcome: with its table.
        maker: made the evaluated samples; makes the examples again.
        stored: the network, for the examples' curves.
        folder: made if need be.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task, drawn = experiment.task, []
    phases: dict[str, str] = {}  # letter for reports -> name of the answer
    for name, metric in outcome.metrics.items():
        path = folder / f"{name}.png"
        true, predicted = outcome.targets[name], outcome.answers[name]
        if isinstance(metric, PhaseMetrics):
            phases[name.removesuffix("_sample").upper()] = name
            continue
        if isinstance(metric, ClassMetrics):
            figures.confusion(metric.confusion, task.labels, path)
        elif isinstance(metric, ValueMetrics) and metric.circular:
            figures.polar_back_azimuth(true[:, 0], predicted[:, 0], path)
        elif isinstance(metric, ValueMetrics):
            title = name.removesuffix("_km").replace("_", " ")
            figures.true_against_predicted(
                true[:, 0], predicted[:, 0], task.units[name], path, title
            )
        else:
            continue
        drawn.append(path)
    if phases:
        drawn.append(folder / "residuals.png")
        _draw_residuals(experiment, outcome, phases, drawn[-1])
        drawn.append(folder / "examples.png")
        _draw_examples(experiment, outcome, phases, maker, stored, drawn[-1])
    return drawn


def _draw_residuals(
    experiment: Experiment, outcome: Evaluation, phases: dict[str, str], path: Path
) -> None:
    rate, window = experiment.context.sampling_rate_hz, experiment.context.window
    residuals, counts = {}, {}
    for phase, name in phases.items():
        true, predicted = outcome.targets[name], outcome.answers[name]
        predicted = match(predicted, true, window)
        both = (true >= 0) & (true < window) & (predicted >= 0)
        residuals[phase] = (predicted - true)[both] / rate
        scores = outcome.metrics[name].compute()
        counts[phase] = {key: scores[key] for key in ("precision", "recall", "f1", "n")}
    figures.phase_residuals(residuals, counts, path)


def _draw_examples(
    experiment: Experiment,
    outcome: Evaluation,
    phases: dict[str, str],
    maker: SampleMaker,
    stored: Stored,
    path: Path,
) -> None:
    """Windows evenly spaced through the table, so that good and bad ones have the same chance."""
    table = outcome.table
    assert table is not None
    chosen = np.linspace(0, len(table) - 1, min(EXAMPLES, len(table))).astype(int)
    position_of = {int(row): position for position, row in enumerate(maker.rows)}
    fixed = experiment.config["data"]["fixed_eval_window"]
    stream = FIXED if fixed else PLAIN
    elements = [
        maker(position_of[int(table["row"].iloc[i])], epoch=0, stream=stream) for i in chosen
    ]
    waveforms = np.stack([element["waveform"] for element in elements])
    model: Any = merge(experiment.abstract().graphdef, stored.params, stored.frozen, stored.stats)
    curves = np.asarray(jax.jit(lambda x: model(x))(waveforms))
    examples = [
        (
            waveforms[n],
            {phase: outcome.targets[name][i] for phase, name in phases.items()},
            {phase: outcome.answers[name][i] for phase, name in phases.items()},
            curves[n],
            str(table["trace_name"].iloc[i]),
        )
        for n, i in enumerate(chosen)
    ]
    figures.example_windows(examples, path, experiment.context.sampling_rate_hz)
