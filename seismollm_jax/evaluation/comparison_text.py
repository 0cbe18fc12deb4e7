"""A comparison as text, in the layout of the tables of papers: Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from seismollm_jax.evaluation import published
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.detections import DetectionMetrics
from seismollm_jax.metrics.phases import PhaseMetrics
from seismollm_jax.tasks.base import Task

if TYPE_CHECKING:
    from seismollm_jax.evaluation.compare import Comparison

RATIOS = (("Pr", "precision"), ("Re", "recall"), ("F1", "f1"))
VALUES = (("MAE", "mae"), ("R2", "r2"), ("mean", "mean"), ("std", "std"))
RESIDUALS = (("mean (s)", "mean_hit_s"), ("std (s)", "std_hit_s"), ("MAE (s)", "mae_hit_s"))


class Column(NamedTuple):
    """A score of a comparison.

    Attributes:
        answer: of the task.
        score: as the metric calls it.
        title: as papers do, with its unit.
        digits: after the point.
    """

    answer: str
    score: str
    title: str
    digits: int


def columns(task: Task) -> list[Column]:
    """The scores that a comparison of a task shows."""
    found = []
    context = task.context(window=1, sampling_rate_hz=1.0, options={})
    for answer, metric in task.metrics(context).items():
        unit = task.units.get(answer, "")
        if isinstance(metric, PhaseMetrics):
            found += [Column(answer, score, title, 3) for title, score in RATIOS + RESIDUALS]
        elif isinstance(metric, ClassMetrics | DetectionMetrics):
            found += [Column(answer, score, title, 3) for title, score in RATIOS]
        else:
            for title, score in VALUES:  # magnitudes have no unit; kilometres, degrees are small
                counted = bool(unit) and score != "r2"
                name = f"{title} ({unit})" if counted else title
                found.append(Column(answer, score, name, 2 if counted else 3))
    return found


class Style(NamedTuple):
    """How tables are written.

    Attributes:
        escape: any text -> the same in this language.
        interval: (number, low, high) as texts -> cell.
        table: (title, header, rows) -> text.
        note: a line below the tables -> text.
    """

    escape: Callable[[str], str]
    interval: Callable[[str, str, str], str]
    table: Callable[[str, Sequence[str], Sequence[Sequence[str]]], str]
    note: Callable[[str], str]


def markdown(comparison: Comparison, quoted: pd.DataFrame | None = None) -> str:
    """Tables of scores and of differences in Markdown, notes below."""
    return _text(comparison, quoted, MARKDOWN)


def latex(comparison: Comparison, quoted: pd.DataFrame | None = None) -> str:
    """The same in LaTeX; needs the package booktabs."""
    return _text(comparison, quoted, LATEX)


def _text(comparison: Comparison, quoted: pd.DataFrame | None, style: Style) -> str:
    task, every = comparison.task, columns(comparison.task)
    answers = list(dict.fromkeys(column.answer for column in every))
    of_events = "" if comparison.events is None else f" of {comparison.events} events"
    titles = [column.title for column in every if column.answer == answers[0]]
    header = [style.escape(title) for title in ("answer", "model", *titles)]
    models = [str(model) for model in comparison.scores["model"].unique()]
    records: list[Any] = comparison.scores.to_dict("records")
    scores = {(one["model"], one["answer"], one["score"]): one for one in records}
    rows, differences = [], []
    sources: dict[str, set[str]] = {}
    for answer in answers:
        mine = [column for column in every if column.answer == answer]
        rest = [""] * (len(titles) - len(mine))  # events have no residuals
        for model in models:
            start = [style.escape(_shown(answer)), style.escape(model)]
            found = [scores[model, answer, column.score] for column in mine]
            pairs = list(zip(found, mine, strict=True))
            rows.append([*start, *(_value(row, column, style) for row, column in pairs), *rest])
            if model != models[0]:
                cells = (_difference(row, column, style) for row, column in pairs)
                differences.append([*start, *cells, *rest])
        if quoted is None:
            continue
        of_answer = quoted[quoted["answer"] == answer]
        for model in of_answer["model"].unique().astype(str):
            figures = of_answer[of_answer["model"] == model]
            values = dict(zip(figures["score"], figures["value"], strict=True))
            name = f"{model} ({published.NOTE})"
            numbers = (
                f"{values[c.score]:.{c.digits}f}" if c.score in values else "-" for c in mine
            )
            rows.append([style.escape(_shown(answer)), style.escape(name), *numbers, *rest])
            sources.setdefault(model, set()).update(figures["source"])
    title = f"{task.name}: {comparison.records} records in common{of_events}"
    parts = [style.table(style.escape(title), header, rows)]
    notes = [*comparison.notes, "Errors are true minus predicted."]
    if comparison.scores["low"].notna().any():
        notes.append("In brackets: 95 % intervals of a bootstrap.")
    if differences:
        title = style.escape(f"{task.name}: difference from {models[0]}")
        parts.append(style.table(title, header, differences))
        if comparison.scores["difference_low"].notna().any():
            notes.append("With *: the interval of the difference leaves out 0.")
    for model, texts in sources.items():
        notes.append(f"{model}: {published.NOTE}; from {', '.join(sorted(texts))}.")
    if quoted is not None and not sources:
        notes.append(f"None of the published figures is of {' or '.join(answers)}.")
    parts.append("".join(style.note(note) for note in notes))
    return "\n".join(parts)


def _shown(answer: str) -> str:
    """The answer as tables of papers call it: P and S for picks."""
    phase = answer.removesuffix("_sample")
    return answer if phase == answer else phase.upper()


def _value(row: Mapping[str, Any], column: Column, style: Style) -> str:
    """A score with its interval."""
    return _cell([row["value"], row["low"], row["high"]], f".{column.digits}f", style)


def _difference(row: Mapping[str, Any], column: Column, style: Style) -> str:
    """The same against the first evaluation, with a star if it is not chance."""
    names = ("difference", "difference_low", "difference_high")
    numbers = [float(row[name]) for name in names]
    star = style.escape("*") if numbers[1] * numbers[2] > 0 else ""
    return _cell(numbers, f"+.{column.digits}f", style) + star


def _cell(numbers: Sequence[float], form: str, style: Style) -> str:
    if not math.isfinite(numbers[0]):
        return "-"
    number, low, high = (f"{x:{form}}" for x in numbers)
    return style.interval(number, low, high) if math.isfinite(numbers[1]) else number


def _markdown_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"**{title}**", "", _markdown_row(header), "|---" * len(header) + "|"]
    return "\n".join([*lines, *map(_markdown_row, rows), ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{title}}}"]
    lines += [rf"\begin{{tabular}}{{ll{'c' * (len(header) - 2)}}}", r"\toprule"]
    lines += [f"{' & '.join(header)} \\\\", r"\midrule"]
    lines += [f"{' & '.join(row)} \\\\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex_escape(text: str) -> str:
    special = {c: "\\" + c for c in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"°": r"\textdegree{}"}
    return "".join(special.get(character, character) for character in text)


MARKDOWN = Style(
    escape=lambda text: text.replace("|", r"\|").replace("*", r"\*"),
    interval=lambda number, low, high: f"{number} [{low}, {high}]",
    table=_markdown_table,
    note=lambda text: f"- {text}\n",
)
LATEX = Style(
    escape=_latex_escape,
    interval=lambda number, low, high: rf"${number}$ {{\scriptsize $[{low}, {high}]$}}",
    table=_latex_table,
    note=lambda text: rf"\noindent{{\footnotesize {_latex_escape(text)}}}" + "\n\n",
)
