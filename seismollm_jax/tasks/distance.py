"""Distance (dis): epicentral distance in kilometres, 0 to 500."""

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
    """Huber loss, delta 1 km."""
    return huber(output, targets["distance_km"])[:, 0]


def decode(output: np.ndarray, context: Context) -> Arrays:
    """Distance in kilometres (batch, 1)."""
    del context
    return {"distance_km": output}


def metrics(context: Context) -> dict[str, Metric]:
    """Errors in kilometres."""
    del context
    return {"distance_km": ValueMetrics()}


TASK = Task(
    name="distance",
    short_name="dis",
    title="epicentral distance",
    needs=("p_sample", "s_sample", "distance_km"),
    output=Output(per_sample=False, channels=1, activation="sigmoid", scale=500.0),
    encode=EncodeValue("distance_km"),
    loss=loss,
    decode=decode,
    metrics=metrics,
    columns=value_columns,
    answer_columns=value_answers,
    labels=("distance_km",),
    units={"distance_km": "km"},
)
