"""Polarity (pmp): the direction of the P wave's first motion, up or down."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from seismollm_jax.data.records import Sample
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.models.output import Output
from seismollm_jax.tasks.base import EPSILON, Arrays, Context, Metric, Task

CLASSES = ("up", "down")


def encode(sample: Sample, context: Context) -> Arrays:
    """One-hot (2,) float32: up, down; NaN without a label."""
    del context
    if sample.polarity < 0:
        return {"polarity": np.full(len(CLASSES), np.nan, np.float32)}
    return {"polarity": np.eye(len(CLASSES), dtype=np.float32)[sample.polarity]}


def loss(output: jax.Array, targets: Mapping[str, jax.Array]) -> jax.Array:
    """Cross-entropy on probabilities, summed over the classes."""
    return -(targets["polarity"] * jnp.log(output + EPSILON)).sum(-1)


def decode(output: np.ndarray, context: Context) -> Arrays:
    """Class probabilities (batch, 2): up, down."""
    del context
    return {"polarity": output}


def metrics(context: Context) -> dict[str, Metric]:
    """Precision, recall and F1 of each class, averaged; accuracy."""
    del context
    return {"polarity": ClassMetrics(len(CLASSES))}


def words(scores: np.ndarray) -> np.ndarray:
    """Scores or one-hot rows (batch, 2) -> "up" or "down" (batch,)."""
    return np.array(CLASSES)[scores.argmax(1)]


def columns(targets: Arrays, answers: Arrays, context: Context) -> Arrays:
    """Words for the classes, and the probability of "up"."""
    del context
    found = answer_columns(answers)
    return {
        "true_polarity": words(targets["polarity"]),
        "pred_polarity": found["polarity"],
        "up_probability": found["up_probability"],
    }


def answer_columns(answers: Arrays) -> Arrays:
    """The likelier class as a word, and the probability of "up"."""
    scores = answers["polarity"]
    return {"polarity": words(scores), "up_probability": scores[:, 0]}


TASK = Task(
    name="polarity",
    short_name="pmp",
    title="P-wave first-motion polarity",
    needs=("p_sample", "polarity"),
    output=Output(per_sample=False, channels=2, activation="softmax"),
    encode=encode,
    loss=loss,
    decode=decode,
    metrics=metrics,
    columns=columns,
    answer_columns=answer_columns,
    labels=CLASSES,
    units={"polarity": "up, down"},
)
