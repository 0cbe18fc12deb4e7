"""What scores, answers and parts of the records are called in a report, with their units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.detections import DetectionMetrics
from seismollm_jax.metrics.phases import OUTLIER_S, PhaseMetrics
from seismollm_jax.metrics.values import ValueMetrics
from seismollm_jax.tasks.base import Metric

QUANTITY = ""  # in place of a unit: that of the answer


class Word(NamedTuple):
    """A score in words.

    Attributes:
        label: what it is called.
        unit: QUANTITY if it has that of the answer, "share" for a number from 0 to 1.
        meaning: one line; {tolerance} and {sign} are filled in.
    """

    label: str
    unit: str
    meaning: str


LOSS = Word("loss", "pure number", "what the training makes small, mean over the records")

ORIGINAL = "; over all records, those without a hit counting as zero, as the PyTorch original does"
PICKS = {
    "precision": Word("precision", "share", "of the predicted picks, those that are hits: within "
                      "{tolerance} of the true arrival"),
    "recall": Word("recall", "share", "of the true arrivals, those that were found"),
    "f1": Word("F1", "share", "harmonic mean of precision and recall"),
    "mae_hit_s": Word("mean |error| of hits", "s", "how far hits are off on average"),
    "mean_hit_s": Word("mean true - predicted of hits", "s", "positive is early"),
    "std_hit_s": Word("std of hits", "s", "spread of the error of hits"),
    "median_hit_s": Word("median true - predicted of hits", "s", "positive is early"),
    "mad_hit_s": Word("MAD of hits", "s", "median distance of the errors from their median"),
    "outlier_share": Word("outliers", "share", "of the picks where there is a true arrival, those "
                          f"more than {OUTLIER_S:g} s away"),
    "pr_area": Word("area under PR", "share", "under precision over recall, all thresholds"),
    "calibration_error": Word("calibration error", "share", "mean distance between probability and "
                              "share of hits"),
    "false_picks_per_hour": Word("false picks", "1/h", "picks per hour of noise traces"),
    "mean": Word("mean true - predicted", "samples", "positive is early" + ORIGINAL),
    "std": Word("std", "samples", "of the error" + ORIGINAL),
    "mae": Word("MAE", "samples", "mean |error|" + ORIGINAL),
    "rmse": Word("RMSE", "samples", "root of the mean squared error" + ORIGINAL),
    "mape": Word("MAPE", "share", "mean |error| relative to the sample of the arrival" + ORIGINAL),
    "hits": Word("hits", "count", "predicted picks within {tolerance} of the true arrival"),
    "n": Word("n", "count", "records in which the phase is labelled, noise included"),
}  # fmt: skip
DETECTIONS = {
    "precision": Word("precision", "share", "of the samples said to be of an event, those that "
                      "are: from P to the end of the coda"),
    "recall": Word("recall", "share", "of the samples of events, those that were found"),
    "f1": Word("F1", "share", "harmonic mean of precision and recall"),
    "n": Word("n", "count", "records in which both phases are labelled, noise included"),
}  # fmt: skip
CLASSES = {
    "accuracy": Word("accuracy", "share", "of the records, those with the right class"),
    "precision": Word("precision", "share", "of the records said to be of a class, those that are; "
                      "mean over the classes"),
    "recall": Word("recall", "share", "of the records of a class, those found; mean over the "
                   "classes"),
    "f1": Word("F1", "share", "harmonic mean of the two for each class; mean over the classes"),
    "roc_auc": Word("area under ROC", "share", "chance that of two records, one of the class, that "
                    "one has the higher probability; 0.5 is guessing"),
    "average_precision": Word("average precision", "share", "area under precision over recall; "
                              "mean over the classes"),
    "calibration_error": Word("calibration error", "share", "mean distance between probability and "
                              "share of right ones"),
    "n": Word("n", "count", "records with a label"),
    "n_missing": Word("without label", "count", "records that do not count"),
    "n_invalid": Word("invalid", "count", "predictions that are not numbers; they count as wrong"),
}  # fmt: skip
VALUES = {
    "mae": Word("MAE", QUANTITY, "mean |error|"),
    "mean": Word("mean true - predicted", QUANTITY, "{sign}"),
    "std": Word("std", QUANTITY, "spread of the error"),
    "rmse": Word("RMSE", QUANTITY, "root of the mean squared error"),
    "r2": Word("R²", "pure number", "1 is perfect; 0 is as good as always saying the mean"),
    "r2_circular": Word("R², circular", "pure number", "the same, with the circular mean"),
    "circular_mean": Word("circular mean true - predicted", QUANTITY, "direction of the mean unit "
                          "vector of the errors"),
    "circular_std": Word("circular std", QUANTITY, "spread of the errors on the circle"),
    "n": Word("n", "count", "records with a label"),
    "n_missing": Word("without label", "count", "records that do not count"),
}  # fmt: skip

PARTS = {
    "snr_db": ("signal-to-noise ratio", "dB"),
    "distance_km": ("epicentral distance", "km"),
    "magnitude": ("magnitude", ""),
    "station": ("station", ""),
}
"""Quantities of the breakdown: name and unit."""


class Kind(NamedTuple):
    """What a report shows of answers that are judged by one kind of metric.

    Attributes:
        words: of its scores, in the order of the table.
        first: those at the top of the page.
        drawn: those drawn over parts of the records.
        errors: by what the best and worst records are told; empty if not by these.
    """

    words: Mapping[str, Word]
    first: tuple[str, ...]
    drawn: tuple[str, ...]
    errors: str


KINDS: dict[type, Kind] = {
    PhaseMetrics: Kind(
        PICKS,
        ("f1", "mae_hit_s"),
        ("f1", "mae_hit_s"),
        "Ordered by the larger residual of the phases; records with a missed or false pick come "
        "last, those with the largest loss at the very end.",
    ),
    DetectionMetrics: Kind(DETECTIONS, ("f1",), ("f1",), ""),
    ClassMetrics: Kind(
        CLASSES,
        ("accuracy", "f1", "roc_auc"),
        ("accuracy",),
        "Ordered by the probability that the true class did not get.",
    ),
    ValueMetrics: Kind(
        VALUES, ("mae", "mean", "r2"), ("mae", "mean"), "Ordered by the size of the error."
    ),
}


def kind(metric: Metric) -> Kind:
    """What is shown of an answer."""
    return KINDS[type(metric)]


def phase(name: str) -> str:
    """Letter of a phase: "P" for p_sample."""
    return name.removesuffix("_sample").upper()


def quantity(name: str) -> str:
    """An answer in words: "distance" for distance_km."""
    return name.removesuffix("_km").removesuffix("_deg").replace("_", " ")


def title(name: str, metric: Metric) -> str:
    """An answer as a heading: "P arrivals", "Distance"."""
    if isinstance(metric, PhaseMetrics):
        return f"{phase(name)} arrivals"
    return quantity(name).capitalize()


def unit(word: Word, answer_unit: str) -> str:
    """The unit of a score, with that of its answer, "" for magnitudes."""
    return (answer_unit or "magnitude units") if word.unit == QUANTITY else word.unit


def axis(label: str, of: str) -> str:
    """Label of an axis: "MAE (km)"; a pure number has no unit."""
    return label if of in ("", "pure number") else f"{label} ({of})"


def meaning(word: Word, metric: Metric) -> str:
    """One line on a score."""
    tolerance = metric.tolerance_s if isinstance(metric, PhaseMetrics) else 0.0
    turns = isinstance(metric, ValueMetrics) and metric.circular
    sign = "positive: predicted anticlockwise of true" if turns else "positive is too small"
    return word.meaning.format(tolerance=f"{tolerance:g} s", sign=sign)


def bin_label(entry: Mapping[str, Any]) -> str:
    """A part of the records: "10-20" (20 is in the next), "< 0", "≥ 500", or the station."""
    if "station" in entry:
        return str(entry["station"])
    low, high = entry["low"], entry["high"]
    if low is None:
        return f"< {high:g}"
    return f"≥ {low:g}" if high is None else f"{low:g}-{high:g}"
