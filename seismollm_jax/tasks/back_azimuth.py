"""Back-azimuth (baz): direction from the station to the event, degrees clockwise from north.

Learnt as a vector, its cosine and sine, or as an angle, whose loss does not know that 359 degrees
are close to 1.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from seismollm_jax.metrics.values import ValueMetrics
from seismollm_jax.models.output import Output
from seismollm_jax.tasks import number
from seismollm_jax.tasks.base import Arrays, Context, Metric, Task, huber


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of back-azimuth.

    Attributes:
        form: "vector" or "angle"; empty for the one that the network was published with.
    """

    form: str = ""


def loss(output: jax.Array, targets: Mapping[str, jax.Array]) -> jax.Array:
    """Huber loss of the cosine plus Huber loss of the sine."""
    angle = jnp.deg2rad(targets["back_azimuth_deg"])
    return huber(output, jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)).sum(-1)


def decode(output: np.ndarray, context: Context) -> Arrays:
    """Degrees in [0, 360), (batch, 1), from cosine and sine, which need not be of unit length."""
    del context
    angle = np.mod(np.degrees(np.arctan2(output[:, 1:2], output[:, 0:1])), 360)
    # The remainder of a tiny negative angle rounds to 360 itself.
    return {"back_azimuth_deg": np.where(angle >= 360, np.zeros_like(angle), angle)}


def angle_loss(output: jax.Array, targets: Mapping[str, jax.Array]) -> jax.Array:
    """Huber loss of the plain difference in degrees."""
    return huber(output, targets["back_azimuth_deg"])[:, 0]


def decode_angle(output: np.ndarray, context: Context) -> Arrays:
    """Degrees in [0, 360), (batch, 1), from the angle itself."""
    del context
    return {"back_azimuth_deg": np.where(output >= 360, np.zeros_like(output), output)}


def metrics(context: Context) -> dict[str, Metric]:
    """Errors in degrees, wrapped."""
    del context
    return {"back_azimuth_deg": ValueMetrics(circular=True)}


TASK = Task(
    name="back_azimuth",
    short_name="baz",
    title="back-azimuth",
    form="vector",
    needs=("p_sample", "back_azimuth_deg"),
    output=Output(per_sample=False, channels=2, activation="tanh"),
    encode=functools.partial(number.encode, label="back_azimuth_deg"),
    loss=loss,
    decode=decode,
    metrics=metrics,
    columns=number.columns,
    answer_columns=number.answer_columns,
    labels=("cosine", "sine"),
    units={"back_azimuth_deg": "°"},
    options=Options,
)

FORMS = (
    TASK,
    dataclasses.replace(
        TASK,
        form="angle",
        output=Output(per_sample=False, channels=1, activation="sigmoid", scale=360.0),
        loss=angle_loss,
        decode=decode_angle,
        labels=("back_azimuth_deg",),
    ),
)
