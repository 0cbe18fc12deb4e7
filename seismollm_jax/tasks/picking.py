"""Picking (dpk): P and S arrival times from three probability curves.

The first of them is, in the form "phases", that of neither phase, which is not trained; in the form
"detection" that of an event in progress, from P to the end of its coda.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from seismollm_jax.data.labels import detection_targets, pick_labels, pick_targets
from seismollm_jax.data.records import Sample
from seismollm_jax.metrics.detections import DetectionMetrics
from seismollm_jax.metrics.peaks import detections, pick_batch
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics, match
from seismollm_jax.models.output import Output
from seismollm_jax.tasks import device_peaks
from seismollm_jax.tasks.base import (
    EPSILON,
    Arrays,
    Context,
    Metric,
    OnDevice,
    Task,
    Threshold,
    one_minus,
)

PHASES = ("neither", "p", "s")
DETECTION = ("detection", "p", "s")
WEIGHTS = {"neither": 0.0, "detection": 0.5, "p": 1.0, "s": 1.0}
"""Of the curves in the loss, which averages over those without weight too, as the original does."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of picking; the defaults are the PyTorch original's.

    Attributes:
        form: "phases" or "detection"; empty for the one that the network was published with.
        label_shape: gaussian (its width is fixed at a sigma of 10 samples), triangle, box, sigmoid.
        label_width_s: length of the label around an arrival, seconds.
        p_threshold: smallest probability of a P pick.
        s_threshold: smallest probability of an S pick.
        min_peak_distance_s: two picks of a phase are at least so many seconds apart.
        max_picks: picks of a phase in a window, at most.
        tolerance_s: largest residual of a hit, seconds.
        false_picks_per_hour: of each phase on noise, at most, at the operating point "false_picks".
        detection_threshold: of the form "detection": an event is in progress where the probability
            is above it.
    """

    form: str = ""
    label_shape: str = "gaussian"
    label_width_s: float = 0.5
    p_threshold: float = 0.3
    s_threshold: float = 0.3
    min_peak_distance_s: float = 1.0
    max_picks: int = 1
    tolerance_s: float = 0.1
    false_picks_per_hour: float = 1.0
    detection_threshold: float = 0.5


def encode(sample: Sample, context: Context, *, curves: tuple[str, ...] = PHASES) -> Arrays:
    """Label curves (window, 3) float32, picks (max_picks,) int64, which phases are labelled."""
    options: Options = context.options
    labels = pick_labels(
        sample.p_samples,
        sample.s_samples,
        length=context.window,
        width=int(options.label_width_s * context.sampling_rate_hz),
        shape=options.label_shape,
        coda_ratio=context.coda_ratio,
        curves=curves,
    )
    return {
        "labels": labels,
        "p_sample": pick_targets(sample.p_samples, options.max_picks),
        "s_sample": pick_targets(sample.s_samples, options.max_picks),
        "p_sample_labelled": np.array(sample.p_labelled, np.float32),
        "s_sample_labelled": np.array(sample.s_labelled, np.float32),
    }


def encode_detection(sample: Sample, context: Context) -> Arrays:
    """The same with the detection curve, and first and last sample of events, (2 * max_picks,)."""
    options: Options = context.options
    ranges = detection_targets(
        sample.p_samples,
        sample.s_samples,
        length=context.window,
        width=int(options.label_width_s * context.sampling_rate_hz),
        n=options.max_picks,
        coda_ratio=context.coda_ratio,
    )
    return {
        **encode(sample, context, curves=DETECTION),
        "detection": ranges.reshape(-1),
        "detection_labelled": np.array(sample.p_labelled and sample.s_labelled, np.float32),
    }


def loss(
    output: jax.Array, targets: Mapping[str, jax.Array], *, curves: tuple[str, ...] = PHASES
) -> jax.Array:
    """Binary cross-entropy on probabilities, averaged over samples and all three curves.

    The curve of a phase that is not labelled adds nothing, nor does one that needs both phases.
    """
    y = targets["labels"]
    entropy = y * jnp.log(output + EPSILON) + (1 - y) * jnp.log(one_minus(output) + EPSILON)
    p, s = targets["p_sample_labelled"], targets["s_sample_labelled"]  # (batch,)
    weights = jnp.stack([p * s, p, s], axis=-1)  # (batch, 3)
    weights = jnp.asarray([WEIGHTS[curve] for curve in curves]) * weights
    return -(weights[:, None, :] * entropy).mean((1, 2))


def decode(output: np.ndarray, context: Context) -> Arrays:
    """Picks (batch, max_picks) and the probabilities at them."""
    options: Options = context.options
    distance = int(options.min_peak_distance_s * context.sampling_rate_hz)
    answers: Arrays = {}
    for phase, threshold in (("p", options.p_threshold), ("s", options.s_threshold)):
        curve = output[:, :, PHASES.index(phase)]  # the same place in both forms
        picks, heights = pick_batch(curve, threshold, distance, options.max_picks)
        answers[f"{phase}_sample"], answers[f"{phase}_probability"] = picks, heights
    return answers


def decode_on_device(output: jax.Array, context: Context) -> dict[str, jax.Array]:
    """What `decode` finds, from the curves of P and S, (batch, samples, 2)."""
    options: Options = context.options
    distance = int(options.min_peak_distance_s * context.sampling_rate_hz)
    answers: dict[str, jax.Array] = {}
    thresholds = (("p", options.p_threshold), ("s", options.s_threshold))
    for number, (phase, threshold) in enumerate(thresholds):
        found = device_peaks.pick_batch(
            output[:, :, number], threshold, distance, options.max_picks
        )
        answers[f"{phase}_sample"], answers[f"{phase}_probability"] = found
    return answers


def decode_detection(output: np.ndarray, context: Context) -> Arrays:
    """Picks, and the longest runs of an event in progress.

    "detection" has their first and last samples, inclusive, (batch, 2 * max_picks), [1, 0] where
    there are fewer; "detection_probability" the highest probability in each, nan there.
    """
    options: Options = context.options
    curves = output[:, :, DETECTION.index("detection")]
    found = detections(curves, options.detection_threshold, options.max_picks)
    heights = [
        [curve[first : last + 1].max() if first <= last else np.nan for first, last in pairs]
        for curve, pairs in zip(curves, found.reshape(len(curves), -1, 2).tolist(), strict=True)
    ]
    return {
        **decode(output, context),
        "detection": found,
        "detection_probability": np.array(heights, np.float32).reshape(len(curves), -1),
    }


def metrics(context: Context) -> dict[str, Metric]:
    """One accumulator a phase."""
    settings = (context.window, context.sampling_rate_hz, context.options.tolerance_s)
    return {"p_sample": PhaseMetrics(*settings), "s_sample": PhaseMetrics(*settings)}


def metrics_detection(context: Context) -> dict[str, Metric]:
    """One accumulator a phase, and one of samples in events."""
    return {**metrics(context), "detection": DetectionMetrics(context.window)}


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


def columns_detection(targets: Arrays, answers: Arrays, context: Context) -> Arrays:
    """The same, and where events begin and end, in the way of the picks, longest run first.

    Events end with the window at the latest, as in the scores, even if their coda goes on.
    """
    table = columns(targets, answers, context)
    for side, ranges in (("true", targets["detection"]), ("pred", answers["detection"])):
        first, last = ranges[:, 0::2], np.minimum(ranges[:, 1::2], context.window - 1)
        for name, samples in (("start", first), ("end", last)):
            table[f"{side}_detection_{name}_sample"] = np.array(
                [
                    ";".join(map(str, row[kept]))
                    for row, kept in zip(samples, first <= last, strict=True)
                ]
            )
    table["detection_probability"] = np.fmax.reduce(answers["detection_probability"], axis=1)
    table["detection_labelled"] = targets["detection_labelled"] > 0
    return table


TASK = Task(
    name="picking",
    short_name="dpk",
    title="P and S arrival picking",
    form="phases",
    needs=("p_sample|s_sample",),
    uses_noise=True,
    output=Output(per_sample=True, channels=3, activation="sigmoid"),
    encode=encode,
    loss=loss,
    decode=decode,
    metrics=metrics,
    columns=columns,
    labels=PHASES,
    units={"p_sample": "samples", "s_sample": "samples"},
    options=Options,
    thresholds={
        "p_sample": Threshold("p_threshold", "p_probability"),
        "s_sample": Threshold("s_threshold", "s_probability"),
    },
    on_device=OnDevice((PHASES.index("p"), PHASES.index("s")), decode_on_device),
)

FORMS = (
    TASK,
    dataclasses.replace(
        TASK,
        title="event detection and P and S arrival picking",
        form="detection",
        encode=encode_detection,
        loss=functools.partial(loss, curves=DETECTION),
        decode=decode_detection,
        on_device=None,
        metrics=metrics_detection,
        columns=columns_detection,
        labels=DETECTION,
        units={**TASK.units, "detection": "samples"},
    ),
)
