"""Tables of predictions read back, and the arrays that a task's metrics take made of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax import tasks
from seismollm_jax.evaluation.predictions import NAMES
from seismollm_jax.metrics.classes import ClassMetrics
from seismollm_jax.metrics.detections import DetectionMetrics
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics
from seismollm_jax.tasks.base import Context, Metric, Task

SIDES = ("true", "pred")
TOLERANCE_S = 0.1  # of the published scores, and the default of `options.tolerance_s`


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The table of one evaluation.

    Attributes:
        name: what to call it.
        path: the file it was read from.
        task: whose answers it holds, in the form that has most of them.
        table: one row for each record, indexed by trace name.
    """

    name: str
    path: Path
    task: Task
    table: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Compared:
    """One answer of an evaluation: all that its metric takes, (records, ...)."""

    predicted: np.ndarray
    target: np.ndarray
    mask: np.ndarray


def find(path: str | Path) -> Path:
    """The table meant by `path`: itself, one of an evaluation's folder, or of a run's.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a run that has been evaluated more than once.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path} does not exist; give the --output of eval.py, or one of its tables"
        )
    if here := _table_in(path):
        return here
    below = [table for folder in sorted(path.iterdir()) if (table := _table_in(folder))]
    if not below:
        raise FileNotFoundError(
            f"{path} has no predictions.csv, and neither has a folder in it; evaluate first: "
            f"python eval.py --checkpoint={path} --output={path}/test"
        )
    if len(below) > 1:
        folders = ", ".join(str(table.parent) for table in below)
        raise ValueError(f"{path} has been evaluated more than once; give one of {folders}")
    return below[0]


def _table_in(folder: Path) -> Path | None:
    """Parquet if it is there, which is faster to read."""
    return next((folder / name for name in reversed(NAMES) if (folder / name).is_file()), None)


def read(path: str | Path, name: str) -> Predictions:
    """Reads a table of predictions, CSV or Parquet; its columns tell the task.

    Raises:
        FileNotFoundError: as `find`.
        ValueError: no table of predictions, or one with a trace twice.
    """
    file = find(path)
    try:
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
        else:
            texts = {"trace_name": str, "event_id": str}
            table = pd.read_csv(file, dtype=texts, low_memory=False)
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise ValueError(f"{file} cannot be read as a table of predictions ({error})") from error
    own, most = None, 0
    lacking: dict[str, list[str]] = {}
    for task in (form for forms in tasks.FORMS.values() for form in forms):
        wanted = {"trace_name", "window_start", *_columns(task)}
        absent = sorted(wanted - set(table.columns))
        lacking.setdefault(task.name, absent)  # of the first form
        if not absent and len(wanted) > most:
            own, most = task, len(wanted)
    if own is None:
        reasons = "; ".join(f"{name}: {', '.join(c)}" for name, c in lacking.items())
        raise ValueError(
            f"{file} is no table of predictions; columns that it lacks, by task: {reasons}"
        )
    twice = table["trace_name"].duplicated()
    if twice.any():
        trace = table["trace_name"][twice].iloc[0]
        raise ValueError(f"{file} has the trace {trace!r} twice; pairs of records are compared")
    return Predictions(name, file, own, table.set_index("trace_name"))


def in_one_form(several: Sequence[Predictions]) -> list[Predictions]:
    """Tables of one task, all in the first of its forms if they are not all in the same."""
    forms = {one.task.form for one in several}
    if len(forms) == 1:
        return list(several)
    return [dataclasses.replace(one, task=tasks.get(one.task.name)) for one in several]


def has_ranges(task: Task, answer: str) -> bool:
    """Whether an answer is where events begin and end."""
    return isinstance(_metrics(task)[answer], DetectionMetrics)


def extent(several: Sequence[Predictions]) -> tuple[int, int]:
    """The largest sample of any pick or event, -1 without any, and the most of a kind, or 1."""
    largest, most = -1, 1
    for one in several:
        for answer, metric in _metrics(one.task).items():
            if not isinstance(metric, PhaseMetrics | DetectionMetrics):
                continue
            for column in _columns_of(answer, metric):
                for cell in one.table[column]:
                    picks = _picks(cell)
                    largest, most = max([largest, *picks]), max(most, len(picks))
    return largest, most


def context(one: Predictions, window: int, tolerance_s: float) -> Context:
    """What the task's metrics need; the sampling rate is the one that the residuals were made with.

    Args:
        one: the table.
        window: samples; only has to be larger than any pick, and any sample of an event.
        tolerance_s: largest residual of a hit, where the task has hits.
    """
    known = {field.name for field in dataclasses.fields(one.task.options)}
    options = {"tolerance_s": tolerance_s} if "tolerance_s" in known else {}
    return one.task.context(window=window, sampling_rate_hz=sampling_rate_hz(one), options=options)


def sampling_rate_hz(one: Predictions) -> float:
    """Samples of the residuals over their seconds; 1 where no residual differs from zero."""
    rates: Counter[float] = Counter()
    for answer, metric in _metrics(one.task).items():
        seconds = f"{answer.removesuffix('_sample')}_residual_s"
        if not isinstance(metric, PhaseMetrics) or seconds not in one.table:
            continue
        residual_s = one.table[seconds].to_numpy(np.float64)
        for row in np.flatnonzero(np.nan_to_num(residual_s))[:1000]:
            true, predicted = (_picks(one.table[f"{s}_{answer}"].iloc[row]) for s in SIDES)
            # The residual is that of the first true pick, and of one of the predicted ones.
            rates.update({round((p - true[0]) / residual_s[row], 6) for p in predicted if true})
    return max(rates, key=lambda rate: (rates[rate], rate)) if rates else 1.0


def arrays(one: Predictions, traces: pd.Index, slots: int) -> dict[str, Compared]:
    """What the metrics of the task take, for some traces in their order.

    Args:
        one: the table.
        traces: names, all of which are in it.
        slots: picks of a phase, and events.
    """
    table, found = one.table.loc[traces], {}
    for answer, metric in _metrics(one.task).items():
        mask = np.ones(len(table), bool)
        labelled = f"{answer.removesuffix('_sample')}_labelled"
        if labelled in table:
            mask = table[labelled].to_numpy(bool)
        if isinstance(metric, DetectionMetrics):
            both = _ranges(table, f"pred_{answer}", slots), _ranges(table, f"true_{answer}", slots)
            found[answer] = Compared(*both, mask)
            continue
        true, predicted = table[f"true_{answer}"], table[f"pred_{answer}"]
        if isinstance(metric, PhaseMetrics):
            both = _slots(predicted, slots), _slots(true, slots)
        elif isinstance(metric, ClassMetrics):
            both = _one_hot(predicted, one.task.labels), _classes(true, one.task.labels)
        else:
            both = predicted.to_numpy(np.float64), true.to_numpy(np.float64)
        found[answer] = Compared(*both, mask)
    return found


def _metrics(task: Task) -> dict[str, Metric]:
    """The task's accumulators, for their names and kinds."""
    return task.metrics(task.context(window=1, sampling_rate_hz=1.0, options={}))


