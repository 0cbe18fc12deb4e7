"""Picking (dpk): P and S arrival times from three probability curves."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from seismollm_jax.data.labels import pick_labels, pick_targets
from seismollm_jax.data.records import Sample
from seismollm_jax.metrics.peaks import pick_batch
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics, match
from seismollm_jax.models.output import Output
from seismollm_jax.tasks.base import EPSILON, Arrays, Context, Metric, Task, Threshold, one_minus

CURVES = ("neither", "p", "s")
WEIGHTS = (0.0, 1.0, 1.0)  # the original trains nothing on "neither", yet averages over it


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of picking; the defaults are the PyTorch original's.

    Attributes:
        label_shape: gaussian (its width is fixed at a sigma of 10 samples), triangle, box, sigmoid.
        label_width_s: length of the label around an arrival, seconds.
        p_threshold: smallest probability of a P pick.
        s_threshold: smallest probability of an S pick.
        min_peak_distance_s: two picks of a phase are at least so many seconds apart.
        max_picks: picks of a phase in a window, at most.
        tolerance_s: largest residual of a hit, seconds.
        false_picks_per_hour: of each phase on noise, at most, at the operating point "false_picks".
    """

    label_shape: str = "gaussian"
    label_width_s: float = 0.5
    p_threshold: float = 0.3
    s_threshold: float = 0.3
    min_peak_distance_s: float = 1.0
    max_picks: int = 1
    tolerance_s: float = 0.1
    false_picks_per_hour: float = 1.0


def encode(sample: Sample, context: Context) -> Arrays:
    """Label curves (window, 3) float32, picks (max_picks,) int64, which phases are labelled."""
    options: Options = context.options
    labels = pick_labels(
        sample.p_samples,
        sample.s_samples,
        length=context.window,
        width=int(options.label_width_s * context.sampling_rate_hz),
        shape=options.label_shape,
        curves=CURVES,
    )
    return {
        "labels": labels,
        "p_sample": pick_targets(sample.p_samples, options.max_picks),
        "s_sample": pick_targets(sample.s_samples, options.max_picks),
        "p_sample_labelled": np.array(sample.p_labelled, np.float32),
        "s_sample_labelled": np.array(sample.s_labelled, np.float32),
    }


def loss(output: jax.Array, targets: Mapping[str, jax.Array]) -> jax.Array:
    """Binary cross-entropy on probabilities, averaged over samples and all three curves.

    The curve of a phase that is not labelled adds nothing.
    """
    y = targets["labels"]
    entropy = y * jnp.log(output + EPSILON) + (1 - y) * jnp.log(one_minus(output) + EPSILON)
    p, s = targets["p_sample_labelled"], targets["s_sample_labelled"]  # (batch,)
    weights = jnp.asarray(WEIGHTS) * jnp.stack([p * s, p, s], axis=-1)  # (batch, 3)
    return -(weights[:, None, :] * entropy).mean((1, 2))


def decode(output: np.ndarray, context: Context) -> Arrays:
    """Picks (batch, max_picks) and the probabilities at them."""
    options: Options = context.options
    distance = int(options.min_peak_distance_s * context.sampling_rate_hz)
    answers: Arrays = {}
    for phase, threshold in (("p", options.p_threshold), ("s", options.s_threshold)):
        curve = output[:, :, CURVES.index(phase)]
        picks, heights = pick_batch(curve, threshold, distance, options.max_picks)
        answers[f"{phase}_sample"], answers[f"{phase}_probability"] = picks, heights
    return answers


def metrics(context: Context) -> dict[str, Metric]:
    """One accumulator a phase."""
    settings = (context.window, context.sampling_rate_hz, context.options.tolerance_s)
    return {"p_sample": PhaseMetrics(*settings), "s_sample": PhaseMetrics(*settings)}


def columns(targets: Arrays, answers: Arrays, context: Context) -> Arrays:
    """Picks of each phase; empty where there is none, joined by semicolons where several.

    The residual is predicted minus true at the first true pick, in seconds: positive when late, as
    seismologists expect. The averages among the metrics have the opposite sign, the PyTorch
    original's.
    """

    def text(picks: np.ndarray) -> np.ndarray:
        return np.array([";".join(str(pick) for pick in row if pick != NO_PICK) for row in picks])

    table: Arrays = {}
    for phase in ("p", "s"):
        true, predicted = targets[f"{phase}_sample"], answers[f"{phase}_sample"]
        near = match(predicted, true, context.window)  # (batch, max_picks), slot by slot
        both = (true[:, 0] != NO_PICK) & (near[:, 0] != NO_PICK)
        residual = np.where(both, near[:, 0] - true[:, 0], np.nan) / context.sampling_rate_hz
        table[f"true_{phase}_sample"], table[f"pred_{phase}_sample"] = text(true), text(predicted)
        table[f"{phase}_probability"] = np.fmax.reduce(answers[f"{phase}_probability"], axis=1)
        table[f"{phase}_residual_s"] = residual
        table[f"{phase}_labelled"] = targets[f"{phase}_sample_labelled"] > 0
    return table


TASK = Task(
    name="picking",
    short_name="dpk",
    title="P and S arrival picking",
    needs=("p_sample|s_sample",),
    uses_noise=True,
    output=Output(per_sample=True, channels=3, activation="sigmoid"),
    encode=encode,
    loss=loss,
    decode=decode,
    metrics=metrics,
    columns=columns,
    labels=CURVES,
    units={"p_sample": "samples", "s_sample": "samples"},
    options=Options,
    thresholds={
        "p_sample": Threshold("p_threshold", "p_probability"),
        "s_sample": Threshold("s_threshold", "s_probability"),
    },
)
