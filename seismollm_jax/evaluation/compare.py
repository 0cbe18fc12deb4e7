"""Several evaluations side by side: python -m seismollm_jax.evaluation.compare A B [C ...]."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax import command_line
from seismollm_jax.atomic_files import write
from seismollm_jax.evaluation import comparison_text, prediction_tables, published
from seismollm_jax.evaluation.prediction_tables import Compared, Predictions
from seismollm_jax.metrics.bootstrap import RESAMPLES, Resampling, groups_of, interval
from seismollm_jax.tasks.base import Context, Metric, Task


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Scores of evaluations of one task on the records that they have in common.

    Attributes:
        task: the task.
        scores: a row for each evaluation, answer and score: `model`, `answer`, `score`, `value`,
            `low` and `high` (95 % interval), and `difference`, `difference_low`,
            `difference_high` against the first evaluation, NaN in its own rows.
        records: in common.
        events: that these belong to; None where the tables do not say.
        notes: what a reader has to know beside the numbers.
    """

    task: Task
    scores: pd.DataFrame
    records: int
    events: int | None
    notes: tuple[str, ...]


def compare(
    several: Sequence[Predictions],
    *,
    tolerance_s: float = prediction_tables.TOLERANCE_S,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Scores evaluations of one task on the traces that all of them have.

    The scores are those of the task's metrics. Intervals are percentiles of a bootstrap over
    events, since records of one event are not independent; each resample is the same for all
    evaluations, so that differences are between pairs (Efron and Tibshirani, 1993).

    Args:
        several: one or more tables.
        tolerance_s: largest residual of a hit, for all of them.
        resamples: of the bootstrap.

    Raises:
        ValueError: other tasks, no trace in common, or names that are not different.
    """
    first = several[0]
    names = [one.name for one in several]
    if len(set(names)) < len(names):
        raise ValueError(f"two evaluations have one name ({', '.join(names)}); give NAME=PATH")
    for one in several:
        if one.task.name != first.task.name:
            raise ValueError(
                f"{one.path} is of the task {one.task.name}, {first.path} of {first.task.name}; "
                "evaluations of one task can be compared"
            )
    alike = prediction_tables.in_one_form(several)
    notes = [
        f"{one.name} is a network for {one.task.title}; only what all have is compared"
        for one, common in zip(several, alike, strict=True)
        if one.task is not common.task
    ]
    several = alike
    first = several[0]
    traces = first.table.index
    for one in several[1:]:
        traces = traces.intersection(one.table.index, sort=False)
    if traces.empty:
        raise ValueError(
            f"no trace is in all of {', '.join(str(one.path) for one in several)}; evaluate on the "
            "same records, for instance with --split_file"
        )
    for one in several:
        if len(one.table) > len(traces):
            notes.append(f"{one.name}: {len(one.table)} records, of which these are in common")
    largest, slots = prediction_tables.extent(several)
    contexts = [prediction_tables.context(one, largest + 1, tolerance_s) for one in several]
    found = [prediction_tables.arrays(one, traces, slots) for one in several]
    for one, context, answers in zip(several[1:], contexts[1:], found[1:], strict=True):
        starts = [table.table.loc[traces, "window_start"].to_numpy() for table in (first, one)]
        told = [  # where events end follows from P and S, and from the window
            {a: v for a, v in both.items() if not prediction_tables.has_ranges(one.task, a)}
            for both in (found[0], answers)
        ]
        notes += _other_truth(
            first.name, one.name, (contexts[0], context), told[0], told[1], starts
        )
    groups, by_event = np.arange(len(traces)), "event_id" in first.table
    if by_event:
        groups = groups_of(first.table.loc[traces, "event_id"].to_numpy(object))
    else:
        notes.append(f"{first.path.name} has no event_id: intervals are resampled by record")
    resampling = Resampling(groups, resamples)
    if resampling.events < 2:
        notes.append("a single event has no intervals")
    scores = _scores(first.task, names, contexts, found, resampling)
    events = resampling.events if by_event else None
    return Comparison(first.task, scores, len(traces), events, tuple(notes))


def _scores(
    task: Task,
    names: Sequence[str],
    contexts: Sequence[Context],
    found: Sequence[Mapping[str, Compared]],
    resampling: Resampling,
) -> pd.DataFrame:
    """The rows of `Comparison.scores`."""
    values, drawn = [], []  # score by (answer, score) for each evaluation, and (resamples,)
    for context, answers in zip(contexts, found, strict=True):
        own: dict[tuple[str, str], float] = {}
        resampled: dict[tuple[str, str], np.ndarray] = {}
        for answer, metric in task.metrics(context).items():
            compared = answers[answer]
            wanted = [c.score for c in comparison_text.columns(task) if c.answer == answer]
            again = _resampled(metric, compared, resampling, wanted)
            metric.update(compared.predicted, compared.target, compared.mask)
            once = metric.compute()
            own |= {(answer, score): once[score] for score in wanted}
            resampled |= {(answer, score): again[score] for score in wanted}
        values.append(own)
        drawn.append(resampled)
    rows = []
    for model, name in enumerate(names):
        for key in values[model]:
            low, high = _bounds(drawn[model][key], resampling)
            row: dict[str, Any] = {"model": name, "answer": key[0], "score": key[1]}
            row |= {"value": values[model][key], "low": low, "high": high}
            if model:
                low, high = _bounds(drawn[model][key] - drawn[0][key], resampling)
                row |= {
                    "difference": values[model][key] - values[0][key],
                    "difference_low": low,
                    "difference_high": high,
                }
            rows.append(row)
    fields = ["model", "answer", "score", "value", "low", "high"]
    fields += ["difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=fields)


def _bounds(drawn: np.ndarray, resampling: Resampling) -> tuple[float, float]:
    """The 95 % interval; none of a single event, which is always drawn."""
    low, high = map(float, interval(drawn))
    return (low, high) if resampling.events > 1 else (np.nan, np.nan)


def _resampled(
    metric: Metric, compared: Compared, resampling: Resampling, wanted: Sequence[str]
) -> dict[str, np.ndarray]:
    """Scores of a metric over each resample, (resamples,)."""
    mask = compared.mask
    parts = metric.parts(compared.predicted, compared.target)
    counted = {
        name: part * mask.reshape(-1, *[1] * (part.ndim - 1)) for name, part in parts.items()
    }
    found = metric.scores(resampling.sums(counted))
    if set(wanted) <= set(found):
        return found
    others = metric.weighted(compared.predicted[mask], compared.target[mask])
    assert others is not None  # what is not a function of sums is one of weights
    return {**found, **resampling.apply(lambda weights: others(weights[mask]))}


def _other_truth(
    first: str,
    other: str,
    contexts: tuple[Context, Context],
    mine: Mapping[str, Compared],
    theirs: Mapping[str, Compared],
    starts: Sequence[np.ndarray],
) -> list[str]:
    """A note for each answer of which two evaluations have other true values."""
    notes = []
    for answer in mine:
        a, b = mine[answer].target, theirs[answer].target
        allowed = 1e-3
        if a.ndim == 2:  # picks, which count from the start of their windows
            rates = [context.sampling_rate_hz for context in contexts]
            a, b = (
                np.where(picks >= 0, picks + start[:, None], np.nan) / rate
                for picks, start, rate in zip((a, b), starts, rates, strict=True)
            )
            inside = np.isfinite(a) & np.isfinite(b)  # a window may leave an arrival out
            a, b, allowed = np.where(inside, a, 0), np.where(inside, b, 0), 1.5 / min(rates)
        differ = ~np.isclose(a, b, rtol=1e-5, atol=allowed, equal_nan=True)
        count = int(differ.reshape(len(differ), -1).any(1).sum())
        if count:
            notes.append(
                f"{count} records have another true {answer} in {other} than in {first}: they were "
                "evaluated against other labels"
            )
    return notes


def named(arguments: Sequence[str]) -> dict[str, str]:
    """NAME=PATH or PATH -> paths by name; the shortest ends of paths that tell them apart."""
    given = [argument.rpartition("=")[::2] for argument in arguments]
    parts = [Path(path).parts for _, path in given]
    own: list[str] = []
    for depth in range(1, max(map(len, parts)) + 1):
        own = ["/".join(part[-depth:]) for part in parts]
        if len(set(own)) == len(own):
            break
    names = [name or short for (name, _), short in zip(given, own, strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f"two evaluations have one name ({', '.join(names)}); give NAME=PATH")
    return {name: path for name, (_, path) in zip(names, given, strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m seismollm_jax.evaluation.compare",
        description="Scores of several evaluations side by side, with the differences from the "
        "first one and 95 % intervals of a bootstrap over events.",
    )
    parser.add_argument(
        "evaluations",
        nargs="+",
        metavar="[NAME=]PATH",
        help="output folder of eval.py, a table in one, or the folder of an evaluated run",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--latex", type=Path, metavar="FILE", help="the same for LaTeX (booktabs)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every number as a row")
    parser.add_argument(
        "--published", type=Path, metavar="FILE", help="table of published figures to quote"
    )
    parser.add_argument(
        "--tolerance_s",
        type=float,
        default=prediction_tables.TOLERANCE_S,
        help="largest residual of a hit, for all evaluations (default: %(default)s)",
    )
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="default: %(default)s")
    given = parser.parse_args(arguments)
    if len(given.evaluations) < 2 and not given.published:
        parser.error("give two evaluations or more, or --published=FILE")
    if given.resamples < 1 or not given.tolerance_s >= 0:
        parser.error("--resamples must be 1 or more, --tolerance_s must not be negative")
    paths = named(given.evaluations)
    several = [prediction_tables.read(path, name) for name, path in paths.items()]
    quoted = published.read(given.published) if given.published else None
    comparison = compare(several, tolerance_s=given.tolerance_s, resamples=given.resamples)
    save([comparison], quoted, markdown=given.markdown, latex=given.latex, csv=given.csv)
    print(comparison_text.markdown(comparison, quoted))


def save(
    comparisons: Sequence[Comparison],
    quoted: pd.DataFrame | None = None,
    *,
    markdown: Path | None = None,
    latex: Path | None = None,
    csv: Path | None = None,
) -> None:
    """Writes comparisons into files, one after the other."""
    for file, text in ((markdown, comparison_text.markdown), (latex, comparison_text.latex)):
        if file:
            write(file, "\n".join(text(one, quoted) for one in comparisons).encode())
    if csv:
        tables = [one.scores.assign(task=one.task.name, records=one.records) for one in comparisons]
        write(csv, pd.concat(tables).to_csv(index=False).encode())


if __name__ == "__main__":
    command_line.guarded(main)