def _columns(task: Task) -> list[str]:
    """The columns that the task's metrics are computed from."""
    return [name for both in _metrics(task).items() for name in _columns_of(*both)]


def _columns_of(answer: str, metric: Metric) -> list[str]:
    ends = [f"{answer}_{end}_sample" for end in ("start", "end")]
    names = ends if isinstance(metric, DetectionMetrics) else [answer]
    return [f"{side}_{name}" for side in SIDES for name in names]


def _ranges(table: pd.DataFrame, name: str, slots: int) -> np.ndarray:
    """First and last samples of events, (records, 2 * slots); two NO_PICK are an empty range."""
    ends = [_slots(table[f"{name}_{end}_sample"], slots) for end in ("start", "end")]
    return np.stack(ends, axis=-1).reshape(len(table), -1)


def _classes(column: pd.Series, labels: Sequence[str]) -> np.ndarray:
    """Words -> class numbers (records,), -1 for a word that is none of the classes."""
    return np.asarray(pd.Categorical(column, categories=list(labels)).codes, np.int64)


def _one_hot(column: pd.Series, labels: Sequence[str]) -> np.ndarray:
    """Words -> (records, classes); NaN for a word that is none of the classes."""
    codes = _classes(column, labels)
    rows = np.eye(len(labels))[codes]
    rows[codes < 0] = np.nan
    return rows


def _slots(column: pd.Series, slots: int) -> np.ndarray:
    """Picks -> (records, slots) int64, NO_PICK where there are fewer."""
    out = np.full((len(column), slots), NO_PICK, np.int64)
    for row, cell in zip(out, column, strict=True):
        picks = _picks(cell)
        row[: len(picks)] = picks
    return out


def _picks(cell: Any) -> list[int]:
    """Picks of a record as a table has them: a number, some joined by semicolons, or a list."""
    if isinstance(cell, str):
        return [int(float(pick)) for pick in cell.split(";") if pick]
    if np.ndim(cell):
        return [int(pick) for pick in cell]
    return [] if cell is None or np.isnan(cell) else [int(cell)]
