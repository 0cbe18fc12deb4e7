"""The pictures of a report, chosen by the kind of each metric and by what metrics.json has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from seismollm_jax.evaluation import figures, pictures, score_figures, wording
from seismollm_jax.evaluation.canvas import Target
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.evaluation.report_cases import Case
from seismollm_jax.evaluation.score_figures import Group
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.phases import PhaseMetrics
from seismollm_jax.metrics.values import ValueMetrics, wrap_degrees

Found = Mapping[str, Any]
"""The content of metrics.json."""

BARS = "Bars: 95 % intervals, resampled by event."


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a report.

    Attributes:
        name: of its file, without the ending.
        title: its heading.
        caption: what it shows and how to read it.
        alt: what is seen, for those who cannot see it.
        draw: writes it.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[Target], None]


def of_answers(outcome: Evaluation) -> Iterator[Picture]:
    """Truth against prediction."""
    task = outcome.experiment.task
    for name, metric in outcome.metrics.items():
        true, predicted = outcome.targets[name], outcome.answers[name]
        title = wording.title(name, metric)
        if isinstance(metric, PhaseMetrics):
            letter = wording.phase(name)
            residuals, counts = pictures.residuals(outcome, {letter: name})
            yield Picture(
                f"{name}_residuals",
                f"Residuals of {title}",
                "Predicted minus catalogue in seconds, of all records with both, hits or not: "
                "right is late.",
                f"Histogram of {letter} residuals, {_spread(residuals[letter], ' s')}.",
                partial(
                    figures.phase_residuals,
                    residuals,
                    counts,
                    step_s=1 / outcome.experiment.context.sampling_rate_hz,
                ),
            )
        elif isinstance(metric, ClassMetrics):
            cells = [
                f"{count} {label} taken for {said}"
                for label, row in zip(task.labels, metric.confusion.tolist(), strict=True)
                for said, count in zip(task.labels, row, strict=True)
            ]
            yield Picture(
                name,
                f"{title}: confusion matrix",
                "Records by true and predicted class; shares are of the true class.",
                f"Confusion matrix; {'; '.join(cells)}.",
                partial(figures.confusion, metric.confusion, task.labels),
            )
        elif isinstance(metric, ValueMetrics):
            yield from _of_values(name, metric, true[:, 0], predicted[:, 0], task.units[name])


def _of_values(
    name: str, metric: ValueMetrics, true: np.ndarray, predicted: np.ndarray, unit: str
) -> Iterator[Picture]:
    word = wording.quantity(name)
    error = predicted.astype(np.float64) - true
    if metric.circular:
        error = wrap_degrees(error)
        pairs = {
            "directions": (
                f"True and predicted {word}",
                "Traces by direction from the station to the event, in sectors of 10°.",
                figures.directions,
            ),
            "direction_errors": (
                f"Errors of {word}",
                "Traces by predicted minus true: up is no error, down the opposite direction.",
                figures.direction_errors,
            ),
        }
        for ending, (title, caption, draw) in pairs.items():
            yield Picture(
                f"{name}_{ending}",
                title,
                caption,
                f"Polar histogram: {title}; errors have {_spread(error, '°')}.",
                partial(draw, true, predicted),
            )
    else:
        yield Picture(
            name,
            f"True against predicted {word}",
            "The line is perfect prediction."
            + (" The colour says how many traces there are." if len(true) > figures.FEW else ""),
            f"Predicted {word} over true {word}; errors have {_spread(error, f' {unit}')}.",
            partial(figures.true_against_predicted, true, predicted, unit, name=word),
        )
    yield Picture(
        f"{name}_residuals",
        f"Residuals of {word}",
        "Predicted minus true: right is too large."
        if not metric.circular
        else "Predicted minus true, at most half a turn: right is clockwise.",
        f"Histogram of errors of {word}, {_spread(error, f' {unit}')}.",
        partial(score_figures.value_residuals, error, unit, name=word),
    )


def of_parts(outcome: Evaluation, found: Found) -> Iterator[Picture]:
    """Scores by signal-to-noise ratio, distance, magnitude and station."""
    units = outcome.experiment.task.units
    for by, entries in found["breakdown"].items():
        quantity, unit_of_parts = wording.PARTS[by]
        for (score, unit), names in _drawn(outcome).items():
            word = wording.kind(outcome.metrics[names[0]]).words[score]
            label = wording.axis(word.label, wording.unit(word, units[names[0]]))
            groups = {
                wording.title(name, outcome.metrics[name]): [
                    _group(entry, f"{name}/{score}") for entry in entries
                ]
                for name in names
            }
            share = unit == "share"
            draw = (
                partial(score_figures.stations, groups, label, share=share)
                if by == "station"
                else partial(
                    score_figures.parts,
                    groups,
                    wording.axis(quantity, unit_of_parts),
                    label,
                    share=share,
                )
            )
            few = by != "station" or len(entries) <= score_figures.STATIONS
            most = "" if few else f" The {score_figures.STATIONS} with most records."
            yield Picture(
                f"by_{by}_{score}",
                f"{word.label[0].upper()}{word.label[1:]} by {quantity}",
                f"{BARS}{most}",
                f"{word.label} over {len(entries)} parts by {quantity}; the table below has the "
                "numbers.",
                draw,
            )


def of_cases(
    outcome: Evaluation, cases: Sequence[Case], examples: pictures.Examples
) -> list[Picture]:
    """Records with their waveforms, in the order of the cases.

    Args:
        outcome: with the outputs of these records.
        cases: the records.
        examples: the same records, in the same order.
    """
    context = outcome.experiment.context
    found = []
    panels = pictures.panels(outcome, examples)
    for number, (case, panel) in enumerate(zip(cases, panels, strict=True)):
        trace, loss = panel.title.splitlines()[0], outcome.losses[case.place]
        shown = panel._replace(title="\n".join([trace, *case.words]))
        found.append(
            Picture(
                f"case_{number + 1:02d}_{case.kind}",
                f"{case.kind.capitalize()}: {trace}",
                f"Loss {max(loss, 0):.4f}.",
                f"Waveforms of {trace} in Z, N and E with truth and prediction: "
                f"{'; '.join(case.words)}.",
                partial(
                    figures.example_windows,
                    [shown],
                    sampling_rate_hz=context.sampling_rate_hz,
                    phases=pictures.channels(outcome),
                    width=5.4,
                ),
            )
        )
    return found


def _drawn(outcome: Evaluation) -> dict[tuple[str, str], list[str]]:
    """(score, unit) -> answers that are drawn together."""
    units = outcome.experiment.task.units
    found: dict[tuple[str, str], list[str]] = {}
    for name, metric in outcome.metrics.items():
        kind = wording.kind(metric)
        for score in kind.drawn:
            unit = wording.unit(kind.words[score], units[name])
            found.setdefault((score, unit), []).append(name)
    return found


def _group(entry: Mapping[str, Any], score: str) -> Group:
    numbers = [entry["scores"].get(score), *entry["intervals"].get(score, (None, None))]
    value, low, high = (float("nan") if number is None else number for number in numbers)
    return Group(wording.bin_label(entry), entry["records"], value, low, high)


def _spread(values: np.ndarray, suffix: str) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return "no values"
    return f"mean {values.mean():+.3g}{suffix} and standard deviation {values.std():.3g}{suffix}"
