"""What the tasks with one number of the record as target have in common."""

import functools
from collections.abc import Mapping

import jax
import numpy as np

from seismollm_jax.data.records import Sample
from seismollm_jax.metrics.values import ValueMetrics
from seismollm_jax.models.output import Output
from seismollm_jax.tasks.base import Arrays, Context, Task, huber


def encode(sample: Sample, context: Context, *, label: str) -> Arrays:
    """The record's label under its own name, (1,) float32, NaN if missing."""
    del context
    return {label: np.array([getattr(sample, label)], np.float32)}


def columns(targets: Arrays, answers: Arrays, context: Context) -> Arrays:
    """Table columns: true_<label> and pred_<label>."""
    del context
    table: Arrays = {}
    for name, predicted in answers.items():
        table[f"true_{name}"] = targets[name][:, 0]
        table[f"pred_{name}"] = predicted[:, 0]
    return table


def answer_columns(answers: Arrays) -> Arrays:
    """Columns of a table of windows without labels: the number under its name."""
    return {name: value[:, 0] for name, value in answers.items()}


def bounded(
    *, name: str, short_name: str, title: str, label: str, largest: float, unit: str
) -> Task:
    """A task whose number lies between 0 and `largest`, with a Huber loss of delta 1.

    Args:
        name: the task's word.
        short_name: the original's.
        title: for reports.
        label: the record's field that is learnt, and the name of the answer, (batch, 1).
        largest: upper end of the output.
        unit: of the label, empty for a pure number.
    """

    def loss(output: jax.Array, targets: Mapping[str, jax.Array]) -> jax.Array:
        return huber(output, targets[label])[:, 0]

    return Task(
        name=name,
        short_name=short_name,
        title=title,
        needs=("p_sample", label),
        output=Output(per_sample=False, channels=1, activation="sigmoid", scale=largest),
        encode=functools.partial(encode, label=label),
        loss=loss,
        decode=lambda output, context: {label: output},
        metrics=lambda context: {label: ValueMetrics()},
        columns=columns,
        answer_columns=answer_columns,
        labels=(label,),
        units={label: unit},
    )
