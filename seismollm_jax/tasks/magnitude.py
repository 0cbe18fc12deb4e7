"""Magnitude (emg): the event's magnitude as its catalogue gives it, 0 to 8."""

from collections.abc import Mapping

import jax
import numpy as np

from seismollm_jax.metrics.values import ValueMetrics
from seismollm_jax.models.output import Output
from seismollm_jax.tasks.base import (
    Arrays,
    Context,
    EncodeValue,
    Metric,
    Task,
    huber,
    value_answers,
    value_columns,
)


def loss(output: jax.Array, targets: Mapping[str, jax.Array]) -> jax.Array:
    """Huber loss, delta 1 magnitude unit."""
    return huber(output, targets["magnitude"])[:, 0]


def decode(output: np.ndarray, context: Context) -> Arrays:
    """Magnitude (batch, 1)."""
    del context
    return {"magnitude": output}


def metrics(context: Context) -> dict[str, Metric]:
    """Errors in magnitude units."""
    del context
    return {"magnitude": ValueMetrics()}


TASK = Task(
    name="magnitude",
    short_name="emg",
    title="event magnitude",
    needs=("p_sample", "s_sample", "magnitude"),
    output=Output(per_sample=False, channels=1, activation="sigmoid", scale=8.0),
    encode=EncodeValue("magnitude"),
    loss=loss,
    decode=decode,
    metrics=metrics,
    columns=value_columns,
    answer_columns=value_answers,
    labels=("magnitude",),
    units={"magnitude": "magnitude units"},
)
