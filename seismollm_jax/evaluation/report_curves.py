"""The curves of a report: scores over tolerance and threshold, trade-offs, calibration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from seismollm_jax.evaluation import score_figures, wording
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.evaluation.report_pictures import BARS, Found, Picture
from seismollm_jax.evaluation.score_figures import Mark
from seismollm_jax.metrics.phases import PhaseMetrics

RATIOS = {"precision": "precision", "recall": "recall", "f1": "F1"}
BAND = "Shaded: 95 % intervals, resampled by event."


def of_curves(outcome: Evaluation, found: Found) -> list[Picture]:
    """Scores over tolerance and threshold, trade-offs, calibration; the answers side by side."""
    each = [list(_of_answer(outcome, found, name)) for name in outcome.metrics]
    rows = itertools.zip_longest(*each)
    return [picture for row in rows for picture in row if picture is not None]


def _of_answer(outcome: Evaluation, found: Found, name: str) -> Iterator[Picture]:
    metric = outcome.metrics[name]
    curves = found["curves"].get(name, {})
    title = wording.title(name, metric)
    mark = _threshold_in_use(outcome, found, name)
    if "tolerance" in curves:
        yield Picture(
            f"{name}_tolerance",
            f"{title}: scores over tolerance",
            f"The largest residual of a hit, from strict to generous. {BAND}",
            f"Precision, recall and F1 of {title} over tolerances of 0.1 to 1 s.",
            partial(
                score_figures.curves,
                curves["tolerance"]["tolerance_s"],
                {label: curves["tolerance"][key] for key, label in RATIOS.items()},
                "tolerance (s)",
                "share",
            ),
        )
    if "threshold" in curves:
        yield from _over_threshold(name, title, curves["threshold"], mark)
    if "false_picks" in curves:
        noise = curves["false_picks"]
        yield Picture(
            f"{name}_false_picks",
            f"{title}: false picks on noise",
            f"Picks on {noise['windows']:,} windows of noise, {noise['hours']:.3g} hours "
            f"together. {BAND}",
            f"False {title} per hour of noise over the threshold.",
            partial(
                score_figures.curves,
                noise["threshold"],
                {"false picks": noise["per_hour"]},
                "threshold (probability)",
                "false picks (1/h)",
                mark=mark,
                share=False,
            ),
        )
    if "calibration" in curves:
        yield _calibration(name, title, metric, found)
    yield from _ranking(name, title, curves)


def _over_threshold(
    name: str, title: str, curve: Mapping[str, Any], mark: Mark | None
) -> Iterator[Picture]:
    used = "" if mark is None else f"The threshold in use is {mark.at:g}. "
    curve = _without_nothing(curve)
    yield Picture(
        f"{name}_threshold",
        f"{title}: scores over threshold",
        f"The smallest probability of a pick. {used}{BAND}",
        f"Precision, recall and F1 of {title} over the threshold.",
        partial(
            score_figures.curves,
            curve["threshold"],
            {label: curve[key] for key, label in RATIOS.items()},
            "threshold (probability)",
            "share",
            mark=mark,
        ),
    )
    precision = curve["precision"]["value"]
    recall = [
        None if there is None else value
        for value, there in zip(curve["recall"]["value"], precision, strict=True)
    ]
    points: dict[str, tuple[float, float]] = {}
    if mark is not None:
        nearest = int(np.argmin(np.abs(np.array(curve["threshold"]) - mark.at)))
        x, y = recall[nearest], precision[nearest]
        if x is not None and y is not None:
            points = {f"at {curve['threshold'][nearest]:g}": (x, y)}
    yield Picture(
        f"{name}_precision_recall",
        f"{title}: precision against recall",
        f"From high thresholds on the left to low ones on the right. {used}The star is the point "
        "of the curve next to it."
        if points
        else "From high thresholds on the left to low ones on the right.",
        f"Precision of {title} over recall.",
        partial(
            score_figures.trade_off,
            {"all thresholds": (recall, precision)},
            "recall (share)",
            "precision (share)",
            points=points,
        ),
    )


def _without_nothing(curve: Mapping[str, Any]) -> dict[str, Any]:
    """The curve without the precision at thresholds where nothing is found, which says nothing."""
    found = [bool(recall) for recall in curve["recall"]["value"]]
    precision = {
        part: [value if there else None for value, there in zip(values, found, strict=True)]
        for part, values in curve["precision"].items()
    }
    return {**curve, "precision": precision}


def _calibration(name: str, title: str, metric: Any, found: Found) -> Picture:
    curve = found["curves"][name]["calibration"]
    error = found["scores"].get(f"{name}/calibration_error")
    came_true = "hits" if isinstance(metric, PhaseMetrics) else f"true {curve.get('of', '')}"
    shown = float("nan") if error is None else error
    return Picture(
        f"{name}_calibration",
        f"{title}: calibration",
        "What had some probability, and how much of it came true. Above the diagonal the network "
        f"is too cautious, below it too sure. Below: how many had it. {BARS}",
        f"Reliability of the probabilities of {title}; the calibration error is {shown:.3f}.",
        partial(score_figures.calibration, curve, came_true.strip(), error=shown),
    )


def _ranking(name: str, title: str, curves: Mapping[str, Any]) -> Iterator[Picture]:
    """ROC and precision-recall curves of classes."""
    ranking = {
        key.removeprefix("ranking_"): curve
        for key, curve in curves.items()
        if key.startswith("ranking_")
    }
    if not ranking:
        return
    yield Picture(
        f"{name}_roc",
        f"{title}: ROC curve",
        "Found records of a class against those of the others that are taken for it. "
        "Towards the upper left is better.",
        f"Receiver operating characteristic of {title}.",
        partial(
            score_figures.trade_off,
            {
                label: ([0, *curve["false_positive_rate"]], [0, *curve["recall"]])
                for label, curve in ranking.items()
            },
            "false positive rate (share)",
            "recall (share)",
            chance=True,
        ),
    )
    yield Picture(
        f"{name}_precision_recall",
        f"{title}: precision against recall",
        "Towards the upper right is better.",
        f"Precision of {title} over recall.",
        partial(
            score_figures.trade_off,
            {label: (curve["recall"], curve["precision"]) for label, curve in ranking.items()},
            "recall (share)",
            "precision (share)",
        ),
    )


def _threshold_in_use(outcome: Evaluation, found: Found, name: str) -> Mark | None:
    threshold = outcome.experiment.task.thresholds.get(name)
    value = None if threshold is None else found.get("thresholds", {}).get(threshold.short)
    return None if value is None else Mark(value, f"in use: {value:g}")
